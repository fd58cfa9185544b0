"""What a dictionary leaves over, and how much of it a linear map of its input tells."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.reproductions.python_source import BATCH, HOOK, PythonSource, python_source
from workbench.sae import SAE, SAEConfig, SAETrainConfig, control_dictionaries, evaluate_sae
from workbench.sae.metrics import dark_matter
from workbench.sae.metrics.dark_matter import JointMoments, residual_squares

TITLE = "Most of the dark matter's length, and much of its direction, is linear in the input"
PAPER = "Engels et al. 2024, Decomposing the dark matter of sparse autoencoders, arXiv 2410.14670"

K, D_SAE = 12, 2048
N_ROWS, FULL_N_ROWS = 800_000, 2_000_000


def reproduce(bench: Bench) -> list[Row]:
    """The predictable part of a dictionary's error and of its controls', and of errors whose answer is known."""
    source = python_source(bench)
    halves = halves_by_document(source)
    lines = []
    for seed in range(3 if bench.full else 1):
        for name, sae in _compared(bench, source, seed).items():
            fit, held_out = (source.in_order(rows) for rows in halves)
            about = {"dictionary": name, "seed": seed} | dark_matter(sae, fit, held_out)
            lines.append(about | {"explained_variance": evaluate_sae(sae, source.once("test"))["explained_variance"]})
    lines += [{"dictionary": name, "seed": 0, "error_r2": r2} for name, r2 in anchors(source, halves).items()]
    found = pd.DataFrame(lines)
    bench.table("dark_matter", found)
    return rows_of(found)


def _compared(bench: Bench, source: PythonSource, seed: int) -> dict[str, SAE]:
    cfg = SAEConfig(d_in=source.store.width(HOOK), d_sae=D_SAE, k=K, hook_name=HOOK, seed=seed)
    how = SAETrainConfig(n_tokens=FULL_N_ROWS if bench.full else N_ROWS, batch_size=BATCH)
    inputs, rows = source.inputs(bench), {"split": "train", "seed": seed}
    wanted = {f"topk-seed-{seed}": Wanted(cfg, how)}
    sae = dictionaries(bench, wanted, source.training(seed), inputs=inputs, rows=rows)[f"topk-seed-{seed}"]
    return {"trained": sae} | control_dictionaries(sae, lambda: source.once("train"))


def halves_by_document(source: PythonSource, seed: int = 0) -> tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " held"]]:
    """The held-out rows in two halves, no document in both."""
    rows = source.store.rows_of("test")
    doc = source.store.columns("doc")["doc"].to_numpy()[rows]
    sizes = np.bincount(doc)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(sizes))
    first = order[: int(np.searchsorted(sizes[order].cumsum(), len(rows) / 2)) + 1]
    mine = np.isin(doc, first)
    return rows[mine], rows[~mine]


def anchors(source: PythonSource, halves: tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " held"]]) -> dict[str, float]:
    """What is found on these very rows of errors whose answer is known: `error_r2` of each.

    `error = Ax + b` for a random A must be told, and noise that is drawn beside x must not.
    """
    generator = torch.Generator().manual_seed(0)
    d = source.store.width(HOOK)
    mixing, shift = (torch.randn(shape, generator=generator) / d**0.5 for shape in ((d, d), (d,)))
    errors: dict[str, Callable[[Tensor], Tensor]] = {
        "anchor: Ax + b": lambda x: x @ mixing + shift,
        "anchor: independent noise": lambda x: torch.randn(x.shape, generator=generator),
    }
    found = {}
    for name, error in errors.items():
        moments = JointMoments(), JointMoments()
        for kept, rows in zip(moments, halves, strict=True):
            for x in source.in_order(rows):
                kept.update(x, error(x))
        left, total = residual_squares(*moments)
        found[name] = 1 - (left.sum() / total.sum()).item()
    return found


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The table: both R² of the trained dictionary and of its controls, the baselines, and the anchors."""

    def of(name: str, column: str) -> str:
        return spread(found.loc[found["dictionary"] == name, column].tolist())

    def beside(column: str) -> str:
        return ", ".join(f"{name} {of(name, column)}" for name in ("random", "PCA", "neurons"))

    trained = found[found["dictionary"] == "trained"]
    size = f"{trained['fit_rows'].iloc[0]:,.0f} rows fitted, {trained['held_out_rows'].iloc[0]:,.0f} held out"
    linear, noise = (
        found.loc[found["dictionary"] == f"anchor: {name}", "error_r2"].item()
        for name in ("Ax + b", "independent noise")
    )
    return [
        Row(
            f"R² of the error's squared norm from x; {len(trained)} seed(s), {size}",
            "> 0.9",
            f"{of('trained', 'error_norm_r2')}; {beside('error_norm_r2')}",
        ),
        Row(
            "the same of ‖x‖² and of ‖x̂‖², the baselines",
            "",
            f"{of('trained', 'x_norm_r2')}, {of('trained', 'x_hat_norm_r2')}",
        ),
        Row(
            "R² of the error vector from x",
            "about 0.5",
            f"{of('trained', 'error_r2')}; {beside('error_r2')}",
        ),
        Row("variance explained", "", f"{of('trained', 'explained_variance')}; {beside('explained_variance')}"),
        Row("anchor, error = Ax + b on the same rows: R²", "", f"{linear:.4f}", "> 0.99", linear > 0.99),
        Row("anchor, independent noise on the same rows: R²", "", f"{noise:.4f}", "|R²| < 0.02", abs(noise) < 0.02),
    ]
