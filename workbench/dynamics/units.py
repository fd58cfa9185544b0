"""Cells that say something: how well each unit of a recurrent subject tells a label, and what it is when it is clamped.

Karpathy et al. 2015 (arXiv 1506.02078): cells that follow quotes, brackets, comments, depth, the place in a line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata

from probes.detection import auroc, detect
from workbench.activations import ActivationStore

AUROC, SPEARMAN = "auroc", "spearman"
# A label that holds, or not, on fewer rows cannot be judged.
MIN_ROWS = 20
N_SHUFFLES = 20


def label_columns(
    store: ActivationStore, rows: Shaped[np.ndarray, " n"], names: Sequence[str] | None = None
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The labels of a recording as units are held against them: Booleans, and numbers with a missing one NaN.

    A category gives a Boolean a value (`kind=comment`). Where no names are given, all labels that can be told.

    Raises:
        ValueError: there is no label of such a name.
    """
    if unknown := [name for name in names or () if name not in store.labels]:
        raise ValueError(f"{store.path} has no label {unknown[0]!r}: there are {', '.join(store.labels) or 'none'}.")
    chosen = list(names if names is not None else store.labels)
    return as_columns(store.columns(*chosen), rows) if chosen else {}


def as_columns(table: Any, rows: Shaped[np.ndarray, " n"]) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The same of an Arrow table of labels, and some of its rows."""
    found: dict[str, np.ndarray] = {}
    for name in table.column_names:
        values = table[name].combine_chunks().to_pandas().iloc[rows]
        if values.dtype == bool or (values.dtype == object and values.dropna().map(type).eq(bool).all()):
            found[name] = values.fillna(False).to_numpy(bool)
        elif pd.api.types.is_numeric_dtype(values):
            found[name] = values.to_numpy(np.float64, na_value=np.nan)
        else:
            text = values.astype("string").fillna("(none)").to_numpy(str)
            known = np.unique(text)
            if len(known) <= MOST_VALUES:
                found |= {f"{name}={value}": text == value for value in known}
    return found


# A category of more values is none that a unit tells.
MOST_VALUES = 12


def unit_scores(
    values: Float[np.ndarray, "n unit"],
    labels: Mapping[str, Shaped[np.ndarray, " n"]],
    groups: Shaped[np.ndarray, " n"],
    fit: Bool[np.ndarray, " n"],
    *,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Hold every unit against every label on some rows, choose one unit a label, and judge it on the others.

    A Boolean label is told by AUROC (`probes.detection.auroc`), a number by Spearman's r; a unit may tell it by its
    sign turned round. The threshold of a Boolean label, and F1 with it, are `probes.detection.detect`'s.

    Args:
        values: the units.
        labels: Booleans, or numbers (rows with NaN are left out), by name.
        groups: the document of each row.
        fit: the rows on which a unit is chosen; whole documents.
        n_shuffles: how often labels are moved along within the documents by so many rows, drawn at random.
        seed: of these draws.

    Returns:
        One row a label and unit: `label`, `measure`, `unit`, `fit` and `held_out` (the scores; of AUROC ½ is chance, of
        Spearman's r 0), `chosen`, whether it scored best where units are chosen; and of the chosen one `threshold`,
        `f1`, `shuffled`, the mean held-out score of the best unit for moved labels, `shuffled_most`, their largest, and
        `p_value`, the share of moves as good. Scores are signed: below chance the unit falls as the label rises.

    Raises:
        ValueError: rows do not match, or no label can be judged on both sides.
    """
    n = len(values)
    for name, label in labels.items():
        if len(label) != n:
            raise ValueError(f"{name} has {len(label)} values, but the units have {n} rows: one is needed for each.")
    if len(groups) != n or len(fit) != n:
        raise ValueError(f"units have {n} rows, groups {len(groups)} and fit {len(fit)}: one is needed for each.")
    if set(np.unique(groups[fit])) & set(np.unique(groups[~fit])):
        raise ValueError(
            "some document has rows on both sides: a unit is chosen on whole documents and judged on others."
        )
    able = {name: label for name, label in labels.items() if _can_be_judged(label, fit) and _can_be_judged(label, ~fit)}
    if not able:
        raise ValueError("no label can be judged: each has too few rows of one kind, where units are chosen or judged.")
    rng = np.random.default_rng(seed)
    tables = [_one_label(values, name, label, groups, fit, n_shuffles, rng) for name, label in able.items()]
    return pd.concat(tables, ignore_index=True)


def _one_label(
    values: np.ndarray,
    name: str,
    label: np.ndarray,
    groups: np.ndarray,
    fit: np.ndarray,
    n_shuffles: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    is_truth = label.dtype == bool
    known = np.ones(len(label), bool) if is_truth else ~np.isnan(label)
    values, label, groups, fit = values[known], label[known], groups[known], fit[known]
    chance = 0.5 if is_truth else 0.0
    on_fit, on_held_out = _scores(values[fit], label[fit]), _scores(values[~fit], label[~fit])
    best = _best(on_fit, chance)
    moved = []
    for _ in range(n_shuffles):
        other = moved_within(label, groups, rng)
        unit = _best(_scores(values[fit], other[fit]), chance)
        moved.append(abs(_scores(values[~fit][:, [unit]], other[~fit])[0] - chance))
    ours = abs(on_held_out[best] - chance)
    measure = AUROC if is_truth else SPEARMAN
    found = pd.DataFrame({"label": name, "measure": measure, "unit": np.arange(values.shape[1])})
    found["fit"], found["held_out"], found["chosen"] = on_fit, on_held_out, found["unit"] == best
    facts = {"shuffled": np.mean(moved) + chance, "shuffled_most": np.max(moved) + chance} if moved else {}
    facts["p_value"] = (1 + np.sum(np.array(moved) >= ours)) / (1 + len(moved))
    facts |= {"threshold": np.nan, "f1": np.nan}
    if is_truth:
        detected = detect(values[:, [best]], label[:, None], fit=fit, held_out=~fit, names=[name], pairs=False)
        facts |= {"threshold": float(detected.by_label["threshold"][0]), "f1": float(detected.by_label["f1"][0])}
    for column, value in facts.items():
        found[column] = np.where(found["chosen"], value, np.nan)
    return found


def _scores(values: Float[np.ndarray, "n unit"], label: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " unit"]:
    """AUROC, or Spearman's r, of every unit; at chance where a unit never changes."""
    if label.dtype == bool:
        return auroc(values, label[:, None])[:, 0]
    ranks, truth = rankdata(values, axis=0), rankdata(label)
    ranks, truth = ranks - ranks.mean(0), truth - truth.mean()
    size = np.sqrt((ranks**2).sum(0) * (truth**2).sum())
    return np.divide(ranks.T @ truth, size, out=np.zeros(len(size)), where=size > 0)


def _best(scores: Float[np.ndarray, " unit"], chance: float) -> int:
    return int(np.abs(np.nan_to_num(scores, nan=chance) - chance).argmax())


def _can_be_judged(label: Shaped[np.ndarray, " n"], rows: Bool[np.ndarray, " n"]) -> bool:
    part = label[rows]
    if part.dtype == bool:
        return bool(MIN_ROWS <= part.sum() <= len(part) - MIN_ROWS)
    part = part[~np.isnan(part)]
    return len(part) >= MIN_ROWS and len(np.unique(part)) > 1


def moved_within(
    label: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], rng: np.random.Generator
) -> Shaped[np.ndarray, " n"]:
    """Labels moved along within each group, round its end, by a number of rows drawn for it."""
    _, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(label)) - np.repeat(starts, sizes)
    by = np.repeat(rng.integers(0, sizes), sizes)
    found = np.empty_like(label)
    found[order] = label[order][np.repeat(starts, sizes) + (place + by) % np.repeat(sizes, sizes)]
    return found
