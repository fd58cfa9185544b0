"""`StandIns`: what an ablation puts in the place of a subject's values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from workbench.activations.recorder import axis_of
from workbench.interventions.masked_keys import by_query, unmasked
from workbench.interventions.pairs import Given, as_dataset, batch_of
from workbench.interventions.values import values_at

Ablation = Literal["zero", "mean", "position mean", "resample"]
ABLATIONS: tuple[str, ...] = get_args(Ablation)


def refuse_unknown(ablation: str) -> None:
    """`ValueError` for an ablation that there is not."""
    if ablation not in ABLATIONS:
        raise ValueError(f"there is no ablation {ablation!r}: there are {', '.join(ABLATIONS)}.")


@dataclass
class StandIns:
    """What stands in for the values at some hooks where they are ablated.

    Attributes:
        model: the subject.
        ablation: `zero`; `mean`, over all counted positions of the reference; `position mean`, over its sequences at
            each position; `resample`, what another of its sequences has at the same position.
        reference: sequences.
        means: of each hook, for the two means: [1, …], or [1, pos, …] with NaN where no sequence has the position.
        donors: of each axis of positions, for `resample`: which sequence of the reference stands in for each.
        batch_size: sequences a pass.
    """

    model: Any
    ablation: Ablation
    reference: Dataset
    means: dict[str, Float[Tensor, "1 pos *rest"]]
    donors: dict[str, Int[Tensor, "seq pos"]]
    batch_size: int
    _last: tuple[tuple[str, ...], Tensor, dict[str, Tensor]] | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        model: Any,
        data: Dataset,
        hooks: Sequence[str],
        ablation: Ablation,
        *,
        where: Mapping[str, Bool[Tensor, "seq hook_pos"]] | None = None,
        reference: Given | None = None,
        bos: bool = False,
        batch_size: int = 64,
        seed: int = 0,
    ) -> "StandIns":
        """Those for the values that some sequences give; where no reference is named, made of the same sequences.

        Args:
            model: the subject.
            data: the sequences that it will be run on.
            hooks: names.
            ablation: which.
            where: the positions of each hook that will be ablated; every real one where None.
            reference: what means are over, and others drawn from.
            bos: whether BOS is ablated, and counts in means, too.
            batch_size: sequences a pass.
            seed: of the draw of other sequences.

        Raises:
            ValueError: there is no such ablation, or nothing to take a mean over or to draw from; a position is to be
                ablated of which the reference has no mean; its queries see another number of keys.
        """
        refuse_unknown(ablation)
        given = data if reference is None else as_dataset(reference)
        if reference is not None and ablation != "zero":
            _refuse_other_keys(model, data, given, hooks)
        means, donors = {}, {}
        if ablation in ("mean", "position mean"):
            means = mean_values(
                model,
                given,
                hooks,
                by_position=ablation == "position mean",
                where=where,
                bos=bos,
                batch_size=batch_size,
            )
        if ablation == "resample":
            itself = reference is None
            for axis in {axis_of(model, name) for name in hooks}:
                wanted = data.on_axis(axis).mask
                if where is not None:
                    wanted = torch.stack([where[name] for name in hooks if axis_of(model, name) == axis]).any(0)
                donors[axis] = _donors(wanted, given.on_axis(axis), itself, seed)
        return cls(model, ablation, given, means, donors, batch_size)

    def at(self, hooks: Sequence[str], seq: Int[Tensor, " chosen"]) -> dict[str, Float[Tensor, "_ _ ..."]]:
        """What stands in for some sequences' values at some hooks: `[chosen or 1, pos or 1, …]`."""
        if self.ablation == "zero":
            return {name: torch.zeros(1, 1) for name in hooks}
        if self.ablation != "resample":
            return {name: self.means[name] for name in hooks}
        key = tuple(hooks)
        if self._last is None or self._last[0] != key or not self._last[1].equal(seq):
            self._last = key, seq, self._drawn(hooks, seq)
        return self._last[2]

    def _drawn(self, hooks: Sequence[str], seq: Int[Tensor, " chosen"]) -> dict[str, Tensor]:
        """Other sequences' values at the same positions."""
        donors = {name: self.donors[axis_of(self.model, name)][seq] for name in hooks}
        wanted = torch.cat([donor.flatten() for donor in donors.values()]).unique()
        parts = [values_at(self.model, batch_of(self.reference, part), hooks) for part in wanted.split(self.batch_size)]
        found = {}
        for name, donor in donors.items():
            values = torch.cat([part[name] for part in parts])
            pos = torch.arange(donor.shape[1]).clamp(max=values.shape[1] - 1)
            found[name] = values[torch.searchsorted(wanted, donor), pos]
        return found


def mean_values(
    model: Any,
    data: Dataset,
    hooks: Sequence[str],
    *,
    by_position: bool,
    where: Mapping[str, Bool[Tensor, "seq hook_pos"]] | None = None,
    bos: bool = False,
    batch_size: int = 64,
    of: Callable[[str, Tensor], Tensor] = lambda hook, value: value,
) -> dict[str, Float[Tensor, "1 pos *rest"]]:
    """Means of what stands at some hooks, over all positions that count or at each; of scores those that are unmasked.

    Args:
        model: the subject.
        data: the sequences.
        hooks: names.
        by_position: whether each position has its own; one that no sequence has is NaN.
        where: the positions of each hook that are wanted; there are as many of each mean then.
        bos: whether BOS counts.
        batch_size: sequences a pass.
        of: what is made of a hook's values `[batch, pos, …]` before they are averaged.

    Raises:
        ValueError: no position counts, or no sequence has one that is wanted.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    counted = {}
    for name in hooks:
        seen = data.on_axis(axis_of(model, name))
        counted[name] = seen.mask if bos else seen.counted
        if not counted[name].any():
            raise ValueError("the reference has no position that counts: there is nothing to take a mean over.")
        if by_position and where is not None:
            _refuse_unknown_position(name, where[name], counted[name])
    for seq in torch.arange(len(data)).split(batch_size):
        for name, value in values_at(model, batch_of(data, seq), hooks).items():
            made, here = of(name, value).double(), counted[name][seq].to(value.device)
            here = here.view(*here.shape, *[1] * (made.ndim - 2))
            if by_query(model, name):
                here = here & unmasked(value)
            sums[name] = sums.get(name, 0) + torch.where(here, made, 0).sum(0)
            counts[name] = counts.get(name, 0) + here.sum(0)
    means = {}
    for name, total in sums.items():
        n = counts[name]
        if not by_position:
            means[name] = (total.sum(0, keepdim=True) / n.sum(0, keepdim=True))[None]
            continue
        length = total.shape[0] if where is None else where[name].shape[1]
        mean = torch.nn.functional.pad((total / n).movedim(0, -1), (0, max(0, length - len(total))), value=torch.nan)
        means[name] = mean.movedim(-1, 0)[None, :length]
    return means


def _refuse_other_keys(model: Any, data: Dataset, reference: Dataset, hooks: Sequence[str]) -> None:
    """`ValueError` where what stands at a hook of patterns or scores is of other keys than the reference's."""
    names = [name for name in hooks if by_query(model, name)]
    if not names:
        return
    ours, theirs = (values_at(model, batch_of(given, torch.tensor([0])), names) for given in (data, reference))
    for name in names:
        n, m = (found[name].shape[-1] for found in (ours, theirs))
        if n != m:
            raise ValueError(
                f"{name} is of {n} keys, but of {m} in the reference: give a reference as long as the sequences."
            )


def _refuse_unknown_position(
    hook: str, wanted: Bool[Tensor, "seq hook_pos"], known: Bool[Tensor, "reference known_pos"]
) -> None:
    wanted, known = wanted.any(0), known.any(0)
    known = torch.nn.functional.pad(known, (0, max(0, len(wanted) - len(known))))[: len(wanted)]
    if (wanted & ~known).any():
        raise ValueError(
            f"no sequence of the reference has position {int((wanted & ~known).nonzero()[0, 0])} of {hook}: there is "
            "nothing to take its mean over. Give a longer reference."
        )


def _donors(wanted: Bool[Tensor, "seq pos"], reference: Dataset, itself: bool, seed: int) -> Int[Tensor, "seq pos"]:
    """For each position another sequence in which it is real: the same one for all positions, as far as it goes."""
    if len(reference) < 1 + itself:
        raise ValueError("there is no other sequence to resample from: give at least two, or others as the reference.")
    rng = np.random.default_rng(seed)
    lengths = reference.mask.sum(1).numpy()
    donors = np.zeros(wanted.shape, np.int64)
    for s, here in enumerate(wanted.numpy()):
        order = rng.permutation(len(reference))
        order = order[order != s] if itself else order
        # Padding stands at the end alone: the first that is long enough has the position.
        longest, pos = np.maximum.accumulate(lengths[order]), np.flatnonzero(here)
        if len(pos) and longest[-1] <= pos[-1]:
            raise ValueError(
                f"position {pos[pos >= longest[-1]][0]} of sequence {s} is real in no other sequence: there is nothing "
                "to resample it from. Choose other positions, or give sequences as long as the reference."
            )
        donors[s, pos] = order[np.searchsorted(longest, pos, side="right")]
    return torch.from_numpy(donors)
