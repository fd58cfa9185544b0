"""`fit_rotation`: distributed alignment search, the directions in which a subject holds a variable of an algorithm.

Geiger et al., "Finding alignments between interpretable causal variables and distributed neural representations", 2023
(arXiv 2303.02536): of a pair of sequences, a base and a source, an algorithm says what the answer would be if one of
its variables had the source's value. The directions are those in which swapping the base's coordinates for the source's
makes the subject say so.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.evaluation import as_evaluated
from models.progress import progress
from workbench.interventions.controls import random_frame
from workbench.interventions.gradients import gradients_made
from workbench.interventions.interchange import Interchange, Swap, checked_metric, scored
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given
from workbench.interventions.positions import Positions
from workbench.interventions.subspace import Subspace

Frame = Float[Tensor, "d k"]

LEARNED, PRINCIPAL, UNTRAINED, BESIDE = "learned", "principal axes", "untrained subject", "given"


@dataclass(frozen=True)
class Rotation:
    """What was found.

    Attributes:
        subspace: the learned directions, orthonormal.
        scores: of held-out pairs: a line for it (`learned`) and for what it is held against (`interchange_scores` has
            the columns): random frames of as many directions, the rows' principal axes, what was found in the untrained
            subject, other subspaces that were given, nothing swapped and everything swapped.
        losses: of the search: `start`, `step`, `loss`, of each step's pairs.
        tested: the numbers of the held-out pairs.
        principal: the rows' principal axes.
        untrained: what was found in the untrained subject; None where there was none.
    """

    subspace: Subspace
    scores: pd.DataFrame
    losses: pd.DataFrame
    tested: Int[Tensor, " held_out"]
    principal: Subspace
    untrained: Subspace | None


@dataclass(frozen=True)
class _Search:
    """How directions are looked for; see `fit_rotation`."""

    n_steps: int
    lr: float
    n_starts: int
    batch_size: int
    seed: int


@gradients_made()
def fit_rotation(
    model: Any,
    base: Given,
    source: Given,
    targets: Tensor,
    hook_name: str,
    k: int,
    *,
    at: Positions | None = None,
    metric: Metric | None = None,
    beside: Mapping[str, Subspace] | None = None,
    untrained: Any = None,
    held_out: float = 0.25,
    n_steps: int = 300,
    lr: float = 0.3,
    n_starts: int = 1,
    n_controls: int = 5,
    batch_size: int = 64,
    seed: int = 0,
) -> Rotation:
    """Learn `k` directions along which swapping a base's coordinates for a source's makes the subject say the targets.

    Only the directions are learned (Adam on a free matrix [d, k], whose orthonormal factor they are); the subject stays
    as it is. The loss is the subject's own, of the targets.

    Args:
        model: the subject.
        base: the sequences that it is run on.
        source: for each of these another, with as many positions, whose values are put in.
        targets: what the subject should say then: ids [pair, pos], −100 where nothing is asked, or vectors.
        hook_name: where; in a recurrence, what is put in at a step is what later steps go on from.
        k: how many directions.
        at: the positions that are swapped: one (or a time step), a mask [pos] or [pair, pos], or all but BOS and
            padding where None.
        metric: what is scored, as `interchange_scores` takes it.
        beside: other subspaces to score on the same pairs: a probe's, say.
        untrained: the same subject before its training (`run.model(step=0)`), in which as much is searched.
        held_out: the share of the pairs that only the scores are made of.
        n_steps: steps of the search, each on `batch_size` pairs.
        lr: about how far a direction turns in the first step, in radians; it falls to 0.
        n_starts: random frames to start from; the one whose last tenth of steps has the lowest loss is taken.
        n_controls: random frames among the scores.
        batch_size: pairs a pass.
        seed: of the split, the starts, the order of pairs and the controls.

    Raises:
        ValueError: what `interchange_scores` refuses; there are not so many directions, or too few pairs; or nothing
            leads from the hook to what is asked.
    """
    for number, name in ((k, "k"), (n_steps, "n_steps"), (n_starts, "n_starts")):
        whole_number(number, name, least=1)
    whole_number(n_controls, "n_controls")
    metric = checked_metric(metric, targets)
    made = Interchange.of(model, base, source, targets, hook_name, at, batch_size=batch_size)
    if k > made.d:
        raise ValueError(f"there are not {k} directions at {made.hook}: a position there has {made.d} numbers.")
    for subspace in (beside or {}).values():
        subspace.refuse_width(made.source)
    n_held = round(held_out * len(made.base))
    if not 0 < n_held < len(made.base):
        raise ValueError(
            f"{n_held} of {len(made.base)} pairs would be held out: give more pairs, or another share than {held_out}."
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(made.base)))
    tested, fitted = order[:n_held].sort().values, order[n_held:].sort().values
    search = _Search(n_steps, lr, n_starts, batch_size, seed)
    subspace, losses = _searched(made, fitted, k, search)
    principal = _principal_axes(made, fitted, k)
    compared = {("", LEARNED): subspace, ("", PRINCIPAL): principal}
    compared |= {(name, BESIDE): other for name, other in (beside or {}).items()}
    how: dict[str, Any] = {"metric": metric, "batch_size": batch_size, "seed": seed}
    scores = scored(made, tested, compared, n_controls=n_controls, **how)
    found = None
    if untrained is not None:
        before = Interchange.of(untrained, base, source, targets, hook_name, at, batch_size=batch_size)
        found, _ = _searched(before, fitted, k, search)
        of_it = scored(before, tested, {("", UNTRAINED): found}, n_controls=0, **how)
        scores = pd.concat([scores, of_it[of_it["variant"] == UNTRAINED]], ignore_index=True)
    return Rotation(subspace, scores, losses, tested, principal, found)


def _searched(
    made: Interchange, pairs: Int[Tensor, " chosen"], k: int, search: _Search
) -> tuple[Subspace, pd.DataFrame]:
    """The best of several starts."""
    found = []
    steps = progress(total=search.n_starts * search.n_steps, desc="rotation", unit="step")
    with as_evaluated(made.model), _frozen(made.model), steps:
        for start in range(search.n_starts):
            rng = np.random.default_rng((search.seed, start))
            free = random_frame(k, made.d, int(rng.integers(2**31))).T.to(made.model.cfg.device, torch.float32)
            free = free.contiguous().requires_grad_()
            # Adam moves each entry by about its rate, so that a column of unit length turns by √d times as much.
            optimiser = torch.optim.Adam([free], lr=search.lr / made.d**0.5)
            falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, search.n_steps)
            losses = []
            for step, part in zip(range(search.n_steps), _parts(pairs, search.batch_size, rng), strict=False):
                loss = made.run(part, _rotated(torch.linalg.qr(free).Q), "loss")
                (grad,) = torch.autograd.grad(loss, free, allow_unused=True) if loss.requires_grad else (None,)
                if step == 0 and (grad is None or not grad.any()):
                    raise ValueError(
                        f"nothing leads from {made.hook}, at the positions that are swapped, to what is asked: "
                        "no directions can be learned there."
                    )
                free.grad = grad
                optimiser.step()
                falling.step()
                losses.append(float(loss.detach()))
                steps.update()
            found.append((torch.linalg.qr(free.detach().double()).Q, losses))
    last = -max(1, search.n_steps // 10)
    best, _ = min(found, key=lambda one: np.mean(one[1][last:]))
    curve = [(start, step, loss) for start, (_, losses) in enumerate(found) for step, loss in enumerate(losses)]
    return Subspace.along(best.T), pd.DataFrame(curve, columns=["start", "step", "loss"])


def _rotated(frame: Frame) -> Swap:
    """A swap of the coordinates along orthonormal columns, differentiable in these."""

    def swap(base: Float[Tensor, "n d"], source: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        columns = frame.to(base)
        return base + (source - base) @ columns @ columns.T

    return swap


def _principal_axes(made: Interchange, pairs: Int[Tensor, " chosen"], k: int) -> Subspace:
    """The directions in which the sources' rows vary most."""
    rows = made.source[pairs][made.where[pairs]].double()
    return Subspace.along(torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:k])


def _parts(pairs: Int[Tensor, " chosen"], size: int, rng: np.random.Generator) -> Iterator[Int[Tensor, " part"]]:
    """Some of the pairs at a time, without end, each as often as the others."""
    while True:
        yield from pairs[torch.from_numpy(rng.permutation(len(pairs)))].split(size)


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """No gradient is made for the subject's own weights."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
