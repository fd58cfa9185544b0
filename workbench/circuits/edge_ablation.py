"""`EdgeAblation`: a transformer run with edges cut, each of many sets of edges beside the others in one pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.step_hooks import HookFunction
from workbench.circuits.graph import Graph
from workbench.interventions.metrics import Metric, measured, takes_batch
from workbench.interventions.pairs import Given, aligned, as_dataset, batch_of, run

Ablation = Literal["zero", "mean", "position mean", "resample"]
ABLATIONS: tuple[str, ...] = get_args(Ablation)
Writes = Float[Tensor, "batch pos sender d_model"]


@dataclass(frozen=True)
class EdgeAblation:
    """What a receiver reads in place of what a sender writes, where the edge between them is cut.

    The receiver reads the stream less what the sender writes in this very run, in which other edges may be cut too,
    plus what stands in for it. Every other receiver reads the sender as it is.

    Attributes:
        model: the transformer.
        graph: its edges.
        data: the sequences that it is run on.
        ablation: `zero`; `mean`, of a sender over all positions of the reference; `position mean`, its mean at each
            position; `resample`, what it writes at the same position of the corrupt sequence.
        where: the positions at which edges are cut: never padding, and BOS only where asked.
        corrupt: each sequence's counterpart, for `resample`.
        means: of each sender's hook, for the two means: [pos, sender, d_model].
    """

    model: Any
    graph: Graph
    data: Dataset
    ablation: Ablation
    where: Bool[Tensor, "seq pos"]
    corrupt: Dataset | None = None
    means: dict[str, Float[Tensor, "_ sender d_model"]] | None = None

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
    ) -> "EdgeAblation":
        """Ready to run.

        Args:
            model: the transformer.
            clean: what it is run on.
            corrupt: what stands in comes from these: for `resample` each sequence's own counterpart, for the means any
                sequences (the clean ones where None); `zero` needs none.
            ablation: what stands in.
            bos: whether edges are cut at BOS too.
            batch_size: sequences a pass, for the means.

        Raises:
            ValueError: it is no transformer, the ablation is unknown or has nothing to take from, or the sequences do
                not fit.
        """
        whole_number(batch_size, "batch_size", least=1)
        graph, data = Graph.of(model), as_dataset(clean)
        if ablation not in ABLATIONS:
            raise ValueError(f"ablation {ablation!r} is unknown: there are {', '.join(ABLATIONS)}.")
        where = data.mask if bos else data.counted
        if not where.any():
            raise ValueError("there is nothing but BOS and padding in these sequences: bos=True cuts edges at BOS too.")
        counterparts, means = None, None
        if ablation == "resample":
            if corrupt is None:
                raise ValueError("resample ablation takes from corrupt sequences: give each clean one its own.")
            data, counterparts = aligned(clean, corrupt)
        elif ablation != "zero":
            reference = data if corrupt is None else as_dataset(corrupt)
            known = reference.mask if bos else reference.counted
            if ablation == "position mean":
                _refuse_unknown_positions(known, where)
            if not known.any():
                raise ValueError("the reference holds nothing but BOS and padding: there is nothing to take a mean of.")
            sums = _sums(model, graph, reference, known, batch_size)
            means = {hook: _mean_of(ablation, sums[hook], known, where.shape[1]) for hook in sums}
        return cls(model, graph, data, ablation, where, counterparts, means)

    @torch.no_grad()
    def stand_ins(self, seq: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Of each sender's hook, what takes the place of its writes: [batch, pos, sender, d_model], or 1 of any."""
        hooks = dict.fromkeys(node.hook for node in self.graph.senders)
        if self.corrupt is not None:
            return writes_of(self.model, batch_of(self.corrupt, seq), list(hooks))
        if self.means is None:
            return {hook: torch.zeros(1, 1, 1, 1) for hook in hooks}
        return {hook: mean[None] for hook, mean in self.means.items()}

    @contextmanager
    def cutting(
        self, cut: Float[Tensor, "variant edge"], seq: Int[Tensor, " batch"], stand_ins: dict[str, Tensor]
    ) -> Iterator[None]:
        """The model with edges cut, wholly (1), in part, or not (0), until the end of a `with` block.

        It is to be run on the sequences `seq` once for each variant, variant after variant.
        """
        blocks = [block for block in self.graph.blocks if cut[:, block.numbers].any()]
        here = self.where[seq]
        moved: dict[str, Tensor] = {}

        def note(value: Tensor, hook: Any) -> None:
            written = by_sender(value)
            instead = stand_ins[str(hook.name)].to(written)
            given = repeat(instead, "b pos s d -> (v b) pos s d", v=len(cut)) if len(instead) > 1 else instead
            at = repeat(here.to(written), "b pos -> (v b) pos 1 1", v=len(cut))
            moved[str(hook.name)] = (given - written) * at

        def put(value: Tensor, hook: Any) -> Tensor:
            read = by_sender(value)
            for block in blocks:
                if block.receiver == str(hook.name):
                    shares = repeat(cut[:, block.numbers].to(read), "v r s -> (v b) r s", b=len(seq))
                    read = read + einsum(moved[block.sender], shares, "row pos s d, row r s -> row pos r d")
            return read.view_as(value)

        hooks: list[tuple[str, HookFunction]] = [(name, note) for name in {block.sender: None for block in blocks}]
        hooks += [(name, put) for name in {block.receiver: None for block in blocks}]
        with self.model.hooks(fwd_hooks=hooks):
            yield

    def outputs(
        self, cut: Bool[Tensor, "variant edge"], seq: Int[Tensor, " batch"]
    ) -> Float[Tensor, "variant batch pos d_out"]:
        """What the model says of some sequences under each set of cut edges."""
        batch = {
            name: value.repeat(len(cut), *(1 for _ in value.shape[1:]))
            for name, value in batch_of(self.data, seq).items()
        }
        with self.cutting(cut.float(), seq, self.stand_ins(seq)):
            output = run(self.model, batch)
        return rearrange(output, "(v b) ... -> v b ...", v=len(cut))

    def measured(
        self, metric: Metric, cut: Bool[Tensor, "variant edge"], *, batch_size: int = 64
    ) -> Float[Tensor, "variant seq"]:
        """The metric of every sequence under each set of cut edges, `batch_size` runs of a sequence a pass.

        Raises:
            ValueError: the metric does not give one finite number a sequence.
        """
        whole_number(batch_size, "batch_size", least=1)
        every = torch.arange(len(self.data))
        n_variants = max(1, batch_size // len(every))
        with torch.inference_mode(), evaluating(self.model):
            found = [self._measured(metric, part, every.split(batch_size)) for part in cut.split(n_variants)]
        return torch.cat(found).clone()

    def _measured(
        self, metric: Metric, cut: Bool[Tensor, "variant edge"], parts: tuple[Int[Tensor, " _"], ...]
    ) -> Float[Tensor, "variant seq"]:
        outputs = [self.outputs(cut, seq) for seq in parts]
        if not takes_batch(metric):
            # It may hang on the order of the sequences: it is given all of them.
            outputs, parts = [torch.cat(outputs, 1)], (torch.cat(parts),)
        batches = [batch_of(self.data, seq) for seq in parts]
        per_part = [
            torch.stack([measured(metric, variant, batch).double().cpu() for variant in output])
            for output, batch in zip(outputs, batches, strict=True)
        ]
        return torch.cat(per_part, 1)


def by_sender(value: Float[Tensor, "batch pos *sender_d"]) -> Float[Tensor, "batch pos sender d"]:
    """A hook's value with an axis for heads, of one where it has none."""
    return value if value.ndim == 4 else value[:, :, None]


@torch.no_grad()
def writes_of(model: Any, batch: dict[str, Tensor], hooks: list[str]) -> dict[str, Writes]:
    """What each sender's hook writes in a pass that nothing is done to."""
    kept: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any) -> None:
        kept[str(hook.name)] = by_sender(value.detach())

    with model.hooks(fwd_hooks=[(name, keep) for name in hooks]):
        run(model, batch)
    return kept


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """A subject in evaluation mode until the end of a `with` block, and then as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _sums(
    model: Any, graph: Graph, reference: Dataset, known: Bool[Tensor, "reference pos"], batch_size: int
) -> dict[str, Float[Tensor, "pos sender d_model"]]:
    """Of each sender's hook the sum at every position, over those of the reference that count."""
    hooks = list(dict.fromkeys(node.hook for node in graph.senders))
    sums: dict[str, Tensor] = {}
    with evaluating(model):
        for seq in torch.arange(len(reference)).split(batch_size):
            for hook, value in writes_of(model, batch_of(reference, seq), hooks).items():
                part = einsum(value.double(), known[seq].to(value.device).double(), "b pos s d, b pos -> pos s d")
                sums[hook] = sums.get(hook, torch.zeros_like(part)) + part
    return sums


def _mean_of(
    ablation: Ablation,
    sums: Float[Tensor, "pos sender d_model"],
    known: Bool[Tensor, "reference pos"],
    length: int,
) -> Float[Tensor, "_ sender d_model"]:
    """One mean, or one at each of `length` positions; zero at those that nobody counts."""
    counts = known.sum(0).to(sums)
    if ablation == "mean":
        return sums.sum(0, keepdim=True) / counts.sum()
    means = sums / counts.clamp(min=1)[:, None, None]
    return torch.nn.functional.pad(means, (0, 0, 0, 0, 0, max(0, length - len(means))))[:length]


def _refuse_unknown_positions(known: Bool[Tensor, "reference pos"], where: Bool[Tensor, "seq _"]) -> None:
    there = set(known.any(0).nonzero()[:, 0].tolist())
    missing = [pos for pos in where.any(0).nonzero()[:, 0].tolist() if pos not in there]
    if missing:
        raise ValueError(
            f"the reference has nothing at position {missing[0]}, and so no position mean: give longer sequences."
        )
