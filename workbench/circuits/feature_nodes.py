"""What sparse feature circuits are made of: the latents of dictionaries at several hooks, and what each leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from workbench.activations.recorder import axis_of
from workbench.interventions.pairs import Given, aligned, as_dataset, batch_of
from workbench.interventions.positions import Positions, editable
from workbench.interventions.stand_ins import Ablation, StandIns, mean_values
from workbench.interventions.values import values_at
from workbench.sae import SAE


class Neurons:
    """What stands at a hook, coordinate by coordinate: the dictionary that leaves nothing out and explains nothing.

    Args:
        d: how wide the hook's rows are.
    """

    def __init__(self, d: int) -> None:
        self.W_dec = torch.eye(d)

    def encode(self, x: Tensor) -> Tensor:
        """The row."""
        return x

    def decode(self, f: Tensor) -> Tensor:
        """The row."""
        return f


Dictionary = SAE | Neurons


class Nodes(NamedTuple):
    """What stands at a hook as a dictionary has it: x = decode(latents) + error."""

    latents: Float[Tensor, "_ _ n"]
    error: Float[Tensor, "_ _ d"]

    @classmethod
    def of(cls, dictionary: Dictionary, x: Float[Tensor, "batch pos d"]) -> "Nodes":
        """Differentiable in x."""
        rows = x.flatten(0, 1)
        latents = dictionary.encode(rows)
        error = rows - dictionary.decode(latents)
        return cls(latents.unflatten(0, x.shape[:2]), error.unflatten(0, x.shape[:2]))

    def row(self, dictionary: Dictionary) -> Float[Tensor, "_ _ d"]:
        """x."""
        made = dictionary.decode(self.latents.flatten(0, 1))
        return made.unflatten(0, self.latents.shape[:2]) + self.error


@dataclass(frozen=True)
class FeatureNodes:
    """A subject with a dictionary at each of several hooks, and what stands in for the nodes that are ablated.

    Attributes:
        model: the subject.
        data: the sequences that it is run on.
        dictionaries: by hook, in the order in which the model has them.
        where: of each hook, the positions at which nodes are looked at: never padding, and BOS only where asked.
        given: what stands in for rows, for `zero` and `resample`.
        means: of each hook, what stands in for latents and errors, for the two means.
    """

    model: Any
    data: Dataset
    dictionaries: dict[str, Dictionary]
    where: dict[str, Bool[Tensor, "seq pos"]]
    given: StandIns
    means: dict[str, Nodes]

    @classmethod
    def of(
        cls,
        model: Any,
        clean: Given,
        corrupt: Given | None,
        dictionaries: Mapping[str, Dictionary],
        *,
        ablation: Ablation = "zero",
        at: Positions | None = None,
        bos: bool = False,
        batch_size: int = 16,
        seed: int = 0,
    ) -> "FeatureNodes":
        """Ready to run.

        Args:
            model: any subject.
            clean: what it is run on.
            corrupt: where what stands in comes from: for `resample` each sequence's own counterpart, for the means any
                sequences. Where None, from the clean ones; `zero` needs none.
            dictionaries: by hook.
            ablation: what stands in for a node: nothing; the mean of its latent, or of the error, over all positions or
                at each; what it is at the same position of another sequence.
            at: positions to look at, as in `edit_at`; all real ones where None.
            bos: whether BOS may be among them.
            batch_size: sequences a pass, for what stands in.
            seed: of the draw of other sequences.

        Raises:
            ValueError: there are no dictionaries, one is a transcoder or has rows of another width, a hook is unknown,
                hooks have different axes, or the ablation is unknown or has nothing to take from.
        """
        if not dictionaries:
            raise ValueError("no dictionaries were given: name a hook, with an SAE of what stands there.")
        hooks = [name for name in model.match_hooks(list(dictionaries)) if name in dictionaries]
        for name in hooks:
            dictionary = dictionaries[name]
            if isinstance(dictionary, SAE) and dictionary.cfg.kind != "sae":
                raise ValueError(f"the dictionary of {name} is a {dictionary.cfg.kind}: a node is a latent of an SAE.")
        if len(axes := {axis_of(model, name) for name in hooks}) > 1:
            raise ValueError(f"the hooks have rows of the {' and the '.join(sorted(axes))}: choose those of one.")
        data = as_dataset(clean)
        where = {name: editable(model, data, name, at, bos=bos) for name in hooks}
        if ablation == "resample" and corrupt is not None:
            data, counterparts = aligned(clean, corrupt)
            own = {axis: torch.arange(len(data))[:, None].expand(data.on_axis(axis).mask.shape) for axis in axes}
            given = StandIns(model, ablation, counterparts, {}, own, batch_size)
        else:
            settings: dict[str, Any] = {"reference": corrupt, "bos": bos, "batch_size": batch_size, "seed": seed}
            given = StandIns.of(model, data, hooks, ablation, where=where, **settings)
        ordered = {name: dictionaries[name] for name in hooks}
        means = {}
        if given.means:

            def parts(name: str, x: Tensor) -> Tensor:
                return torch.cat(Nodes.of(ordered[name], x.flatten(2)), -1)

            by: dict[str, Any] = {"by_position": ablation == "position mean", "bos": bos, "batch_size": batch_size}
            for name, mean in mean_values(model, given.reference, hooks, where=where, of=parts, **by).items():
                n_latents = len(ordered[name].W_dec)
                means[name] = Nodes(*mean.float().split([n_latents, mean.shape[-1] - n_latents], -1))
        nodes = cls(model, data, ordered, where, given, means)
        nodes.rows(torch.arange(1))  # whatever does not fit fails here, before any long work
        nodes.stand_ins(torch.arange(1))
        return nodes

    def rows(self, seq: Int[Tensor, " batch"]) -> dict[str, Float[Tensor, "batch pos d"]]:
        """What stands at each hook in a run that nothing is done to.

        Raises:
            ValueError: a dictionary reads rows of another width.
        """
        values = values_at(self.model, batch_of(self.data, seq), list(self.where))
        found = {name: x.flatten(2) for name, x in values.items()}
        for name, x in found.items():
            width = self.dictionaries[name].W_dec.shape[1]
            if x.shape[2] != width:
                raise ValueError(f"the dictionary of {name} has rows of {width} numbers, but {x.shape[2]} stand there.")
        return found

    def there(self, seq: Int[Tensor, " batch"]) -> dict[str, Nodes]:
        """What the nodes of each hook are in that run. Raises as `rows`."""
        return {name: Nodes.of(self.dictionaries[name], x) for name, x in self.rows(seq).items()}

    def stand_ins(self, seq: Int[Tensor, " batch"]) -> dict[str, Nodes]:
        """What takes the place of nodes that are ablated: [batch or 1, pos or 1, …]."""
        if self.means:
            return self.means
        given = self.given.at(list(self.where), seq)
        if self.given.ablation == "zero":
            nothing = {name: d.W_dec for name, d in self.dictionaries.items()}
            return {
                name: Nodes(w.new_zeros(1, 1, len(w)), w.new_zeros(1, 1, w.shape[1])) for name, w in nothing.items()
            }
        with torch.no_grad():
            return {name: Nodes.of(self.dictionaries[name], x.flatten(2)) for name, x in given.items()}
