"""Features whose directions are known: does each architecture find them, and does it let one absorb another?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.tasks.planted_features import PlantedFeatures
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.sae import SAE, Moments, SAEConfig, SAETrainConfig, evaluate_sae, pca_dictionary, random_dictionary
from workbench.sae.metrics import absorption, ground_truth
from workbench.sae.registry import ARCHITECTURES, architecture_class

TITLE = "Planted features are found, by every architecture"
PAPER = (
    "Sharkey et al. 2022, Taking features out of superposition with sparse autoencoders; "
    "Chanin et al. 2024, arXiv 2409.14507; Bussmann et al. 2025, arXiv 2503.17547"
)

INDEPENDENT = PlantedFeatures(n_features=128, d_in=64)
HIERARCHICAL = PlantedFeatures(
    n_features=256, d_in=96, n_active=6, zipf=0.5, group_size=8, correlation=0.3, n_children=96, noise=0.02
)
# What a latent costs under L1 keeps it from firing as often as its feature does, unless it fires elsewhere too.
L0_FACTOR = {"standard": 5 / 4, "gated": 9 / 8}
BATCH = 1024
LR, LR_WITH_CHILDREN = 0.03, 0.02
N_ROWS, FULL_N_ROWS = 400_000, 500_000
N_HELD_OUT = 50_000
SEED_OF_ROWS, SEED_OF_HELD_OUT = 1000, 2000
BAR = 0.9


@dataclass(frozen=True)
class PlantedRows:
    """Batches of fresh draws without end, the same ones each time."""

    task: PlantedFeatures
    seed: int
    size: int = BATCH

    def __iter__(self) -> Iterator[Float[Tensor, "_ d"]]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield draw(self.task, self.size, rng)[0]


def reproduce(bench: Bench) -> list[Row]:
    """Train every architecture on both kinds of features, and mark each dictionary against the truth."""
    tables = []
    for seed in range(5 if bench.full else 1):
        for kind, task in (("independent", INDEPENDENT), ("hierarchical", HIERARCHICAL)):
            tables.append(_measured(bench, kind, replace(task, seed=seed), seed))
    found = pd.concat(tables, ignore_index=True)
    bench.table("ground_truth", found)
    return [
        *_found_rows(found[found["features"] == "independent"]),
        *_hierarchy_rows(found[found["features"] == "hierarchical"]),
    ]


def draw(
    task: PlantedFeatures, n: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n feature"]]:
    """Rows and their true codes."""
    drawn = task.draw(n, rng)
    assert drawn.targets is not None  # the codes
    return torch.from_numpy(drawn.tokens[:, 0]), torch.from_numpy(drawn.targets[:, 0])


def wanted(task: PlantedFeatures, architecture: str, seed: int, n_rows: int) -> Wanted:
    """As many latents as features, and as many of them active."""
    l0 = task.n_active * L0_FACTOR.get(architecture, 1)
    shape: dict[str, Any] = {"d_in": task.d_in, "d_sae": task.n_features, "seed": seed, "architecture": architecture}
    how: dict[str, Any] = {"n_tokens": n_rows, "batch_size": BATCH, "lr": LR_WITH_CHILDREN if task.n_children else LR}
    if architecture_class(architecture).sparsity is None:
        return Wanted(SAEConfig(k=round(task.n_active), **shape), SAETrainConfig(**how))
    return Wanted(SAEConfig(**shape), SAETrainConfig(target_l0=l0, **how))


def marked(sae: SAE, task: PlantedFeatures, x: Float[Tensor, "n d"], codes: Float[Tensor, "n _"]) -> dict[str, float]:
    """Everything that is reported of one dictionary; absorption where there are children."""
    directions = torch.from_numpy(task.dictionary)
    found = evaluate_sae(sae, [x]) | ground_truth(sae, directions, lambda: [(x, codes)])
    if task.n_children:
        found |= absorption(sae, directions, task.parents, lambda: [(x, codes)])
    return found


def _measured(bench: Bench, kind: str, task: PlantedFeatures, seed: int) -> pd.DataFrame:
    n_rows = FULL_N_ROWS if bench.full else N_ROWS
    names = {f"{kind}-{architecture}-seed-{seed}": architecture for architecture in ARCHITECTURES}
    rows = PlantedRows(task, SEED_OF_ROWS + seed)
    trained = dictionaries(
        bench,
        {name: wanted(task, architecture, seed, n_rows) for name, architecture in names.items()},
        rows,
        rows={"task": task.to_dict(), "seed": rows.seed},
    )
    x, codes = draw(task, N_HELD_OUT, np.random.default_rng(SEED_OF_HELD_OUT + seed))
    compared = {names[name]: sae for name, sae in trained.items()}
    moments = Moments.of([x])
    cfg = trained[f"{kind}-topk-seed-{seed}"].cfg
    compared |= {"random": random_dictionary(cfg, moments, [x]), "PCA": pca_dictionary(cfg, moments)}
    about = {"features": kind, "seed": seed}
    return pd.DataFrame([about | {"dictionary": name} | marked(sae, task, x, codes) for name, sae in compared.items()])


def _found_rows(found: pd.DataFrame) -> list[Row]:
    def of(name: str, column: str) -> list[float]:
        return found.loc[found["dictionary"] == name, column].tolist()

    def beside(column: str) -> str:
        return f"random {spread(of('random', column))}, PCA {spread(of('PCA', column))}"

    rows = []
    n = found["seed"].nunique()
    for name in ARCHITECTURES:
        for column, what in (
            ("mmcs_of_true", "MMCS of true features"),
            ("mmcs_of_found", "MMCS of found features"),
            ("mcc", "MCC"),
        ):
            values = of(name, column)
            extra = f"; coverage {spread(of(name, 'mcc_coverage'))}" if column == "mcc" else ""
            rows.append(
                Row(
                    f"{name}: {what}; 128 in 64 dimensions, {n} seed(s)",
                    "qualitative",
                    f"{spread(values)}{extra}; {beside(column)}",
                    f"≥ {BAR} in every seed",
                    min(values) >= BAR,
                )
            )
    return rows


def _hierarchy_rows(found: pd.DataFrame) -> list[Row]:
    def of(name: str, column: str) -> list[float]:
        return found.loc[found["dictionary"] == name, column].tolist()

    rows = [
        Row(
            f"{name}: MCC, F1, absorption; frequent, rare and correlated features with children",
            "",
            f"{spread(of(name, 'mcc'))}, {spread(of(name, 'feature_f1'))}, {spread(of(name, 'absorption'))}; "
            f"L0 {spread(of(name, 'l0'), 1)}, variance explained {spread(of(name, 'explained_variance'))}",
        )
        for name in (*ARCHITECTURES, "random", "PCA")
    ]
    less = np.subtract(of("batchtopk", "absorption"), of("matryoshka_batchtopk", "absorption")).tolist()
    worse = np.subtract(of("matryoshka_batchtopk", "mse"), of("batchtopk", "mse")).tolist()
    return [
        *rows,
        Row(
            "absorption: BatchTopK's less Matryoshka's",
            "Matryoshka absorbs less",
            spread(less),
            "> 0 in every seed",
            all(part > 0 for part in less),
        ),
        Row(
            "squared error: Matryoshka's less BatchTopK's",
            "Matryoshka rebuilds worse",
            spread(worse),
            "> 0 in every seed",
            all(part > 0 for part in worse),
        ),
    ]
