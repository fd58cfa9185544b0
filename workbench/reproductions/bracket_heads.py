"""Bracket-matching heads in a subject that reads Python source, against exact labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import Batch
from workbench.attention import head_importance, head_scores
from workbench.attention.brackets import NOWHERE, bracket_places
from workbench.attention.label_grids import LabelGrids
from workbench.figures.head_scores import head_scores as head_scores_figure
from workbench.interventions.ablation import ABLATED
from workbench.interventions.stand_ins import Ablation
from workbench.reproductions.base import Bench, Row
from workbench.reproductions.python_source import PythonSource, python_source

TITLE = "A head that looks for the bracket to be closed"
PAPER = (
    "After Vig & Belinkov 2019 (arXiv 1906.04284) and Clark et al. 2019 (arXiv 1906.04341), who hold heads against "
    "syntax; Dyck subjects: Ebrahimi et al. 2020 (arXiv 2010.04303)"
)

ABLATIONS: tuple[Ablation, ...] = ("mean", "resample")
JUDGED = "mean"
# Where a query that is about to say a closing bracket may look.
OPENER, NESTED, CLOSED, DISTANCE = "opener", "opener, another since", "that other", "same distance"
CLOSERS, OTHERS = "closing brackets", "other tokens"
LEAST, TIMES_UNTRAINED, TIMES_DISTANCE = 0.3, 5.0, 3.0
# Set when the rise of the loss by a random direction had been seen, of one seed.
TIMES_RANDOM = 2.0


def reproduce(bench: Bench) -> list[Row]:
    """Choose the head in training documents; score it, and take every head away, in held-out ones."""
    source = python_source(bench)
    n = 1200 if bench.full else 300
    model, untrained = source.run.model(), source.run.model(step=0)
    chosen_in, measured_in = (sequences(source, split, n) for split in ("train", "test"))
    bench.tell(f"heads on {len(measured_in)} held-out sequences")
    detections = {name: looking_for(name) for name in (OPENER, NESTED, CLOSED, DISTANCE)}
    scored = {
        split: head_scores(model, data, patterns=detections, random_repeats=False, untrained=untrained)
        for split, data in (("train", chosen_in), ("test", measured_in))
    }
    in_training = scored["train"][scored["train"]["score"] == OPENER]
    best = in_training.loc[in_training["value"].idxmax()]
    head = (int(best["layer"]), int(best["head"]))
    bench.tell("ablating every head")
    asked = closing(measured_in)
    others = measured_in.mask & F.pad(measured_in.mask[:, 1:], (0, 1)) & ~asked
    lost = pd.concat(
        [
            head_importance(model, measured_in, LossAt(where), ablation=ablation).assign(loss=name)
            for name, where in ((CLOSERS, asked), (OTHERS, others))
            for ablation in ABLATIONS
        ],
        ignore_index=True,
    )
    scores = pd.concat([table.assign(split=split) for split, table in scored.items()], ignore_index=True)
    figure = head_scores_figure(scored["test"], OPENER, chosen=f"{head[0]}.{head[1]}")
    bench.table("head_scores", scores, figure)
    bench.table("ablations", lost, ablation=list(ABLATIONS))
    return rows_of(scored["test"], lost, head)


def sequences(source: PythonSource, split: str, n: int, seed: int = 0) -> Dataset:
    """Some sequences of a split in which a bracket is closed that was opened there."""
    data = source.run.dataset()
    of_split = data.sequences(split).numpy()
    drawn = data.select(np.random.default_rng(seed).permutation(of_split)[: 3 * n])
    return drawn.select(closing(drawn).any(1).nonzero()[:n, 0])


def closing(data: Dataset) -> Bool[Tensor, "seq pos"]:
    """The positions before a closing bracket whose opening one is in the sequence, but not BOS."""
    matched, _ = bracket_places(LabelGrids(data))
    return torch.from_numpy(_opener_of_next(matched) != NOWHERE)


def looking_for(name: str) -> Any:
    """A detection for queries that are about to say a closing bracket, of which nothing but the bracket is known.

    `opener`: the bracket that is closed next. `opener, another since`: the same where another bracket has been opened
    since, and closed; `that other`: the latest such bracket, of the same queries. `same distance`: as far back as the
    opener, but from another position of the sequence, drawn at random, and not an opening bracket.
    """

    def keys(tokens: Int[Tensor, "batch pos"], labels: Mapping[str, Any]) -> Bool[Tensor, "batch pos pos"]:
        matched, _ = bracket_places(labels)
        opener, is_opening = _opener_of_next(matched), np.isin(labels["bracket"], ("(", "[", "{"))
        place = np.arange(tokens.shape[1])
        latest = np.maximum.accumulate(np.where(is_opening, place, NOWHERE), axis=1)
        nested = (opener != NOWHERE) & (latest != opener)
        queries, targets = {
            OPENER: lambda: (opener != NOWHERE, opener),
            NESTED: lambda: (nested, opener),
            CLOSED: lambda: (nested, latest),
            DISTANCE: lambda: _elsewhere(opener, is_opening, np.isnan(labels["bracket_depth"])),
        }[name]()
        found = torch.zeros(*tokens.shape, tokens.shape[1], dtype=torch.bool)
        seq, query = np.nonzero(queries)
        found[seq, query, targets[seq, query]] = True
        return found

    return keys


def _opener_of_next(matched: Int[np.ndarray, "seq pos"]) -> Int[np.ndarray, "seq pos"]:
    """For each position the bracket that the next token closes; nowhere for BOS, which is no query."""
    opener = np.full(matched.shape, NOWHERE)
    opener[:, 1:-1] = matched[:, 2:]
    return opener


def _elsewhere(
    opener: Int[np.ndarray, "seq pos"], is_opening: Bool[np.ndarray, "seq pos"], unreal: Bool[np.ndarray, "seq pos"]
) -> tuple[Bool[np.ndarray, "seq pos"], Int[np.ndarray, "seq pos"]]:
    """Other queries, each as far from its target as one of those asked is from its opener."""
    rng = np.random.default_rng(0)
    targets = np.full(opener.shape, NOWHERE)
    for seq, query in zip(*np.nonzero(opener != NOWHERE), strict=True):
        back = query - opener[seq, query]
        able = np.flatnonzero(~unreal[seq] & (targets[seq] == NOWHERE) & (opener[seq] == NOWHERE))
        able = able[able - back >= 1]
        able = able[~is_opening[seq, able - back]]
        if len(able):
            drawn = rng.choice(able)
            targets[seq, drawn] = drawn - back
    return targets != NOWHERE, targets


@dataclass(frozen=True)
class LossAt:
    """The mean cross-entropy, in nats, of the tokens that follow some positions of each sequence."""

    where: Bool[Tensor, "seq pos"]

    def __call__(self, output: Float[Tensor, "batch pos d_vocab"], batch: Batch) -> Float[Tensor, " batch"]:
        where = self.where[batch["seq"].cpu()].to(output.device)
        following = F.pad(batch["input"][:, 1:], (0, 1)).to(output.device)
        loss = F.cross_entropy(output.mT, following, reduction="none")
        return (loss * where).sum(1) / where.sum(1)


def rows_of(scores: pd.DataFrame, lost: pd.DataFrame, head: tuple[int, int]) -> list[Row]:
    """The reproduction's lines, of held-out sequences and the head that was chosen in others."""
    own = scores[(scores["layer"] == head[0]) & (scores["head"] == head[1])].set_index("score")
    highest = scores[scores["score"] == OPENER]["control_high"].max()
    named = f"head {head[0]}.{head[1]}"
    to = own["value"]
    n = own["positions"]
    judged = lost[(lost["ablation"] == JUDGED) & (lost["loss"] == CLOSERS)]
    at_closers, turned = (judged[(judged["variant"] == ABLATED) == ablated] for ablated in (True, False))
    is_own = (at_closers["layer"] == head[0]) & (at_closers["head"] == head[1])
    random = float(turned.loc[(turned["layer"] == head[0]) & (turned["head"] == head[1]), "effect"].abs().max())
    effect, low = (float(at_closers.loc[is_own, column].iloc[0]) for column in ("effect", "effect_low"))
    another = float(at_closers.loc[~is_own, "effect"].max())
    rows = [
        Row(
            f"{named}: attention to the bracket that is closed next; {n[OPENER]} closing brackets",
            "",
            f"{to[OPENER]:.3f}; highest untrained head {highest:.3f}",
            f"≥ {LEAST}, and {TIMES_UNTRAINED:g} × untrained",
            bool(to[OPENER] >= max(LEAST, TIMES_UNTRAINED * highest)),
        ),
        Row(
            "as far back from other positions",
            "",
            f"{to[DISTANCE]:.3f}",
            f"≤ 1/{TIMES_DISTANCE:g} of that",
            bool(to[DISTANCE] * TIMES_DISTANCE <= to[OPENER]),
        ),
        Row(
            f"where another bracket was opened and closed since ({n[NESTED]}): to the right one, to the other",
            "",
            f"{to[NESTED]:.3f}, {to[CLOSED]:.3f}",
            "more to the right one",
            bool(to[NESTED] > to[CLOSED]),
        ),
        Row(
            f"loss at closing brackets without it, nats more ({JUDGED} ablation)",
            "",
            f"{effect:.3f} (from {low:.3f}); without another head at most {another:.3f}; as far in a random direction "
            f"{random:.3f}",
            f"more than without any other, and {TIMES_RANDOM:g} × the random direction",
            bool(low > another and low >= TIMES_RANDOM * random),
        ),
    ]
    for ablation in ABLATIONS:
        of = lost[(lost["ablation"] == ablation) & (lost["layer"] == head[0]) & (lost["head"] == head[1])]
        shown = ", ".join(
            f"{loss}: {values.loc[values['variant'] == ABLATED, 'effect'].mean():.3f} (a random direction "
            f"{values.loc[values['variant'] != ABLATED, 'effect'].mean():.3f})"
            for loss, values in of.groupby("loss", sort=False)
        )
        rows.append(Row(f"loss without {named}, nats more, {ablation} ablation", "", shown))
    return rows
