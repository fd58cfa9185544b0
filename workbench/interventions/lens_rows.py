"""Rows of a subject's hooks as a lens reads them out, what is measured of each, and what is asked there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated, asked_positions
from models.loss import IGNORED
from models.progress import progress
from workbench.interventions.controls import random_rotation
from workbench.interventions.pairs import batch_of
from workbench.interventions.reading_out import ReadOutOf, read_out_of, readable
from workbench.interventions.tuned_lens import TunedLens
from workbench.interventions.values import values_at

LENS, TUNED, ROTATED, UNTRAINED = "logit lens", "tuned lens", "random rotation", "untrained"
MEASURES = ("loss", "rank", "probability", "entropy", "kl", "agreement")


@dataclass(frozen=True)
class Line:
    """One way to look at one hook: what is done to its rows before they are read out."""

    hook: str
    variant: str
    seed: int | None
    through: Callable[[Tensor], Tensor]

    @classmethod
    def plain(cls, hook: str, variant: str = LENS) -> "Line":
        """Rows as they are."""
        return cls(hook, variant, None, lambda rows: rows)

    @classmethod
    def tuned(cls, hook: str, lens: TunedLens, read_out: ReadOutOf) -> "Line":
        """Rows through a fitted lens. `ValueError` where it has nothing for that hook."""
        return cls(hook, TUNED, None, lens.at(hook, read_out))

    @classmethod
    def rotated(cls, hook: str, d: int, seed: int) -> "Line":
        """Rows turned by a rotation, and so as long as they were."""
        rotation = random_rotation(d, seed)
        return cls(hook, ROTATED, seed, lambda rows: rows @ rotation.to(rows))


def lines_of(
    names: Sequence[str], read_out: ReadOutOf, lens: TunedLens | None, n_controls: int, seed: int
) -> list[Line]:
    """The lens at each hook, then the tuned one where there is one, then the rotations that it is held against."""
    lines = [Line.plain(name) for name in names]
    lines += [] if lens is None else [Line.tuned(name, lens, read_out) for name in names]
    seeds = range(seed, seed + whole_number(n_controls, "n_controls"))
    return lines + [Line.rotated(name, read_out.d, s) for s in seeds for name in names]


def control_read_out(untrained: Any, read_out: ReadOutOf, data: Dataset, names: list[str]) -> ReadOutOf:
    """The control's read-out. `ValueError` where it is not of the subject's shape."""
    control = read_out_of(untrained)
    if (control.d, control.d_out) != (read_out.d, read_out.d_out):
        raise ValueError(
            f"the untrained subject reads {control.d_out} logits off {control.d} numbers, but the subject "
            f"{read_out.d_out} off {read_out.d}: give the same subject before training."
        )
    readable(untrained, control, data, names)
    return control


@dataclass(frozen=True)
class Chunk:
    """Some rows of a pass.

    Attributes:
        seq: the sequences that they are of.
        pos: where in these.
        final: the subject's own log-probabilities there.
        logits: of a line, what is read out there.
    """

    seq: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    final: Float[Tensor, "n d_out"]
    logits: Callable[[Line], Float[Tensor, "n d_out"]]


def each_chunk(
    model: Any,
    read_out: ReadOutOf,
    data: Dataset,
    where: Bool[Tensor, "seq pos"],
    hooks: Sequence[str],
    batch_size: int,
    use: Callable[[Chunk], None],
) -> None:
    """Run the sequences and hand over their rows, as many at a time as may become logits at once."""
    held = list(dict.fromkeys([*hooks, read_out.last]))
    with as_evaluated(model), torch.inference_mode():
        for seq in progress(torch.arange(len(data)).split(batch_size), desc="logit lens", unit="pass"):
            row, pos = where[seq].nonzero(as_tuple=True)
            if not len(row):
                continue
            values = values_at(model, batch_of(data, seq), held, (row, pos))
            for part in torch.arange(len(row)).split(read_out.chunk(values[read_out.last])):
                rows = {name: value[part] for name, value in values.items()}
                final = read_out(rows[read_out.last]).log_softmax(-1)
                use(Chunk(seq[row[part]], pos[part], final, partial(_read, read_out, rows)))


def _read(read_out: ReadOutOf, rows: dict[str, Tensor], line: Line) -> Float[Tensor, "n d_out"]:
    return read_out(line.through(rows[line.hook]))


def measures_of(
    logits: Float[Tensor, "n d_out"], final: Float[Tensor, "n d_out"], target: Int[Tensor, " n"]
) -> Float[Tensor, "n measure"]:
    """`MEASURES` of each row; what is of the target is NaN where nothing is asked."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    asked = (target != IGNORED).to(logits.device)
    of_target = log_p.gather(1, target.clamp(min=0).to(logits.device)[:, None])
    rank = 1 + (log_p > of_target).sum(-1)
    entropy = -(p * log_p.nan_to_num(neginf=0)).sum(-1)
    kl = (final.exp() * (final - log_p)).sum(-1)
    agreement = logits.argmax(-1) == final.argmax(-1)
    of_asked = [torch.where(asked, column, torch.nan) for column in (-of_target[:, 0], rank, of_target[:, 0].exp())]
    return torch.stack([column.double() for column in (*of_asked, entropy, kl, agreement)], 1).cpu()


def asked_of(model: Any, data: Dataset, targets: Int[Tensor, "seq pos"] | None, d_out: int) -> Int[Tensor, "seq pos"]:
    """What each position should give, −100 where nothing is asked. `ValueError` where that is no token."""
    targets = data.targets if targets is None else targets
    if targets is not None and targets.is_floating_point():
        raise ValueError(
            "the targets are vectors: a lens reads off classes, such as tokens, and there is none to rank."
        )
    if targets is None and (data.tokens.is_floating_point() or getattr(model.cfg, "bidirectional", False)):
        why = "the input is vectors" if data.tokens.is_floating_point() else "a bidirectional network sees the next"
        raise ValueError(f"{why}, so that there is no next token to predict: give targets.")
    if targets is None:
        targets = torch.nn.functional.pad(data.tokens[:, 1:], (0, 1), value=IGNORED)
        return targets.masked_fill(~asked_positions({"input": data.tokens, "mask": data.mask}), IGNORED)
    if targets.shape != data.mask.shape:
        raise ValueError(f"targets are {list(targets.shape)}, but there are positions {list(data.mask.shape)}.")
    targets = targets.masked_fill(~data.mask, IGNORED)
    if len(known := targets[targets != IGNORED]) and not (known.min() >= 0 and known.max() < d_out):
        raise ValueError(f"targets run from {int(known.min())} to {int(known.max())}: there are 0 to {d_out - 1}.")
    return targets
