"""A concept that no linear probe can read any more, and what that costs the rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

from probes import LogisticProbe, MLPProbe
from probes.base import as_numpy
from probes.erasure import INLP, LEACE, Eraser, MeanProjection
from workbench.probing import probe_labels
from workbench.probing.sweep import choose_rows
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.python_source import HOOK, PythonSource, python_source

TITLE = "A concept that LEACE erases is told by no linear probe"
PAPER = "Belrose et al. 2023, LEACE: Perfect linear concept erasure in closed form, arXiv 2306.03819"

LABELS = ("inside_string", "bracket_depth")  # of the Python source: one of two classes, one of several
N_ROWS, FULL_N_ROWS = 24_000, 60_000  # of a recording; a quarter of them held out
D_PLANTED, N_PLANTED, N_CLASSES = 64, 8_000, (2, 5)
ROUNDS, FULL_ROUNDS = 5, 20  # of INLP, at most
C = 0.01  # of its probes, and of those that look for what is left
NONE, LEACE_, ORACLE, INLP_, MEANS, RANDOM = (
    "nothing",
    "LEACE",
    "LEACE, labels known",
    "INLP",
    "mean projection",
    "random directions",
)
# An MLP takes longest, and is asked only of what matters.
ASKED_MLP = (NONE, LEACE_, INLP_)
GAP_BAR, MEANS_BAR = 1e-6, 1e-6
# Directions in which rows vary less than this share of the most were erased: what is there is rounding.
LEAST_VARIANCE = 1e-10


@dataclass(frozen=True)
class LabelledRows:
    """Rows with a concept, in double precision: some to fit on, others of other documents."""

    fit: Float[np.ndarray, "fit d"]
    y_fit: Int[np.ndarray, " fit"]
    held_out: Float[np.ndarray, "held d"]
    y_held_out: Int[np.ndarray, " held"]


def reproduce(bench: Bench) -> list[Row]:
    """Erase planted concepts and labels of Python source by every eraser, and look for what is left."""
    source = python_source(bench)
    tables = []
    for seed in range(5 if bench.full else 1):
        concepts: dict[str, LabelledRows] = {f"planted, {k} classes": planted(k, seed) for k in N_CLASSES}
        concepts |= recorded(source, FULL_N_ROWS if bench.full else N_ROWS, seed)
        for name, rows in concepts.items():
            bench.tell(f"erasing {name}, seed {seed}")
            found = measured(rows, FULL_ROUNDS if bench.full else ROUNDS, seed)
            tables.append(found.assign(concept=name, seed=seed, classes=int(rows.y_fit.max()) + 1))
    table = pd.concat(tables, ignore_index=True)
    bench.table("erasure", table)
    return rows_of(table)


def planted(n_classes: int, seed: int, n: int = N_PLANTED) -> LabelledRows:
    """Gaussian rows whose classes differ in mean, which erasure takes away, and in spread, which it leaves."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(D_PLANTED, D_PLANTED)) * np.geomspace(3, 0.3, D_PLANTED)[:, None]
    means, spreads = rng.normal(size=(n_classes, D_PLANTED)) / 4, rng.uniform(0.5, 2, size=(n_classes, D_PLANTED))
    share = rng.dirichlet(np.full(n_classes, 5.0))

    def drawn() -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        y = rng.choice(n_classes, size=n, p=share)
        return (means[y] + spreads[y] * rng.normal(size=(n, D_PLANTED))) @ mixing, y

    return LabelledRows(*drawn(), *drawn())


def recorded(source: PythonSource, n_rows: int, seed: int) -> dict[str, LabelledRows]:
    """Of each label rows of the recording: fitted on training documents, the others of held-out ones."""
    chosen, rows = choose_rows(source.store, None, n_rows, seed)
    x = source.store.read(HOOK, chosen).double().numpy()
    found = {}
    for name, values in probe_labels(source.store, chosen, LABELS).items():
        classes, codes = np.unique(values[rows.fit], return_inverse=True)
        judged = rows.held_out[np.isin(values[rows.held_out], classes)]  # nothing was erased of a class unseen
        found[name] = LabelledRows(x[rows.fit], codes, x[judged], np.searchsorted(classes, values[judged]))
    return found


def measured(rows: LabelledRows, n_rounds: int, seed: int) -> pd.DataFrame:
    """A line for each eraser.

    Returns:
        Columns `eraser`; `rank`, directions taken out; `change`, the mean squared change of a row as a share of the
        variance; `means`, the largest distance of a class mean from the mean, in standard deviations of a row;
        `gap`, by how many nats a row an unregularised logistic fit is better than the best constant, on the rows that
        it and the eraser were fitted to; `held_out_gap`, the same of that fit on the held-out rows; `new_gap`, of a
        regularised probe that is fitted to half of the held-out rows, erased as they are, on the other half; and
        `mlp_gap`, of an MLP fitted to the erased rows, on the held-out ones.
    """
    lines = []
    for name, (fit, held_out, rank) in erased(rows, n_rounds, seed).items():
        line = {"eraser": name, "rank": rank, "change": change(rows.fit, fit), "means": means_apart(fit, rows.y_fit)}
        line["gap"], line["held_out_gap"] = logistic_gaps(fit, rows.y_fit, held_out, rows.y_held_out, seed)
        half = len(held_out) // 2
        line["new_gap"] = probe_gap(
            LogisticProbe(C), held_out[:half], rows.y_held_out[:half], held_out[half:], rows.y_held_out[half:]
        )
        if name in ASKED_MLP:
            mlp = MLPProbe(random_state=seed)
            line["mlp_gap"] = probe_gap(
                mlp, fit.astype(np.float32), rows.y_fit, held_out.astype(np.float32), rows.y_held_out
            )
        lines.append(line)
    return pd.DataFrame(lines)


def erased(rows: LabelledRows, n_rounds: int, seed: int) -> Mapping[str, tuple[np.ndarray, np.ndarray, int]]:
    """Of each eraser the rows that are left, fitted and held out, and how many directions it takes out."""
    leace = LEACE().fit(rows.fit, rows.y_fit)
    known = leace.transform_known(rows.fit, rows.y_fit), leace.transform_known(rows.held_out, rows.y_held_out)
    found = {
        NONE: (rows.fit, rows.held_out, 0),
        ORACLE: (as_numpy(known[0]), as_numpy(known[1]), leace.eraser_.rank),
    }
    fitted = {
        LEACE_: leace.eraser_,
        INLP_: INLP(n_rounds, C=C).fit(rows.fit, rows.y_fit).eraser_,
        MEANS: MeanProjection().fit(rows.fit, rows.y_fit).eraser_,
        RANDOM: random_eraser(rows.fit, leace.eraser_.rank, seed),
    }
    for name, eraser in fitted.items():
        fit, held_out = (eraser(torch.from_numpy(x)).numpy() for x in (rows.fit, rows.held_out))
        found[name] = fit, held_out, eraser.rank
    return found


def random_eraser(x: Float[np.ndarray, "n d"], rank: int, seed: int) -> Eraser:
    """One that takes out so many random directions."""
    basis = torch.linalg.qr(torch.from_numpy(np.random.default_rng(seed).normal(size=(x.shape[1], rank))))[0]
    return Eraser(basis, basis.T, torch.from_numpy(x.mean(0)))


def change(before: Float[np.ndarray, "n d"], after: Float[np.ndarray, "n d"]) -> float:
    """The mean squared change of a row, as a share of the variance before."""
    return float(((after - before) ** 2).sum() / ((before - before.mean(0)) ** 2).sum())


def means_apart(x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> float:
    """The largest distance of a class mean from the mean, in standard deviations of a row."""
    centre = x.mean(0)
    apart = [np.linalg.norm(x[y == k].mean(0) - centre) for k in np.unique(y)]
    return float(max(apart) / np.sqrt(((x - centre) ** 2).sum(1).mean()))


def logistic_gaps(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    x_held_out: Float[np.ndarray, "m d"],
    y_held_out: Int[np.ndarray, " m"],
    seed: int,
) -> tuple[float, float]:
    """Nats by which an unregularised multinomial fit is better than the constant: on its own rows, and on others.

    SciPy's L-BFGS, from a random start that is far from the constant. Rows are whitened, which changes no such optimum.
    """
    centre = x.mean(0)
    scales, vectors = np.linalg.eigh(np.cov(x.T))
    kept = scales > LEAST_VARIANCE * scales.max()
    whiten = vectors[:, kept] / np.sqrt(scales[kept])
    z, n_classes = (x - centre) @ whiten, int(max(y.max(), y_held_out.max())) + 1
    shape, hits = (z.shape[1] + 1, n_classes), np.eye(n_classes)[y]

    def logits(flat: np.ndarray, rows: np.ndarray) -> np.ndarray:
        weights = flat.reshape(shape)
        return rows @ weights[:-1] + weights[-1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(logits(flat, z), axis=1)
        error = (np.exp(logs) - hits) / len(y)
        return -logs[np.arange(len(y)), y].mean(), np.vstack([z.T @ error, error.sum(0)]).ravel()

    start = np.random.default_rng(seed).normal(size=shape[0] * shape[1]) / np.sqrt(shape[0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-16, "gtol": 1e-9})
    others = log_softmax(logits(found.x, (x_held_out - centre) @ whiten), axis=1)
    held_out = -others[np.arange(len(y_held_out)), y_held_out].mean()
    return constant_loss(y, y) - float(found.fun), constant_loss(y, y_held_out) - float(held_out)


def probe_gap(
    probe: LogisticProbe | MLPProbe, x: np.ndarray, y: np.ndarray, x_held_out: np.ndarray, y_held_out: np.ndarray
) -> float:
    """Nats by which a probe is better than the constant on other rows than it was fitted to."""
    fitted = probe.fit(x, y)
    known = np.isin(y_held_out, fitted.classes_)
    said = np.asarray(fitted.predict_proba(x_held_out), float)[known]
    of = np.searchsorted(fitted.classes_, y_held_out[known])
    loss = -np.log(np.maximum(said[np.arange(len(of)), of], 1e-12)).mean()
    return constant_loss(y, y_held_out[known]) - float(loss)


def constant_loss(y: Int[np.ndarray, " n"], judged: Int[np.ndarray, " m"]) -> float:
    """Nats a row of whoever says, of each row, how frequent each class is among `y`."""
    shares = np.bincount(y, minlength=int(judged.max()) + 1) / len(y)
    return float(-np.log(np.maximum(shares, 1e-12))[judged].mean())


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The table: of each concept what LEACE leaves, beside what every other eraser does."""
    rows: list[Row] = []
    for concept, found in table.groupby("concept", sort=False):
        rows += _of_concept(str(concept), found)
    return rows


def _of_concept(concept: str, found: pd.DataFrame) -> list[Row]:
    def of(eraser: str, column: str) -> list[float]:
        return found.loc[found["eraser"] == eraser, column].tolist()

    def beside(column: str, names: tuple[str, ...], digits: int = 3) -> str:
        return ", ".join(f"{name} {spread(of(name, column), digits)}" for name in names)

    gap, means = float(np.max(np.abs(of(LEACE_, "gap")))), float(np.max(of(LEACE_, "means")))
    rank, classes = int(max(of(LEACE_, "rank"))), int(found["classes"].min())
    cheaper = float(np.min(np.subtract(of(MEANS, "change"), of(LEACE_, "change"))))
    others = (NONE, INLP_, MEANS, RANDOM)
    seeds = f"{found['seed'].nunique()} seed(s)"
    return [
        Row(
            f"{concept}: nats an unregularised logistic fit gains over the constant, on the fitting rows; {seeds}",
            "0, theorem 3.1",
            f"at most {gap:.1e}; {beside('gap', others)}",
            f"< {GAP_BAR:g} in every seed",
            gap < GAP_BAR,
        ),
        Row(
            f"{concept}: distance of a class mean from the mean, in standard deviations of a row",
            "0, theorem 3.1",
            f"at most {means:.1e}; {beside('means', others)}",
            f"< {MEANS_BAR:g} in every seed",
            means < MEANS_BAR,
        ),
        Row(
            f"{concept}: directions taken out, of {classes} classes",
            "K − 1 at most",
            f"{rank}; {beside('rank', (INLP_, MEANS, RANDOM), 0)}",
            f"≤ {classes - 1}",
            rank < classes,
        ),
        Row(
            f"{concept}: squared change of a row, as a share of the variance",
            "the least of all that erase linearly",
            f"{spread(of(LEACE_, 'change'), 4)}; labels known {spread(of(ORACLE, 'change'), 4)}; "
            f"{beside('change', (INLP_, MEANS, RANDOM), 4)}",
            "less than mean projection's in every seed",
            bool(cheaper > 0),
        ),
        Row(
            f"{concept}: nats that fit gains on held-out rows; a new probe, fitted to half of these, on the rest",
            "",
            f"{spread(of(LEACE_, 'held_out_gap'))}; {spread(of(LEACE_, 'new_gap'))}; "
            f"nothing erased {spread(of(NONE, 'held_out_gap'))}; {spread(of(NONE, 'new_gap'))}",
        ),
        Row(
            f"{concept}: nats an MLP gains on held-out rows",
            "what is not linear may stay",
            f"{spread(of(LEACE_, 'mlp_gap'))}; {beside('mlp_gap', (NONE, INLP_))}",
        ),
    ]
