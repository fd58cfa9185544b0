"""How much variance each architecture explains at how many active latents, on the MLP of a language model."""

from typing import Any

import numpy as np
import pandas as pd

from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.reproductions.python_source import HOOK, PythonSource, python_source
from workbench.sae import SAEConfig, SAETrainConfig, compare_dictionaries, control_dictionaries
from workbench.sae.registry import ARCHITECTURES, architecture_class

TITLE = "The frontier of sparsity and explained variance"
PAPER = (
    "Gao et al. 2024, arXiv 2406.04093; Rajamanoharan et al. 2024, arXiv 2407.14435; "
    "Bussmann et al. 2024, arXiv 2412.06410; 2025, arXiv 2503.17547"
)

BETTER_THAN_L1 = ("topk", "batchtopk", "jumprelu")
D_SAE, N_ROWS, L0S = 1024, 300_000, (8, 24)
FULL_D_SAE, FULL_N_ROWS, FULL_L0S = 2048, 1_000_000, (6, 12, 24)
# Those whose sparsity is steered need steps for it.
BATCH = 1024
# Pre-activations of scaled rows are of the order of √(d/L0): few come within the usual bandwidth of a threshold.
OWN_SETTINGS: dict[str, dict[str, Any]] = {"jumprelu": {"bandwidth": 2.0, "lr": 0.01}}
CONTROLS = ("random", "PCA", "neurons")
N_COMPARED = 20


def reproduce(bench: Bench) -> list[Row]:
    """Train every architecture at every sparsity on one reading of the rows, and compare them where L0 is equal."""
    source = python_source(bench)
    l0s = FULL_L0S if bench.full else L0S
    measured = [_measured(bench, source, l0s, seed) for seed in range(3 if bench.full else 1)]
    found = pd.concat(measured, ignore_index=True)
    bench.table("frontier", found)
    return rows_of(found, l0s)


def wanted(d_in: int, d_sae: int, architecture: str, l0: float, seed: int, n_rows: int) -> Wanted:
    """A dictionary of one architecture with so many active latents, of a fixed number or steered there."""
    shape: dict[str, Any] = {"d_in": d_in, "d_sae": d_sae, "seed": seed, "architecture": architecture}
    shape |= {"hook_name": HOOK}
    how: dict[str, Any] = {"n_tokens": n_rows, "batch_size": BATCH} | OWN_SETTINGS.get(architecture, {})
    if architecture_class(architecture).sparsity is None:
        return Wanted(SAEConfig(k=round(l0), **shape), SAETrainConfig(**how))
    return Wanted(SAEConfig(**shape), SAETrainConfig(target_l0=l0, **how))


def _measured(bench: Bench, source: PythonSource, l0s: tuple[int, ...], seed: int) -> pd.DataFrame:
    d_sae, n_rows = (FULL_D_SAE, FULL_N_ROWS) if bench.full else (D_SAE, N_ROWS)
    d_in = source.store.width(HOOK)
    names = {f"{name}-l0-{l0}-seed-{seed}": (name, l0) for name in ARCHITECTURES for l0 in l0s}
    chosen = {name: wanted(d_in, d_sae, *which, seed, n_rows) for name, which in names.items()}
    inputs, rows = source.inputs(bench), {"split": "train", "seed": seed}
    compared = dictionaries(bench, chosen, source.training(seed), inputs=inputs, rows=rows)
    about = {name: {"architecture": a, "l0_asked": l0} for name, (a, l0) in names.items()}
    for l0 in l0s:
        of_topk = compared[f"topk-l0-{l0}-seed-{seed}"]
        for name, control in control_dictionaries(of_topk, lambda: source.once("train")).items():
            compared[f"{name}-l0-{l0}"] = control
            about[f"{name}-l0-{l0}"] = {"architecture": name, "l0_asked": l0}
    found = compare_dictionaries(compared, lambda: source.once("test"), source.model, source.documents)
    return pd.concat([pd.DataFrame([about[n] | {"seed": seed} for n in found["dictionary"]]), found], axis=1)


def gains(found: pd.DataFrame, ours: str, theirs: str, column: str) -> list[float]:
    """What one architecture has over another in a column where both are equally sparse, seed by seed.

    Each one's dictionaries are joined by straight lines in log L0, since held-out rows have not quite the L0 that was
    asked for; the difference is a mean over the L0s that both reach, and NaN where there are none.
    """
    by_seed = []
    for _, rows in found.groupby("seed"):
        pair = [rows[rows["architecture"] == name].sort_values("l0") for name in (ours, theirs)]
        low, high = max(part["l0"].min() for part in pair), min(part["l0"].max() for part in pair)
        at = np.linspace(np.log(low), np.log(high), N_COMPARED)
        a, b = (np.interp(at, np.log(part["l0"].to_numpy(float)), part[column].to_numpy(float)) for part in pair)
        by_seed.append(float(np.mean(a - b)) if low < high else float("nan"))
    return by_seed


def rows_of(found: pd.DataFrame, l0s: tuple[int, ...]) -> list[Row]:
    """The table: each architecture and control at each sparsity, and who is above whom at equal L0."""

    def of(name: str, l0: int, column: str, digits: int = 3) -> str:
        chosen = found[(found["architecture"] == name) & (found["l0_asked"] == l0)]
        return spread(chosen[column].tolist(), digits)

    n = found["seed"].nunique()
    rows = [
        Row(
            f"{name}, L0 {l0}: variance explained, loss recovered (zero, mean); {n} seed(s)",
            "",
            f"{of(name, l0, 'explained_variance')}; {of(name, l0, 'loss_recovered_zero')}, "
            f"{of(name, l0, 'loss_recovered_mean')}; held out L0 {of(name, l0, 'l0', 1)}, "
            f"dead {of(name, l0, 'dead_fraction')}",
        )
        for name in (*ARCHITECTURES, *CONTROLS)
        for l0 in l0s
    ]
    for name in BETTER_THAN_L1:
        over = gains(found, name, "standard", "explained_variance")
        rows.append(
            Row(
                f"{name}: variance explained above L1's at equal L0",
                "at least L1's",
                spread(over) if np.isfinite(over).all() else "never equally sparse",
                "≥ 0 in every seed",
                all(gain >= 0 for gain in over),
            )
        )
    worse = gains(found, "matryoshka_batchtopk", "batchtopk", "mse")
    rows.append(
        Row(
            "matryoshka_batchtopk: squared error above BatchTopK's at equal L0",
            "above it",
            spread(worse),
            "> 0 in every seed",
            all(more > 0 for more in worse),
        )
    )
    return rows
