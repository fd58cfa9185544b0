"""`probe_report`: a probe's scores, with everything that they must be held against beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from probes.base import Array, as_numpy, refuse_missing, taken
from probes.controls import control_task, identity_predictions, shuffled
from probes.description_length import description_length
from probes.scores import METRICS, Resampling, Scores
from probes.together import Told, fit_labels
from probes.validation import follows_from_group, majority, split_by_group

PROBE, CONTROL, SHUFFLED, RANDOM, MAJORITY, TYPE = (
    "probe",
    "control task",
    "shuffled labels",
    "random subject",
    "majority",
    "type alone",
)
VARIANTS = (PROBE, CONTROL, SHUFFLED, RANDOM, MAJORITY, TYPE)
NO_TYPES = "no types were given: which rows show the same word must be known"
NO_SUBJECT = "no rows of a randomly initialised subject were given"
ONE_DRAWN = "no control task: of the classes that it draws for the words, the rows to fit on have one only"
BY_GROUP = "the label is the same on all rows of each group: rows of one group are no further examples"

# A label and what it is told by.
Key = tuple[str, str]
# With fewer, a line says how few they are.
FEW_GROUPS, FEW_ROWS = 5, 10
# Scores are of tables of true against predicted classes, document by document.
MOST_CLASSES = 100


@dataclass(frozen=True)
class Split:
    """The rows of a report: some to fit on, some to judge by, no group in both."""

    fit: Int[np.ndarray, " fit"]
    held_out: Int[np.ndarray, " held_out"]


def probe_report(
    probe: Any,
    X: Array,
    labels: Mapping[str, Any],
    *,
    groups: Any = None,
    types: Any = None,
    random_X: Array | None = None,
    rows: Split | None = None,
    code_length: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a probe of each label, and of each control, and judge all of them on rows held out by group.

    Labels of two classes are solved together with their controls where the probe can do that (`LogisticProbe` and
    its siblings), so that controls cost little more than the probe alone.

    Args:
        probe: a classifier; it is cloned. One without `predict_proba` has no description length.
        X: rows [n, d].
        labels: of each name the labels of the rows [n]: Booleans, whole numbers or strings.
        groups: the document (session, subject) of each row [n]; every row its own where None.
        types: the word (stimulus) of each row [n], for the control task and for what the word alone tells.
        random_X: the same rows [n, d] of a randomly initialised subject.
        rows: which to fit on, and which to hold out; a quarter of the groups where None.
        code_length: whether to measure description lengths, on at most 20,000 of the fitting rows.
        seed: of the split, the controls, the intervals and the order in which labels are sent.

    Returns:
        A line for each label and each of `probe`, `control task`, `shuffled labels`, `random subject`, `majority`
        and `type alone`, with the columns `label`, `variant`; `accuracy`, `balanced_accuracy`, `f1` with `_low` and
        `_high` (95% over groups), `auroc`; `p_value` (see `Scores`); `selectivity` (the accuracy less the
        control task's, on the line of the probe); `bits` and `compression` (of probe, control task and random subject);
        `classes`, `positives` (the share of held-out rows of the second class of two, or of all but the most frequent),
        `fit_rows`, `held_out_rows`; and `note`: why a line has no numbers, or what to mind. `bits` are missing where
        they were not asked for, and of a probe without probabilities.

    Raises:
        ValueError: labels, groups or types of other rows, labels that are no classes or of too many, a group with rows
            on both sides of a split.
    """
    n = len(X)
    groups = np.arange(n) if groups is None else as_numpy(groups)
    types = None if types is None else as_numpy(types)
    if not isinstance(labels, Mapping):
        raise ValueError("labels are given by name: {'name': y}.")
    columns = {name: as_numpy(values) for name, values in labels.items()}
    _refuse_unfit(n, columns, groups, types, random_X)
    rows = rows or Split(*split_by_group(groups, seed=seed))
    if both := np.intersect1d(groups[rows.fit], groups[rows.held_out]).tolist():
        raise ValueError(f"group {both[0]!r} has rows to fit on and rows that are held out: no group may have both.")
    made = _Report(probe, rows, groups, types, code_length, seed)
    return made.of(X, columns, random_X)


class _Report:
    def __init__(
        self, probe: Any, rows: Split, groups: np.ndarray, types: np.ndarray | None, code_length: bool, seed: int
    ) -> None:
        self.probe, self.rows, self.groups, self.types = probe, rows, groups, types
        self.code_length, self.seed = code_length and hasattr(probe, "predict_proba"), seed
        self.resampling = Resampling.of_groups(groups[rows.held_out], seed=seed)

    def of(self, X: Array, columns: dict[str, np.ndarray], random_X: Array | None) -> pd.DataFrame:
        classes = {name: np.unique(values) for name, values in columns.items()}
        codes = {name: np.searchsorted(classes[name], values) for name, values in columns.items()}
        notes = {name: self._note(values, len(classes[name])) for name, values in codes.items()}
        able = {name: values for name, values in codes.items() if not notes[name].startswith("no probe")}
        asked = {(name, PROBE): values for name, values in able.items()}
        tasks = {(name, CONTROL): task for name, task in self._control_tasks(able).items()}
        dealt = {(name, SHUFFLED): self._dealt_out(values) for name, values in able.items()}
        of_random = {(name, RANDOM): values for name, values in able.items()} if random_X is not None else {}
        truths = asked | tasks | dealt | of_random
        found = self._told(X, asked | tasks | dealt)
        lengths = self._lengths(X, asked | tasks)
        if random_X is not None:
            found |= self._told(random_X, of_random)
            lengths |= self._lengths(random_X, of_random)
        for name, column in able.items():
            truths[name, MAJORITY] = truths[name, TYPE] = column
            found[name, MAJORITY] = Told(np.full(len(self.rows.held_out), majority(column[self.rows.fit])), None)
            if self.types is not None:
                fit, held_out = self.types[self.rows.fit], self.types[self.rows.held_out]
                found[name, TYPE] = Told(identity_predictions(fit, column[self.rows.fit], held_out), None)
        lines = []
        for name in columns:
            for variant in VARIANTS:
                line = {"label": name, "variant": variant, "classes": len(classes[name]), "note": notes[name]}
                if (name, variant) in found:
                    line |= self._line(truths[name, variant], found[name, variant], len(classes[name]))
                    line |= lengths.get((name, variant), {})
                elif not line["note"] or name in able:
                    no_task = ONE_DRAWN if self.types is not None else NO_TYPES
                    line["note"] = NO_SUBJECT if variant == RANDOM else no_task
                lines.append(line)
        table = pd.DataFrame(lines)
        return self._with_selectivity(table)

    def _note(self, codes: Int[np.ndarray, " n"], n_classes: int) -> str:
        if len(np.unique(codes[self.rows.fit])) < 2 or n_classes < 2:
            return "no probe: the rows to fit on have one class only"
        if len(np.unique(codes[self.rows.held_out])) < 2:
            return "no probe: the rows to judge by have one class only"
        notes = [BY_GROUP] if follows_from_group(codes, self.groups) else []
        judged = codes[self.rows.held_out]
        if (n_groups := len(np.unique(self.groups[self.rows.held_out]))) < FEW_GROUPS:
            notes.append(f"only {n_groups} groups to judge by: intervals and p-values say little")
        counts = np.bincount(judged)
        if (rarest := int(counts[counts > 0].min())) < FEW_ROWS:
            notes.append(f"a class has only {rarest} rows to judge by")
        return "; ".join(notes)

    def _control_tasks(self, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Those that can be computed."""
        if self.types is None:
            return {}
        tasks = {
            name: control_task(self.types, values, seed=self.seed + i) for i, (name, values) in enumerate(codes.items())
        }
        return {name: task for name, task in tasks.items() if len(np.unique(task[self.rows.fit])) > 1}

    def _dealt_out(self, codes: np.ndarray) -> np.ndarray:
        """Shuffled among the rows to fit on, and among those to judge by, so that both keep their classes."""
        dealt = codes.copy()
        for part in (self.rows.fit, self.rows.held_out):
            dealt[part] = shuffled(codes[part], seed=self.seed)
        return dealt

    def _told(self, X: Array, codes: dict[Key, np.ndarray]) -> dict[Key, Told]:
        """What probes of these labels say of the held-out rows."""
        of_fit = {key: as_numpy(taken(values, self.rows.fit)) for key, values in codes.items()}
        return fit_labels(self.probe, taken(X, self.rows.fit), of_fit).tell(taken(X, self.rows.held_out))

    def _line(self, y: np.ndarray, told: Told, n_classes: int) -> dict[str, Any]:
        truth = y[self.rows.held_out]
        scores = Scores.of(truth, told.classes, n_classes, self.resampling, told.decision, seed=self.seed)
        line: dict[str, Any] = {"auroc": scores.auroc, "p_value": scores.p_value}
        for name in METRICS:
            line |= {name: getattr(scores, name), f"{name}_low": scores.low[name], f"{name}_high": scores.high[name]}
        counts = np.bincount(truth, minlength=n_classes)
        positives = counts[1] if n_classes == 2 else len(truth) - counts.max()
        return line | {
            "positives": positives / len(truth),
            "fit_rows": len(self.rows.fit),
            "held_out_rows": len(truth),
        }

    def _lengths(self, X: Array, codes: dict[Key, np.ndarray]) -> dict[Key, dict[str, float]]:
        """Description lengths on the rows to fit on."""
        if not self.code_length or not codes:
            return {}
        y = np.stack([values[self.rows.fit] for values in codes.values()], axis=1)
        groups = self.groups[self.rows.fit]
        length = description_length(self.probe, taken(X, self.rows.fit), y, groups=groups, seed=self.seed)
        found = zip(codes, length.bits, length.compression, strict=True)
        return {key: {"bits": float(bits), "compression": float(compression)} for key, bits, compression in found}

    def _with_selectivity(self, table: pd.DataFrame) -> pd.DataFrame:
        """In the order of the columns, with the probe's accuracy less the control task's."""
        order = ["label", "variant", *(f"{m}{end}" for m in METRICS for end in ("", "_low", "_high"))]
        order += ["auroc", "p_value", "selectivity", "bits", "compression", "classes", "positives"]
        order += ["fit_rows", "held_out_rows", "note"]
        table = table.reindex(columns=order)
        task = table[table["variant"] == CONTROL].set_index("label")["accuracy"]
        is_probe = table["variant"] == PROBE
        table.loc[is_probe, "selectivity"] = table["accuracy"] - table["label"].map(task)
        return table


def _refuse_unfit(
    n: int,
    columns: dict[str, np.ndarray],
    groups: np.ndarray,
    types: np.ndarray | None,
    random_X: Array | None,
) -> None:
    if not columns:
        raise ValueError("no labels were given: name at least one.")
    given: dict[str, Array | None] = {**columns, "groups": groups, "types": types, "random_X": random_X}
    for name, values in given.items():
        if values is not None and len(values) != n:
            raise ValueError(f"{name} has {len(values)} rows, but X has {n}: they must be the same rows.")
    for name, values in columns.items():
        refuse_missing(values, f"the label {name!r}")
        if len(np.unique(values)) > MOST_CLASSES:
            raise ValueError(
                f"the labels {name!r} have {len(np.unique(values)):,} classes: at most {MOST_CLASSES} can be reported; "
                "merge the rare ones, or leave the label out."
            )
        if values.ndim != 1:
            raise ValueError(f"the labels {name!r} have shape {values.shape}: one label a row is asked.")
        if values.dtype.kind == "f" and not (values == np.trunc(values)).all():
            raise ValueError(f"the labels {name!r} are no classes: they must be Booleans, whole numbers or strings.")
