"""Bracket depth in recurrent subjects: what a linear probe reads, and what they answer after the depth was edited.

A string is read up to a step, the state is moved by one bracket there, and every later answer is held against the truth
about a string that had one more, or one less, open at that step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models import recipes
from models.dataset import Dataset
from models.hooks import HookedModel
from models.tasks.dyck import Dyck
from probes import RidgeProbe
from workbench.interventions import Subspace, add, along_random
from workbench.probing.cause import DIRECTION, EDIT, METRIC, READ_LATER, cause_report
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dyck_depth import COUNTER

TITLE = "A depth that is read, and one that is used"
PAPER = (
    "After Giulianelli et al. 2018 (arXiv 1808.08079), Elazar et al. 2021 (arXiv 2006.00995) and, on patterns, "
    "Haufe et al. 2014 (NeuroImage 87:96)"
)

N_FIT, N_TEST = 1500, 400
# Depths at which there is an edit: deeper ones are too rare for a mean of their own.
DEEPEST = 6
N_DRAWS = 10
COEFFICIENTS, PATTERN, MEANS = "coefficients", "pattern", "means"
UNREAD = "random direction that the probe does not read"
CHANGED, ALL = "changed", "all"
LEAST, MOST_RANDOM = 0.95, 0.10
NOWHERE = -1


class States(NamedTuple):
    """What a subject held after each bracket of some strings.

    Attributes:
        rows: of all brackets, in reading order.
        depth: of each of these.
        strings: what they are of.
        depths: the same depths where they stand; −1 at BOS and padding.
    """

    rows: Float[Tensor, "n d"]
    depth: Float[Tensor, " n"]
    strings: Dataset
    depths: Int[Tensor, "seq time"]


def reproduce(bench: Bench) -> list[Row]:
    """Train both cells on the depth being zero; fit a probe of the depth on some strings and edit it in others."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"{cell}-seed-{seed}": (cell, seed) for cell in COUNTER for seed in seeds}
    named = {cell: recipes.get(f"dyck-{cell}") for cell in COUNTER}
    runs = bench.subjects({name: named[cell].with_changes(seed=seed) for name, (cell, seed) in wanted.items()})
    read, edited, steps = [], [], []
    for name, (cell, seed) in wanted.items():
        bench.tell(f"editing {name}")
        data = cast(Dyck, named[cell].task).dataset(N_FIT, N_TEST, seed=seed)
        about, hook = {"cell": cell, "seed": seed}, COUNTER[cell]
        for stage, model in (("untrained", runs[name].model(step=0)), ("trained", runs[name].model())):
            fit, test = (states_of(model, data.split(split), hook) for split in ("train", "test"))
            read.append(about | {"stage": stage} | read_out(fit, test, seed))
        steps.append(pd.DataFrame(about | mean_steps(fit)))
        edited.append(edit_depth(model, hook, fit, test, seed).assign(cell=cell, subject=seed))
    tables = [pd.DataFrame(read), pd.concat(edited, ignore_index=True), pd.concat(steps, ignore_index=True)]
    for table_name, table in zip(("read_out", "edits", "mean_steps"), tables, strict=True):
        bench.table(table_name, table)
    return [row for cell in COUNTER for row in _rows(cell, *(table[table["cell"] == cell] for table in tables))]


def states_of(model: HookedModel, strings: Dataset, hook: str) -> States:
    """Run a subject on strings and keep its states."""
    batch: dict[str, Any] = strings.batch(slice(None))
    with torch.inference_mode():
        _, cache = model.run_with_cache(**batch, names_filter=hook)
    real = strings.counted
    labels = cast(pa.Table, strings.labels)
    depth = torch.from_numpy(labels["depth"].drop_null().to_numpy().astype(np.float64))
    depths = torch.full(real.shape, NOWHERE)
    depths[real] = depth.long()
    return States(cache[hook][real].clone(), depth, strings, depths)


def read_out(fit: States, test: States, seed: int) -> dict[str, float]:
    """R² of a ridge probe on other strings, and of one that was fitted to shuffled depths."""
    probe = RidgeProbe().fit(fit.rows, fit.depth)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(fit.depth)))
    shuffled = RidgeProbe().fit(fit.rows, fit.depth[order])
    return {"r2": probe.score(test.rows, test.depth), "r2_shuffled": shuffled.score(test.rows, test.depth)}


def mean_steps(states: States) -> dict[str, list[float]]:
    """From each depth to the next, how far its mean state moves, and how much in the direction of the step before."""
    means = mean_states(states)
    moves = means[1:] - means[:-1]
    turned = torch.cosine_similarity(moves[1:], moves[:-1], dim=1)
    depth = list(range(1, len(moves)))
    return {"depth": depth, "length": moves[1:].norm(dim=1).tolist(), "cosine": turned.tolist()}


def mean_states(states: States) -> Float[Tensor, "depth d"]:
    """The mean state at each depth from 0 to one more than the deepest edit."""
    return torch.stack([states.rows[states.depth == d].double().mean(0) for d in range(DEEPEST + 2)])


def edit_depth(model: HookedModel, hook: str, fit: States, test: States, seed: int) -> pd.DataFrame:
    """`cause_report` of one bracket more and one less (`by`), for each `depth` at which the edit is.

    An edit is along the probe's coefficients, along its pattern, or from one depth's mean state to the other's. It is
    judged by the answers that should change, beside random directions, and random ones that the probe does not read;
    and by all answers.
    """
    probe = Subspace.of_probe(RidgeProbe().fit(fit.rows, fit.depth))
    pattern, means = probe.along_pattern(fit.rows), mean_states(fit)
    tables = []
    for by in (1, -1):
        at = chosen_steps(test.depths, by, seed)
        for depth in test.depths[at].unique().tolist():
            own = Subspace.between(means[depth], means[depth + by])
            edits = {COEFFICIENTS: add(probe, by), PATTERN: add(pattern, by), MEANS: add(own, 1)}
            report = partial(
                cause_report, model, test.strings, hook, at=at & (test.depths == depth), batch_size=512, seed=seed
            )
            changed, every = answers(by, CHANGED), answers(by, ALL)
            made = [report(edits, changed, readers={hook: probe}, n_controls=N_DRAWS).assign(judged=CHANGED)]
            made.append(report(edits, every, n_controls=0).assign(judged=ALL))
            unread = {
                f"{name}/{draw}": along_random(edit, draw, orthogonal_to=probe)
                for name, edit in edits.items()
                for draw in range(N_DRAWS)
            }
            table = report(unread, changed, n_controls=0).assign(variant=UNREAD, judged=CHANGED)
            names = table["edit"].str.split("/", expand=True)
            made.append(table.assign(edit=names[0], seed=names[1].astype("Int64")))
            tables += [table.assign(by=by, depth=depth) for table in made]
    return pd.concat(tables, ignore_index=True).rename(columns={"seed": "draw"})


def chosen_steps(depths: Int[Tensor, "seq time"], by: int, seed: int) -> Bool[Tensor, "seq time"]:
    """One step in each string, drawn from those at which its depth may be edited.

    At least one bracket must be open afterwards, so that the answers that should change are all to come.
    """
    able = (depths >= (1 if by > 0 else 2)) & (depths <= DEEPEST)
    drawn = torch.rand(able.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(~able, -1)
    chosen = torch.zeros_like(able)
    chosen[torch.arange(len(able)), drawn.argmax(1)] = True
    return chosen & able


def answers(by: int, judged: str) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
    """How many answers, from the edited step on, are true of a string with `by` more brackets open there.

    `changed`: the share that is right of those answers that should change. `all`: whether every answer is right.
    """

    def metric(output: Tensor, batch: dict[str, Tensor]) -> Float[Tensor, " batch"]:
        was_zero, is_zero, asked = truth_if(batch["input"], batch["mask"], batch["edited"], by)
        right = (output.argmax(-1) == 1).cpu() == is_zero
        if judged == CHANGED:
            asked = asked & (was_zero != is_zero)
            return (right & asked).sum(1) / asked.sum(1)
        return (right | ~asked).all(1).double()

    return metric


def truth_if(
    tokens: Int[Tensor, "seq time"], mask: Bool[Tensor, "seq time"], edited: Bool[Tensor, "seq time"], by: int
) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
    """Whether all brackets of one kind are closed; whether they would be, had `by` more been open from a step on.

    The third says where that is asked: from the step on, as long as nothing is closed that would not have been opened.
    """
    depth = ((tokens == 1).long() - (tokens == 2).long()).cumsum(1)
    since = edited.long().cumsum(1) > 0
    instead = depth + by
    asked = since & mask & (torch.where(since, instead, 0).cummin(1).values >= 0)
    return depth == 0, instead == 0, asked


def _rows(cell: str, read: pd.DataFrame, causes: pd.DataFrame, curve: pd.DataFrame) -> list[Row]:
    def r2(column: str, stage: str = "trained") -> list[float]:
        return read.loc[read["stage"] == stage, column].tolist()

    is_line = cell == "lstm"
    least = 0.99 if is_line else 0.90
    lengths = [curve.loc[curve["depth"] == depth, "length"].tolist() for depth in (1, DEEPEST)]
    return [
        Row(
            f"{cell}: R² of the depth, read by ridge regression in other strings",
            "",
            f"{spread(r2('r2'))}; untrained {spread(r2('r2', 'untrained'))}; "
            f"shuffled depths {spread(r2('r2_shuffled'))}",
            f"≥ {least:.2f}",
            bool(np.min(r2("r2")) >= least),
        ),
        _row_of(cell, causes, COEFFICIENTS, "along the probe's coefficients", has_bar=False),
        _row_of(cell, causes, PATTERN, "along its pattern", has_bar=is_line),
        _row_of(cell, causes, MEANS, "from one depth's mean state to the other's", has_bar=True),
        Row(
            f"{cell}: how far the mean state moves from depth 1 to 2, and from {DEEPEST} to {DEEPEST + 1}",
            "",
            f"{spread(lengths[0], 2)}; {spread(lengths[1], 2)}",
        ),
    ]


def _row_of(cell: str, causes: pd.DataFrame, edit: str, how: str, *, has_bar: bool) -> Row:
    """What one kind of edit did, in both directions."""
    of = causes[causes["edit"] == edit]
    found = [_shares(of, EDIT, CHANGED, by) for by in (1, -1)]
    drawn = [_shares(of, variant, CHANGED, by) for variant in (DIRECTION, UNREAD) for by in (1, -1)]
    random, unread = (drawn[i] + drawn[i + 1] for i in (0, 2))
    later = of[(of["measure"] == READ_LATER) & (of["variant"] == EDIT)]
    moved = np.average(later["effect"] * later["by"], weights=later["sequences"])
    every = _shares(of, EDIT, ALL, 1) + _shares(of, EDIT, ALL, -1)
    met = bool(np.min(found) >= LEAST and np.median(random) <= MOST_RANDOM)
    return Row(
        f"{cell}: one bracket more, one less, {how}: answers that should change and do",
        "",
        f"{spread(found[0])}, {spread(found[1])}; random directions {spread(random)}; random and unread "
        f"{spread(unread)}; strings with every answer right {spread(every)}; of one bracket the probe later reads "
        f"{moved:.2f}",
        f"≥ {LEAST:.2f}, random ≤ {MOST_RANDOM:.2f}" if has_bar else "",
        met if has_bar else None,
    )


def _shares(table: pd.DataFrame, variant: str, judged: str, by: int) -> list[float]:
    """The mean over all edited strings, whatever their depth: one number a subject and draw."""
    wanted = (table["measure"] == METRIC) & (table["variant"] == variant)
    wanted &= (table["judged"] == judged) & (table["by"] == by)
    chosen = table[wanted].assign(total=lambda t: t["value"] * t["sequences"])
    sums = chosen.groupby(["subject", "draw"], dropna=False)[["total", "sequences"]].sum()
    return (sums["total"] / sums["sequences"]).tolist()
