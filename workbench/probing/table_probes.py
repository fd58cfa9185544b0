"""A table's probes fitted again: tables keep scores and no weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from probes.together import FittedLabels, fit_labels
from workbench.activations import ActivationStore
from workbench.interventions import Subspace
from workbench.probing.estimators import estimator as made
from workbench.probing.labels import probe_labels
from workbench.probing.results import best_beyond_word
from workbench.probing.sweep import choose_rows

# What a table's manifest must tell: the rows that its probes were fitted on.
_ROWS = ("where", "n_rows", "seed", "max_classes", "positions")
_APART = "these probes are of ranges of positions apart: take a table of all positions together."


@dataclass(frozen=True)
class RefittedProbes:
    """The probes of some labels at one hook, fitted again.

    Attributes:
        hook: where.
        rows: that they were fitted on.
        y: of each label, what the rows are; labels of one class have no probe and are left out.
        fitted: as a sweep fits them: labels that can share a fit do.
    """

    hook: str
    rows: Float[Tensor, "n d"]
    y: dict[str, Shaped[np.ndarray, " n"]]
    fitted: FittedLabels[str]

    def classes(self, label: str) -> list[Any]:
        """What a label can be, in the order of its probe."""
        return list(np.unique(self.y[label]).tolist())

    def subspace(self, label: str, target: int | None = None) -> Subspace:
        """What a label's probe reads; rows are moved along its pattern (`along_pattern`), as they differ where it does.

        Args:
            label: which.
            target: of more than two classes, from all others to which.
        """
        place = self.fitted.places.get(label)
        probe = self.fitted.alone[label] if place is None else self.fitted.shared
        return Subspace.of_probe(probe, target if place is None else place.start + (target or 0)).along_pattern(
            self.rows
        )

    def read(self, row: Float[Tensor, " d"]) -> pd.DataFrame:
        """What each label's probe says of one row.

        Returns:
            A line a label and class: `hook`, `label`, `class`, its `probability` (NaN of an estimator that gives none)
            and whether it is the `likeliest`.
        """
        X = row[None].float()
        told = self.fitted.tell(X)
        able = [*self.fitted.alone.values(), *([self.fitted.shared] if self.fitted.shared is not None else [])]
        known = self.fitted.probabilities(X) if all(hasattr(p, "predict_proba") for p in able) else {}
        lines = []
        for label in self.y:
            for at, name in enumerate(self.classes(label)):
                p = float(known[label][0, at]) if label in known else np.nan
                lines.append((self.hook, label, str(name), p, int(told[label].classes[0]) == at))
        return pd.DataFrame(lines, columns=["hook", "label", "class", "probability", "likeliest"])


def linear_lines(table: pd.DataFrame, config: Mapping[str, Any], label: str | None = None) -> pd.DataFrame:
    """The lines of a table's first estimator that reads rows linearly.

    Args:
        table: as `read_results` gives it.
        config: of its manifest.
        label: that must have been probed; any where None.

    Raises:
        ValueError: the label was not probed, positions were probed apart, or no probe is linear.
    """
    if label is not None and label not in set(table["label"]):
        known = ", ".join(dict.fromkeys(table["label"]))
        raise ValueError(f"no label {label!r} was probed: {known} were.")
    if config["positions"] is not None:
        raise ValueError(_APART)
    linear = [name for name in dict.fromkeys(table["probe"]) if name != "mlp"]
    if not linear:
        raise ValueError("this table has no linear probe: one that is not linear has no direction.")
    return table[table["probe"] == linear[0]]


def hook_of(lines: pd.DataFrame, hook: str | None = None) -> str:
    """The hook that is named, or else the one where a table's labels are read best beyond the word, on average.

    Args:
        lines: of one estimator.
        hook: which; it must have been probed.

    Raises:
        ValueError: it was not.
    """
    known = list(dict.fromkeys(lines["hook"]))
    if hook is None:
        by_label = [best_beyond_word(lines[lines["hook"] == name]).assign(hook=name) for name in known]
        return str(pd.concat(by_label).groupby("hook", sort=False)["beyond"].mean().idxmax())
    if hook not in known:
        raise ValueError(f"{hook} was not probed: {', '.join(known)} were.")
    return hook


def refit(
    store: ActivationStore, config: Mapping[str, Any], estimator: str, hook: str, labels: Sequence[str]
) -> RefittedProbes:
    """Fit a table's probes at one hook again, as `workbench probe` did: on the same rows, labels together that share.

    Args:
        store: the recording that the table was made from.
        config: of the table's manifest.
        estimator: which of its estimators.
        hook: where.
        labels: which of its labels.

    Raises:
        ValueError: the table does not say which rows its probes were fitted on, or ranges of positions were probed
            apart; the recording has no such hook or label.
    """
    if missing := [name for name in _ROWS if name not in config]:
        raise ValueError(f"this table does not say on which rows its probes were fitted ({missing[0]} is missing).")
    if config["positions"] is not None:
        raise ValueError(_APART)
    store = store.on(store.axis_of(hook))
    chosen, parts = choose_rows(store, config["where"], config["n_rows"], config["seed"])
    of_rows = probe_labels(store, chosen, list(labels), max_classes=config["max_classes"])
    rows = torch.as_tensor(store.read(hook, chosen[parts.fit])).float()
    y, codes = {}, {}
    for label in labels:
        known, numbers = np.unique(of_rows[label][parts.fit], return_inverse=True)
        if len(known) > 1:
            y[label], codes[label] = of_rows[label][parts.fit], numbers
    return RefittedProbes(hook, rows, y, fit_labels(made(estimator), rows, codes))
