"""Toy models of superposition: sparse features share dimensions, in regular arrangements."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from models import recipes
from models.recipes import Recipe
from models.tasks.sparse_features import SparseFeatures
from workbench.reproductions import superposition_measures as measures
from workbench.reproductions.base import Bench, Row, spread
from workbench.runs import Run

TITLE = "Sparse features in superposition"
PAPER = "Elhage et al. 2022, Toy models of superposition, arXiv 2209.10652"

SIZE, FULL_SIZE = (100, 10), (400, 30)  # features and dimensions; the second is the paper's
# As in the paper, evenly apart in the logarithm of the density 1 − S.
DENSITIES = [20 ** (-i / 19) for i in range(20)]
PLATEAU = 0.05  # how far from ½ is on it
PENTAGON = 72.0
PENTAGON_DENSITY = 0.06
MAP_DENSITIES, MAP_IMPORTANCES = (0.9, 0.7, 0.5, 0.3, 0.15, 0.05), (0.1, 0.2, 0.35, 0.6, 0.8, 1.0)


def reproduce(bench: Bench) -> list[Row]:
    """Plateaus of dimensions per feature, the pentagon, and which of two features one dimension keeps."""
    n, m = FULL_SIZE if bench.full else SIZE
    wanted = {f"sparsity-{i:02}": subject(n, m, density) for i, density in enumerate(DENSITIES)}
    wanted |= {f"linear-{i:02}": subject(n, m, DENSITIES[i], linear=True) for i in (0, 9, 19)}
    wanted |= {f"pentagon-{s}": subject(5, 2, PENTAGON_DENSITY, seed=s) for s in range(5 if bench.full else 1)}
    step = 1 if bench.full else 2
    grid = product(enumerate(MAP_DENSITIES[::step]), enumerate(MAP_IMPORTANCES[::step]))
    wanted |= {f"two-features-{i}-{j}": subject(2, 1, density, importance) for (i, density), (j, importance) in grid}
    runs = bench.subjects(wanted)
    table = pd.DataFrame([_describe(name, wanted[name], run) for name, run in runs.items()])
    bench.table("subjects", table)
    phases = phase_map(runs)
    bench.table("phase_map", phases)
    return [*_plateau_rows(table), *_pentagon_rows(runs), *_phase_rows(phases)]


def subject(
    n_features: int, d_model: int, density: float, importance: float = 1.0, seed: int = 0, linear: bool = False
) -> Recipe:
    """The recipe of a toy model of so many features in so many dimensions; feature i weighs importanceⁱ."""
    recipe = recipes.get("superposition")
    shape = {"n_features": n_features, "n_labelled": min(n_features, 5)}
    return replace(
        recipe.with_changes(seed=seed),
        model={"d_model": d_model, "importance_decay": importance, "linear": linear},
        task=SparseFeatures(sparsity=1 - density, **shape),
    )


def phase_map(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What became of two features in one dimension, beside the optimum.

    Returns:
        A row a subject: `density`, `importance` of the second feature, `phase` (`superposed`, or `ignored` where
        one of the two is), `best_phase`, and the expected `loss` and `best_loss`. By symmetry it is also the map of
        importances above 1: the feature that is not ignored is the one that has the dimension to itself.
    """
    rows = []
    for name, run in runs.items():
        if not name.startswith("two-features"):
            continue
        model, task = run.model(), run.find("model").manifest.config["task"]
        density, importance = 1 - task["sparsity"], model.cfg.importance_decay
        w, b = model.W[0].detach().double().numpy(), model.b.detach().double().numpy()
        both = bool((model.feature_norms() >= measures.REPRESENTED).all())
        best = measures.optimum(density, importance)
        rows.append(
            {
                "subject": name,
                "density": density,
                "importance": importance,
                "phase": "superposed" if both else "ignored",
                "best_phase": "superposed" if best.superposed else "ignored",
                "loss": measures.expected_loss(w, b, density, importance),
                "best_loss": best.loss,
            }
        )
    return pd.DataFrame(rows)


def _describe(name: str, recipe: Recipe, run: Run) -> dict[str, Any]:
    assert isinstance(recipe.task, SparseFeatures)
    trained, untrained = run.model(), run.model(0)
    return {
        "subject": name,
        "n_features": recipe.task.n_features,
        "d_model": trained.cfg.d_model,
        "density": 1 - recipe.task.sparsity,
        "dimensions_per_feature": float(trained.dimensions_per_feature()),
        "untrained": float(untrained.dimensions_per_feature()),
        "represented": int((trained.feature_norms() >= measures.REPRESENTED).sum()),
        "in_pairs": measures.in_pairs(trained.W.detach()),
        "untrained_in_pairs": measures.in_pairs(untrained.W.detach()),
    }


def _plateau_rows(table: pd.DataFrame) -> list[Row]:
    relu = table[table["subject"].str.startswith("sparsity")]
    linear = table[table["subject"].str.startswith("linear")]
    near_half = (relu["dimensions_per_feature"] - 0.5).abs() <= PLATEAU
    dense = float(relu["dimensions_per_feature"].iloc[0])
    size = f"{relu['n_features'].iloc[0]} features, {relu['d_model'].iloc[0]} dimensions"
    there = relu[near_half]
    return [
        Row(
            f"D* = m/‖W‖² of dense features; {size}",
            "1",
            f"{dense:.3f}; untrained {relu['untrained'].iloc[0]:.3f}",
            "|D* − 1| < 0.1",
            abs(dense - 1) < 0.1,
        ),
        Row(
            f"share of 20 sparsities with D* within {PLATEAU} of ½; {size}",
            "a plateau",
            f"{near_half.mean():.2f}; without the ReLU D* is "
            f"{spread(linear['dimensions_per_feature'].tolist(), 2)} at every sparsity",
            "≥ 0.3",
            bool(near_half.mean() >= 0.3),
        ),
        # A Glorot-normal W has D* = (n + m) / 2n, near ½, before it has learnt anything: what tells is the pairs.
        Row(
            "there: share of represented features in antipodal pairs",
            "all",
            f"{spread(there['in_pairs'].tolist(), 2) if len(there) else 'none there'}; "
            f"untrained, with D* {relu['untrained'].median():.2f}, {relu['untrained_in_pairs'].fillna(0).median():.2f}",
        ),
    ]


def _pentagon_rows(runs: Mapping[str, Run]) -> list[Row]:
    worst = {
        step: [
            float((measures.angles_between(run.model(step).W.detach()) - PENTAGON).abs().max())
            for name, run in runs.items()
            if name.startswith("pentagon")
        ]
        for step in (0, None)
    }
    hits = sum(angle <= 5 for angle in worst[None])
    return [
        Row(
            f"five features in two dimensions: largest distance of an angle from 72°; {len(worst[None])} seed(s)",
            "a pentagon",
            f"{spread(worst[None], 1)}°, {hits} within 5°; untrained {spread(worst[0], 1)}°",
            "within 5° in at least 4 of 5 seeds",
            hits >= 0.8 * len(worst[None]),
        )
    ]


def _phase_rows(phases: pd.DataFrame) -> list[Row]:
    same = phases["phase"] == phases["best_phase"]
    excess = (phases["loss"] / phases["best_loss"] - 1).tolist()
    return [
        Row(
            f"two features in one dimension: phase of the optimum found, of {len(phases)} densities and importances",
            "as the theory says",
            f"{same.mean():.2f}; superposed at {(phases['best_phase'] == 'superposed').sum()}, the others ignore one",
        ),
        Row("the same: loss above the optimum's, as a share of it", "near 0", spread(excess)),
    ]
