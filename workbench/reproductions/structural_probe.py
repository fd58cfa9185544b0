"""Trees that are known to be there: does the structural probe find them, and nothing where there are none?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import spearmanr

from probes import StructuralProbe
from probes.base import as_numpy
from probes.structural import LENGTHS, distance_spearman, uuas
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.planted_trees import SHAPES, PlantedTrees, Tree

TITLE = "Planted trees are found by the structural probe"
PAPER = "Hewitt & Manning 2019, A structural probe for finding syntax in word representations, NAACL"

TASK = PlantedTrees()
N_FIT, FULL_N_FIT = 800, 2000
N_HELD_OUT, FULL_N_HELD_OUT = 300, 1000
TRAINED: dict[str, Any] = {"max_epochs": 30}
NOT_TRAINED: dict[str, Any] = {"max_epochs": 1, "lr": 1e-12}  # one round of steps that move no weight
SEED_OF_MAP, SEED_OF_TREES, SEED_OF_CONTROLS = 0, 1000, 2000
UUAS_BAR, BAR = 0.95, 0.9
PROBE, SHUFFLED, RANDOM, UNTRAINED, CHAIN = (
    "probe",
    "shuffled words",
    "random projection",
    "untrained probe",
    "linear chain",
)
CONTROLS = (SHUFFLED, RANDOM, UNTRAINED, CHAIN)
# What a probe or a control says of each sentence: distances, and depths.
Said = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]


def reproduce(bench: Bench) -> list[Row]:
    """Fit both kinds of probe to planted trees and mark them, and every control, on other trees."""
    tables = []
    for seed in range(5 if bench.full else 1):
        bench.tell(f"fitting probes to the trees of seed {seed}")
        rng = np.random.default_rng(SEED_OF_TREES + seed)
        task = replace(TASK, seed=SEED_OF_MAP + seed)
        fit = task.draw(FULL_N_FIT if bench.full else N_FIT, rng)
        held_out = task.draw(FULL_N_HELD_OUT if bench.full else N_HELD_OUT, rng)
        said = said_of(fit, held_out, task.k, seed)
        tables.append(pd.DataFrame([{"by": by, "seed": seed} | marks(held_out, *said[by]) for by in said]))
    found = pd.concat(tables, ignore_index=True)
    bench.table("trees", found)
    return rows_of(found)


def said_of(fit: list[Tree], held_out: list[Tree], k: int, seed: int) -> dict[str, Said]:
    """What the probe, and every control, says of the held-out sentences."""
    rng = np.random.default_rng(SEED_OF_CONTROLS + seed)
    words, others = [tree.words for tree in held_out], [rng.permutation(tree.words) for tree in fit]
    projection = rng.normal(size=(words[0].shape[1], k)).astype(np.float32)
    projected = [x @ projection for x in words]
    return {
        PROBE: _fitted([tree.words for tree in fit], fit, words, k, seed, **TRAINED),
        SHUFFLED: _fitted(others, fit, words, k, seed, **TRAINED),
        RANDOM: ([squared_distances(x) for x in projected], [(x**2).sum(1) for x in projected]),
        UNTRAINED: _fitted([tree.words for tree in fit], fit, words, k, seed, **NOT_TRAINED),
        CHAIN: ([chain(len(x)) for x in words], [np.arange(len(x)) for x in words]),
    }


def _fitted(
    words: list[np.ndarray], trees: list[Tree], held_out: list[np.ndarray], k: int, seed: int, **how: Any
) -> Said:
    truths = {"distance": [tree.distances for tree in trees], "depth": [tree.depths for tree in trees]}
    probes = (
        StructuralProbe(k, kind=kind, random_state=seed, **how).fit(words, truth) for kind, truth in truths.items()
    )
    distances, depths = ([as_numpy(said) for said in probe.predict(held_out)] for probe in probes)
    return distances, depths


def squared_distances(x: Float[np.ndarray, "word d"]) -> Float[np.ndarray, "word word"]:
    """Between each two words."""
    return ((x[:, None] - x[None, :]) ** 2).sum(-1)


def chain(n: int) -> Int[np.ndarray, "{n} {n}"]:
    """Distances in the tree that joins each word to the next."""
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def marks(trees: list[Tree], distances: Sequence[np.ndarray], depths: Sequence[np.ndarray]) -> dict[str, float]:
    """Against the true trees: `uuas` of all and of each shape, correlations and the share of roots that are found."""
    true, shapes = [tree.distances for tree in trees], np.array([tree.shape for tree in trees])
    found = {"uuas": uuas(distances, true), "distance_spearman": distance_spearman(distances, true)}
    for shape in SHAPES:
        these = np.flatnonzero(shapes == shape).tolist()
        found[f"uuas_{shape}"] = uuas([distances[i] for i in these], [true[i] for i in these])
    roots = [said.argmin() == tree.depths.argmin() for said, tree in zip(depths, trees, strict=True)]
    return found | {
        "root_accuracy": float(np.mean(roots)),
        "depth_spearman": depth_spearman(depths, [tree.depths for tree in trees]),
    }


def depth_spearman(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> float:
    """Spearman's correlation of depths: the mean over sentences of a length, then over lengths 5–50."""
    by_length: dict[int, list[float]] = {}
    for said, truth in zip(predicted, true, strict=True):
        if len(truth) in LENGTHS:
            by_length.setdefault(len(truth), []).append(spearmanr(said, truth).statistic)
    return float(np.mean([np.mean(found) for found in by_length.values()]))


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The table: each mark of the probe beside every control's."""

    def of(by: str, column: str) -> list[float]:
        return found.loc[found["by"] == by, column].tolist()

    def row(what: str, published: str, column: str, bar: float | None) -> Row:
        ours = of(PROBE, column)
        beside = ", ".join(f"{by} {spread(of(by, column))}" for by in CONTROLS)
        found = f"{spread(ours)}; {beside}"
        return Row(
            what, published, found, *(() if bar is None else (f"≥ {bar} in every seed", bool(np.min(ours) >= bar)))
        )

    size = f"{found['seed'].nunique()} seed(s), {TASK.least_words} to {TASK.most_words} words"
    return [
        row(
            f"UUAS, held-out trees; {size}, {TASK.k} of {2 * TASK.k} dimensions", "0.825, BERT-large", "uuas", UUAS_BAR
        ),
        *(row(f"UUAS of {shape} trees", "", f"uuas_{shape}", None) for shape in SHAPES),
        row(f"distance Spearman, lengths {LENGTHS[0]} to {LENGTHS[-1]}", "", "distance_spearman", BAR),
        row("root accuracy", "", "root_accuracy", BAR),
        row(f"depth Spearman, lengths {LENGTHS[0]} to {LENGTHS[-1]}", "", "depth_spearman", BAR),
    ]
