"""A table's probes fitted again: tables keep scores and no weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from workbench.activations import ActivationStore
from workbench.probing.estimators import estimator
from workbench.probing.labels import probe_labels
from workbench.probing.results import best_beyond_word
from workbench.probing.sweep import choose_rows


@dataclass(frozen=True)
class FittedProbe:
    """A probe that was fitted again.

    Attributes:
        probe: the estimator.
        rows: that it was fitted on.
        y: their labels.
    """

    probe: Any
    rows: Float[Tensor, "n d"]
    y: Shaped[np.ndarray, " n"]

    @property
    def classes(self) -> list[Any]:
        """What the label can be, in the estimator's order."""
        return list(np.unique(self.y).tolist())


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
        raise ValueError("these probes are of ranges of positions apart: take a table of all positions together.")
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


def fit_again(
    lines: pd.DataFrame, config: Mapping[str, Any], store: ActivationStore, hook: str, labels: Sequence[str]
) -> dict[str, FittedProbe]:
    """The probes of some labels at a hook, as `workbench probe` fitted them: the same estimator on the same rows.

    Args:
        lines: of one estimator of the table.
        config: of the table's manifest.
        store: the recording that it was made from.
        hook: which was probed.
        labels: which were.
    """
    rows, classes = fitted_on(config, store, hook, labels)
    name = str(lines["probe"].iloc[0])
    return {label: FittedProbe(estimator(name).fit(rows, classes[label]), rows, classes[label]) for label in labels}


def fitted_on(
    config: Mapping[str, Any], store: ActivationStore, hook: str, labels: Sequence[str]
) -> tuple[Float[Tensor, "n d"], dict[str, Shaped[np.ndarray, " n"]]]:
    """The rows that a table's probes were fitted on at a hook, and some of their labels.

    Args:
        config: of the table's manifest.
        store: the recording that it was made from.
        hook: which was probed.
        labels: which were.
    """
    store = store.on(store.axis_of(hook))
    chosen, parts = choose_rows(store, config["where"], config["n_rows"], config["seed"])
    classes = probe_labels(store, chosen, list(labels), max_classes=config["max_classes"])
    rows = torch.as_tensor(store.read(hook, chosen[parts.fit])).float()
    return rows, {label: classes[label][parts.fit] for label in labels}
