"""Probes of several labels of the same rows: one fit for all that can share one, a fit each for the others."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import clone

from probes.base import Array, LinearClassifierProbe, as_numpy

# What labels are called.
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Told:
    """What the probe of one label says of some rows.

    Attributes:
        classes: the likeliest class of each row, by number.
        decision: what ranks rows of two classes, above zero or one half for class 1; None where there is no such thing.
    """

    classes: Int[np.ndarray, " n"]
    decision: np.ndarray | None


@dataclass(frozen=True)
class FittedLabels(Generic[Name]):
    """Fitted probes of several labels.

    Attributes:
        shared: the probe of many targets, of two classes each; None where no labels share one.
        places: which of its targets tell a label: one of two classes, or one for each class that rows had.
        present: those classes, by number.
        alone: the probe of each other label.
    """

    shared: Any | None
    places: dict[Name, slice]
    present: dict[Name, Int[np.ndarray, " classes"]]
    alone: dict[Name, Any]

    def tell(self, X: Array) -> dict[Name, Told]:
        """What each label's probe says of rows X [n, d]."""
        found = {name: Told(_numbers(probe.predict(X)), _decision(probe, X)) for name, probe in self.alone.items()}
        if self.shared is None:
            return found
        scores = as_numpy(self.shared.decision_function(X))
        for name, place in self.places.items():
            of_label = scores[:, place]
            if of_label.shape[1] == 1:
                found[name] = Told(self.present[name][_numbers(of_label[:, 0] > 0)], of_label[:, 0])
            else:
                found[name] = Told(self.present[name][of_label.argmax(1)], None)
        return found

    def probabilities(self, X: Array) -> dict[Name, Float[np.ndarray, "n classes"]]:
        """Of the classes that rows to fit on had, of each label."""
        found = {name: as_numpy(probe.predict_proba(X)) for name, probe in self.alone.items()}
        if self.shared is None:
            return found
        ones = as_numpy(self.shared.predict_proba(X))
        ones = np.maximum(ones, np.finfo(ones.dtype).tiny)  # so that classes that are all unlikely still have shares
        for name, place in self.places.items():
            p = ones[:, place]
            found[name] = np.concatenate([1 - p, p], 1) if p.shape[1] == 1 else p / p.sum(1, keepdims=True)
        return found


def fit_labels(probe: Any, X: Array, codes: Mapping[Name, Int[np.ndarray, " n"]]) -> FittedLabels[Name]:
    """Fit clones of a probe to rows X [n, d] and the class of each row by number, of at least two for each label.

    Labels of two classes share one fit where that changes none of them, as in linear probes of many targets, and
    labels of more where it solves their classes one against the rest (`LogisticProbe(multi_class="one_vs_rest")`).
    """
    present = {name: np.unique(values) for name, values in codes.items()}
    columns: list[np.ndarray] = []
    places: dict[Name, slice] = {}
    for name, values in codes.items():
        if not _shares(probe, len(present[name])):
            continue
        classes = present[name][1:] if len(present[name]) == 2 else present[name]
        places[name] = slice(len(columns), len(columns) + len(classes))
        columns += [values == k for k in classes]
    if len(columns) == 1:  # a fit of its own is what the probe would do for one label
        places = {}
    shared = clone(probe).fit(X, np.stack(columns, axis=1).astype(np.int8)) if places else None
    alone = {name: clone(probe).fit(X, values) for name, values in codes.items() if name not in places}
    return FittedLabels(shared, places, present, alone)


def _shares(probe: Any, n_classes: int) -> bool:
    if not isinstance(probe, LinearClassifierProbe):  # others learn one hidden layer for all targets
        return False
    return n_classes == 2 or getattr(probe, "multi_class", None) == "one_vs_rest"


def _numbers(classes: Any) -> Int[np.ndarray, " n"]:
    return as_numpy(classes).astype(np.int64)


def _decision(probe: Any, X: Array) -> np.ndarray | None:
    """Of a label of two classes."""
    if len(probe.classes_) != 2:
        return None
    if hasattr(probe, "decision_function"):
        return as_numpy(probe.decision_function(X))
    return as_numpy(probe.predict_proba(X))[:, 1] if hasattr(probe, "predict_proba") else None
