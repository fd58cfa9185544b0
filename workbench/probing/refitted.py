"""What a table's probes say of a row: those of all labels at a hook fitted again, as a sweep fits them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from probes.together import FittedLabels, fit_labels
from workbench.activations import ActivationStore
from workbench.probing.estimators import estimator as made
from workbench.probing.table_probes import fitted_on

# What a table's manifest must tell: the rows that its probes were fitted on.
_ROWS = ("where", "n_rows", "seed", "max_classes", "positions")


@dataclass(frozen=True)
class RefittedProbes:
    """The probes of all labels at one hook.

    Attributes:
        hook: where.
        fitted: as a sweep fits them: labels that can share a fit do.
        classes: of each label, the names of its classes by number.
    """

    hook: str
    fitted: FittedLabels[str]
    classes: dict[str, list[str]]

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
        for label, names in self.classes.items():
            for at, number in enumerate(self.fitted.present[label].tolist()):
                p = float(known[label][0, at]) if label in known else np.nan
                lines.append((self.hook, label, names[number], p, int(told[label].classes[0]) == number))
        return pd.DataFrame(lines, columns=["hook", "label", "class", "probability", "likeliest"])


def refit(
    store: ActivationStore, config: Mapping[str, Any], estimator: str, hook: str, labels: list[str]
) -> RefittedProbes:
    """Fit a table's probes at one hook again, on the rows that they were fitted on.

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
        raise ValueError("these probes are of ranges of positions apart: take a table of all positions together.")
    rows, values = fitted_on(config, store, hook, labels)
    classes, codes = {}, {}
    for label, of_rows in values.items():
        names, numbers = np.unique(of_rows, return_inverse=True)
        if len(names) > 1:
            classes[label], codes[label] = [str(name) for name in names], numbers
    return RefittedProbes(hook, fit_labels(made(estimator), rows, codes), classes)
