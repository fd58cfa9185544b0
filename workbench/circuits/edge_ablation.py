"""`EdgeAblation`: a transformer run with edges cut, many sets of edges side by side in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from workbench.circuits.graph import Graph
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given, aligned, as_dataset
from workbench.interventions.passes import Hooks, measure_jobs
from workbench.interventions.stand_ins import Ablation, StandIns

Writes = Float[Tensor, "_ _ sender d_model"]
StandIn = Float[Tensor, "_ _ _ _"]  # batch, position, sender, d_model, or 1 of any


@dataclass(frozen=True)
class EdgeAblation:
    """What a receiver reads in place of what a sender writes, where the edge between them is cut.

    The receiver reads the stream less what the sender writes in this very run, in which other edges may be cut too,
    plus what stands in for it. Every other receiver reads the sender as it is.

    Attributes:
        model: the transformer.
        graph: its edges.
        data: the sequences that it is run on.
        given: what stands in for the senders' writes.
        where: the positions at which edges are cut: never padding, and BOS only where asked.
    """

    model: Any
    graph: Graph
    data: Dataset
    given: StandIns
    where: Bool[Tensor, "seq pos"]

    @classmethod
    def of(
        cls,
        model: Any,
        clean: Given,
        corrupt: Given | None = None,
        *,
        ablation: Ablation = "resample",
        bos: bool = False,
        batch_size: int = 64,
        seed: int = 0,
    ) -> "EdgeAblation":
        """Ready to run.

        Args:
            model: the transformer.
            clean: what it is run on.
            corrupt: where what stands in comes from: for `resample` each sequence's own counterpart, for the means any
                sequences. Where None, from the clean sequences (for `resample`, from another of them); `zero` needs
                none.
            ablation: `zero`; `mean`, a sender's over all positions; `position mean`, at each position; `resample`, what
                it writes at the same position of another sequence.
            bos: whether edges are cut at BOS too.
            batch_size: sequences a pass, for what stands in.
            seed: of the draw of other sequences.

        Raises:
            ValueError: it is no transformer, the ablation is unknown or has nothing to take from, or the sequences do
                not fit.
        """
        graph, data = Graph.of(model), as_dataset(clean)
        where = data.mask if bos else data.counted
        if not where.any():
            raise ValueError("there is nothing but BOS and padding in these sequences: bos=True cuts edges at BOS too.")
        if ablation == "resample" and corrupt is not None:
            data, counterparts = aligned(clean, corrupt)
            own = torch.arange(len(data))[:, None].expand(where.shape)
            given = StandIns(model, ablation, counterparts, {}, {"target": own}, batch_size)
        else:
            settings: dict[str, Any] = {"reference": corrupt, "bos": bos, "batch_size": batch_size, "seed": seed}
            settings["where"] = dict.fromkeys(graph.sending_hooks, where)
            given = StandIns.of(model, data, graph.sending_hooks, ablation, **settings)
        return cls(model, graph, data, given, where)

    def stand_ins(self, seq: Int[Tensor, " batch"]) -> dict[str, StandIn]:
        """Of each sender's hook, what takes the place of its writes: [batch, pos, sender, d_model], or 1 of any."""
        found = self.given.at(self.graph.sending_hooks, seq)
        return {name: self._fitted(value) for name, value in found.items()}

    def changes(
        self, written: Writes, stand_in: StandIn, seq: Int[Tensor, " batch"]
    ) -> Float[Tensor, "_ pos sender d_model"]:
        """What a cut edge adds to what its receiver reads; of several variants, each of `seq` once for each."""
        n = len(written) // len(seq)
        instead = stand_in.to(written)
        instead = instead if len(instead) == 1 else repeat(instead, "b pos s d -> (v b) pos s d", v=n)
        at = repeat(self.where[seq].to(written.device), "b pos -> (v b) pos 1 1", v=n)
        return torch.where(at, instead - written, 0)

    def hooks(self, cut: Float[Tensor, "variant edge"], seq: Int[Tensor, " batch"]) -> Hooks:
        """Forward hooks that cut edges wholly (1), in part, or not (0).

        They are for one run on the sequences `seq`, all of them once for each variant, variant after variant.
        """
        blocks = [block for block in self.graph.blocks if cut[:, block.numbers].any()]
        stand_ins = self.stand_ins(seq) if blocks else {}
        moved: dict[str, Tensor] = {}

        def note(value: Tensor, hook: Any) -> None:
            moved[str(hook.name)] = self.changes(by_sender(value), stand_ins[str(hook.name)], seq)

        def put(value: Tensor, hook: Any) -> Tensor:
            read = by_sender(value)
            for block in blocks:
                if block.receiver == str(hook.name):
                    shares = repeat(cut[:, block.numbers].to(read), "v r s -> (v b) r s", b=len(seq))
                    read = read + einsum(moved[block.sender], shares, "row pos s d, row r s -> row pos r d")
            return read.view_as(value)

        hooks: Hooks = [(name, note) for name in {block.sender: None for block in blocks}]
        return hooks + [(name, put) for name in {block.receiver: None for block in blocks}]

    def measured(
        self, metric: Metric, cut: Bool[Tensor, "variant edge"], *, batch_size: int = 64
    ) -> Float[Tensor, "variant seq"]:
        """The metric of every sequence under each set of cut edges, `batch_size` runs of a sequence a pass.

        Raises:
            ValueError: the metric does not give one finite number a sequence.
        """

        def hooks_of(variants: Sequence[int], seq: Int[Tensor, " batch"]) -> Hooks:
            return self.hooks(cut[list(variants)].float(), seq)

        return measure_jobs(self.model, self.data, metric, len(cut), hooks_of, batch_size=batch_size, desc="cut edges")

    def _fitted(self, value: Tensor) -> StandIn:
        """With all four axes."""
        if value.ndim == 2:
            return value[:, :, None, None]
        return by_sender(value)


def by_sender(value: Float[Tensor, "batch pos *sender_d"]) -> Float[Tensor, "batch pos sender d"]:
    """A hook's value with an axis for heads, of one where it has none."""
    return value if value.ndim == 4 else value[:, :, None]
