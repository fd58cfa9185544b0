"""What is measured of a run: one number a sequence, and where it stands between a corrupt run and a clean one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.evaluation import Batch, asked_positions
from models.loss import IGNORED
from models.tasks.minimal_pairs import MinimalPairs
from models.tasks.repeated_pairs import InductionPairs

Metric = Callable[..., Float[Tensor, " batch"]]


@dataclass(frozen=True)
class LogitDifference:
    """By how much the answer's logit is above the wrong one's at a position of each sequence.

    Called as `metric(output, batch)`, where `batch["seq"]` says which sequences these are.

    Attributes:
        answer: token ids, or outputs.
        wrong: what they are held against.
        position: whose output is read; −1 is the last of all positions, padding among them.
    """

    answer: Int[Tensor, " seq"]
    wrong: Int[Tensor, " seq"]
    position: Int[Tensor, " seq"]

    @classmethod
    def of(cls, pairs: MinimalPairs | InductionPairs) -> "LogitDifference":
        """Of the clean sequences' answers over the corrupt ones', after the last token."""
        return cls(pairs.answer, pairs.wrong, pairs.position)

    def __call__(self, output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, " batch"]:
        seq = batch["seq"].cpu()
        rows = torch.arange(len(seq), device=output.device)
        return self.of_outputs(output[rows, self.asked(seq, output.shape[1]).to(output.device)], seq)

    def asked(self, seq: Int[Tensor, " batch"], n_pos: int) -> Int[Tensor, " batch"]:
        """The positions at which some sequences of so many are asked, counted from the first.

        Raises:
            ValueError: there is no such position, or fewer answers than sequences.
        """
        n = min(len(self.answer), len(self.wrong), len(self.position))
        if int(seq.max()) >= n:
            raise ValueError(f"the logit difference is of {n} sequences, but there is one numbered {int(seq.max())}.")
        position = self.position[seq]
        if position.min() < -n_pos or position.max() >= n_pos:
            raise ValueError(
                f"the logit difference is read at positions {int(position.min())} to {int(position.max())}, but the "
                f"outputs have 0 to {n_pos - 1}."
            )
        return position % n_pos

    def of_outputs(
        self, output: Float[Tensor, "*runs batch d_out"], seq: Int[Tensor, " batch"]
    ) -> Float[Tensor, "*runs batch"]:
        """The same of what stands at these sequences' positions alone, in one run or several."""
        for tokens in (self.answer[seq], self.wrong[seq]):
            if tokens.min() < 0 or tokens.max() >= output.shape[-1]:
                raise ValueError(
                    f"answers run from {int(tokens.min())} to {int(tokens.max())}, but the outputs are numbered 0 to "
                    f"{output.shape[-1] - 1}."
                )
        answer, wrong = (
            x[seq].to(output.device).expand(output.shape[:-1])[..., None] for x in (self.answer, self.wrong)
        )
        return (output.gather(-1, answer) - output.gather(-1, wrong))[..., 0]


@dataclass(frozen=True)
class TargetLoss:
    """The mean cross-entropy, in nats, of what each sequence is asked: its targets, or else its next tokens."""

    def __call__(self, output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, " batch"]:
        asked = asked_positions(batch)
        targets = batch.get("targets")
        if targets is None:
            targets = torch.nn.functional.pad(batch["input"][:, 1:], (0, 1), value=IGNORED)
        if targets.is_floating_point():
            raise ValueError("this subject's targets are vectors: a cross-entropy wants classes. Give another metric.")
        wanted = torch.where(asked, targets, IGNORED).to(output.device)
        loss = torch.nn.functional.cross_entropy(output.mT, wanted, ignore_index=IGNORED, reduction="none")
        return loss.sum(1) / asked.sum(1).to(output.device)


@dataclass(frozen=True)
class TargetError:
    """Minus the mean squared error of what each sequence is asked, in its targets' own units: higher is better."""

    def __call__(self, output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, " batch"]:
        asked = asked_positions(batch)
        targets = batch.get("targets")
        if targets is None or not targets.is_floating_point():
            raise ValueError("these sequences are not asked for vectors: an error from targets wants some.")
        wanted = torch.where(asked[..., None], targets, 0).to(output)
        squares = (output - wanted).square().mean(-1) * asked.to(output)
        return -squares.sum(1) / asked.sum(1).to(output)


def measured(metric: Metric, output: Tensor, batch: Batch) -> Float[Tensor, " batch"]:
    """A metric of a run: `metric(output)`, or `metric(output, batch)` of one that cannot do without a second argument.

    Raises:
        ValueError: it does not give one finite number a sequence.
    """
    value = metric(output, batch) if takes_batch(metric) else metric(output)
    n = len(batch["input"])
    if not isinstance(value, Tensor) or value.shape != (n,):
        shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the metric gave {shape} for a batch of {n}: it must give a tensor [batch].")
    if not torch.isfinite(value).all():
        raise ValueError("the metric is NaN or infinite for some sequences: it must give a number for each.")
    return value


def takes_batch(metric: Metric) -> bool:
    """Whether a metric wants the batch beside the output. `ValueError` for what cannot be called."""
    if not callable(metric):
        raise ValueError(f"the metric is {metric!r}: it must be a function of the output, such as TargetLoss().")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters: Any = inspect.signature(metric).parameters.values()
    return sum(parameter.kind in kinds and parameter.default is parameter.empty for parameter in parameters) > 1


def restored(
    value: Float[Tensor, "*rest seq"], clean: Float[Tensor, " seq"], corrupt: Float[Tensor, " seq"]
) -> Float[Tensor, "*rest"]:
    """How far means over sequences have come from the corrupt run's, 0, to the clean run's, 1.

    Of means, not the mean of shares: a pair that is hardly apart would outweigh all others.

    Raises:
        ValueError: the two do not differ.
    """
    gap = clean.mean() - corrupt.mean()
    if not gap.abs() > 1e-6 * torch.stack([clean, corrupt]).abs().amax():
        raise ValueError(
            f"the metric is {float(clean.mean()):.4g} on the clean and on the corrupt sequences alike: there is no gap "
            "to restore. Choose sequences, or a metric, that the subject tells apart."
        )
    return (value.mean(-1) - corrupt.mean()) / gap
