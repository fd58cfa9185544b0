"""Cells that say something: how well each unit of a recurrent subject tells a label, and what it is when it is clamped.

Karpathy et al. 2015 (arXiv 1506.02078): cells that follow quotes, brackets, comments, depth, the place in a line.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata

from models.progress import progress
from probes.detection import auroc, detect
from workbench.activations import ActivationStore
from workbench.dynamics.moved import moved_labels

AUROC, SPEARMAN = "auroc", "spearman"
# A label that holds, or not, on fewer rows cannot be judged.
MIN_ROWS = 20
N_SHUFFLES = 20
# A category of more values is none that a unit tells.
MOST_VALUES = 12
MISSING = "(none)"
NOT_JUDGED = "no label can be judged: each has too few rows of one kind, where units are chosen or judged."


def read_labels(
    source: ActivationStore | pa.Table, rows: Shaped[np.ndarray, " n"], names: Sequence[str] | None = None
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The labels of some rows, of a recording or a table: Booleans, numbers (a missing one NaN), or words.

    Raises:
        ValueError: there is no label of such a name.
    """
    known = source.labels if isinstance(source, ActivationStore) else source.column_names
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"there is no label {unknown[0]!r}: there are {', '.join(known) or 'none'}.")
    found: dict[str, np.ndarray] = {}
    for name in names or known:
        table = source.columns(name) if isinstance(source, ActivationStore) else source
        column = table[name].combine_chunks().take(pa.array(rows))
        if pa.types.is_boolean(column.type):
            found[name] = column.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found[name] = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False).copy()
        else:
            found[name] = column.cast(pa.string()).fill_null(MISSING).to_numpy(zero_copy_only=False).astype(str)
    return found


def told_apart(labels: Mapping[str, Shaped[np.ndarray, " n"]]) -> dict[str, Shaped[np.ndarray, " n"]]:
    """What a unit can be held against: Booleans and numbers as they are, and a Boolean a value of words and of whole
    numbers of three to a dozen values (`leader=2`), which may be names of classes.
    """
    found: dict[str, np.ndarray] = {}
    for name, values in labels.items():
        if values.dtype.kind in "bf":
            found[name] = values
        if values.dtype == bool:
            continue
        known = np.unique(values[values == values])
        whole = values.dtype.kind != "f" or (known == np.round(known)).all()
        if whole and (2 if values.dtype.kind != "f" else 3) <= len(known) <= MOST_VALUES:
            found |= {f"{name}={str(value).removesuffix('.0')}": values == value for value in known.tolist()}
    return found


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
        n_shuffles: how often labels are dealt out to other documents (`moved_labels`), as a control.
        seed: of these draws.

    Returns:
        One row a label and unit: `label`, `measure`, `unit`, `fit` and `held_out` (the scores; of AUROC ½ is chance, of
        Spearman's r 0), `chosen`, whether it scored best where units are chosen; and of the chosen one `threshold`,
        `f1`, `shuffled`, the mean held-out score of the best unit for moved labels, `shuffled_most`, their largest, and
        `p_value`, the share of moves as good, of those after which a unit can still be judged. `fit` and `held_out` are
        signed: below chance the unit falls as the label rises; of moved labels a score counts as one above chance.

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
    if not (able := judgeable(labels, fit)):
        raise ValueError(NOT_JUDGED)
    rng = np.random.default_rng(seed)
    bar = progress(able.items(), desc="units", unit="label")
    tables = [_one_label(values, name, label, groups, fit, n_shuffles, rng) for name, label in bar]
    return pd.concat(tables, ignore_index=True)


def judgeable(
    labels: Mapping[str, Shaped[np.ndarray, " n"]], fit: Bool[np.ndarray, " n"]
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Those of some labels of which there are enough rows of each kind, where units are chosen and where judged."""
    return {name: label for name, label in labels.items() if all(_can_be_judged(label, part) for part in (fit, ~fit))}


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
    both = np.stack([label, *(moved_labels(label, groups, rng) for _ in range(n_shuffles))], 1)
    on_fit, on_held_out = _scores(values[fit], both[fit]), _scores(values[~fit], both[~fit])
    units = np.abs(np.nan_to_num(on_fit, nan=chance) - chance).argmax(0)
    best, apart = int(units[0]), np.abs(on_held_out[units, np.arange(len(units))] - chance)
    # A move that leaves one kind of rows where units are judged says nothing.
    ours, moved = apart[0], apart[1:][np.isfinite(apart[1:])]
    on_fit, on_held_out = on_fit[:, 0], on_held_out[:, 0]
    measure = AUROC if is_truth else SPEARMAN
    found = pd.DataFrame({"label": name, "measure": measure, "unit": np.arange(values.shape[1])})
    found["fit"], found["held_out"], found["chosen"] = on_fit, on_held_out, found["unit"] == best
    facts = {"shuffled": moved.mean() + chance, "shuffled_most": moved.max() + chance} if len(moved) else {}
    facts["p_value"] = float((1 + np.sum(moved >= ours)) / (1 + len(moved)))
    facts |= {"threshold": np.nan, "f1": np.nan}
    if is_truth:
        detected = detect(values[:, [best]], label[:, None], fit=fit, held_out=~fit, names=[name], pairs=False)
        facts |= {"threshold": float(detected.by_label["threshold"][0]), "f1": float(detected.by_label["f1"][0])}
    for column, value in facts.items():
        found[column] = np.where(found["chosen"], value, np.nan)
    return found


def _scores(
    values: Float[np.ndarray, "n unit"], labels: Shaped[np.ndarray, "n label"]
) -> Float[np.ndarray, "unit label"]:
    """AUROC, or Spearman's r, of every unit and label; of r 0 where either never changes."""
    if labels.dtype == bool:
        return auroc(values, labels)
    ranks, truth = rankdata(values, axis=0), rankdata(labels, axis=0)
    ranks, truth = ranks - ranks.mean(0), truth - truth.mean(0)
    size = np.sqrt(np.outer((ranks**2).sum(0), (truth**2).sum(0)))
    return np.divide(ranks.T @ truth, size, out=np.zeros(size.shape), where=size > 0)


def _can_be_judged(label: Shaped[np.ndarray, " n"], rows: Bool[np.ndarray, " n"]) -> bool:
    part = label[rows]
    if part.dtype == bool:
        return bool(MIN_ROWS <= part.sum() <= len(part) - MIN_ROWS)
    part = part[~np.isnan(part)]
    return len(part) >= MIN_ROWS and len(np.unique(part)) > 1
