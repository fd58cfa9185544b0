"""How far a transformer with edges cut is from the whole one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.evaluation import Batch, as_evaluated, asked_positions
from workbench.circuits.edge_ablation import EdgeAblation
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import batch_of, run

Behaviour = Metric | Literal["KL"]
Distances = Callable[[Bool[Tensor, "variant edge"]], Float[Tensor, "variant seq"]]


@dataclass(frozen=True)
class Divergence:
    """KL(whole ‖ cut) in nats, the mean over the positions that are asked: targets, or all real ones but BOS.

    Attributes:
        whole: the whole model's log-probabilities of every sequence.
        counted: the positions.
    """

    whole: Float[Tensor, "seq pos d_vocab"]
    counted: Bool[Tensor, "seq pos"]

    @classmethod
    def of(cls, cuts: EdgeAblation, *, batch_size: int = 64) -> "Divergence":
        """From the whole model's outputs. `ValueError` where a sequence has no position that is asked."""
        every = torch.arange(len(cuts.data))
        asked = cuts.data.counted
        if cuts.data.targets is not None:
            asked = asked_positions(cuts.data.batch(every))
        if not asked.any(1).all():
            raise ValueError("some sequence has no position that is asked anything: there is nothing to diverge.")
        with torch.no_grad(), as_evaluated(cuts.model):
            outputs = [run(cuts.model, batch_of(cuts.data, seq)) for seq in every.split(batch_size)]
        return cls(torch.cat(outputs).log_softmax(-1).cpu(), asked)

    def __call__(self, output: Float[Tensor, "batch pos d_vocab"], batch: Batch) -> Float[Tensor, " batch"]:
        seq = batch["seq"].cpu()
        whole, counted = self.whole[seq].to(output.device), self.counted[seq].to(output.device)
        divergence = (whole.exp() * (whole - output.log_softmax(-1))).sum(-1)
        return (divergence * counted).sum(1) / counted.sum(1)


def distances(cuts: EdgeAblation, behaviour: Behaviour, *, batch_size: int = 64) -> Distances:
    """Of sets of cut edges, how far the model is from the whole one on each sequence.

    That is its divergence (`KL`), or by how much the metric is another, in either direction.

    Raises:
        ValueError: the behaviour is unknown, or the metric does not give one finite number a sequence.
    """
    if isinstance(behaviour, str):
        if behaviour != "KL":
            raise ValueError(f"the behaviour {behaviour!r} is unknown: give 'KL' or a metric of the output.")
        divergence = Divergence.of(cuts, batch_size=batch_size)
        return lambda cut: cuts.measured(divergence, cut, batch_size=batch_size)
    whole = cuts.measured(behaviour, torch.zeros(1, len(cuts.graph.edges), dtype=torch.bool), batch_size=batch_size)
    return lambda cut: (cuts.measured(behaviour, cut, batch_size=batch_size) - whole).abs()
