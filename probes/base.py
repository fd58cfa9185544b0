"""What the probes have in common: input checked once, labels as numbers, answers of the type that went in."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from probes.rows import SHOWN_ROWS, Rows, returned

Array = np.ndarray | Tensor
# Scores, predictions: of so many rows at once.
FLOATS = (np.float64, np.float32, np.float16)


class Probe(BaseEstimator):
    """An estimator of rows: NumPy or torch, in memory or mapped, in any floating-point format."""

    def _rows(self, X: Any, *, reset: bool) -> Rows:
        """X, checked: two-dimensional, finite, as wide as what was fitted on."""
        if isinstance(X, Tensor):
            self._check_tensor(X, reset=reset)
        else:
            X = validate_data(self, X, reset=reset, dtype=FLOATS, ensure_all_finite=False)
        rows = Rows(X)
        rows.refuse_not_finite()
        return rows

    def _check_tensor(self, X: Tensor, *, reset: bool) -> None:
        if X.ndim != 2:
            raise ValueError(f"X has shape {tuple(X.shape)}: it must be [rows, columns].")
        if X.is_complex() or 0 in X.shape:
            raise ValueError(f"X of shape {tuple(X.shape)} and {X.dtype}: there must be real numbers in it.")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input."
            )

    def _weight(self, sample_weight: Any, rows: Rows) -> Float[Tensor, " n"] | None:
        """Weights of the rows, checked, in double precision."""
        if sample_weight is None:
            return None
        if isinstance(sample_weight, Tensor):
            sample_weight = sample_weight.detach().cpu().numpy()
        weight = _check_sample_weight(sample_weight, np.empty((rows.n, 1)), dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("every sample_weight is zero: there is nothing to fit.")
        return torch.from_numpy(weight).to(rows.device)


def as_numpy(y: Any) -> np.ndarray:
    """Labels or targets as an array, wherever they are. Raises `ValueError` where there are none."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None.")
    return y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)


def class_codes(y: Any, rows: Rows) -> tuple[np.ndarray, Int[Tensor, " n"]]:
    """The classes of one target, and the number of each row's. Raises `ValueError` for one class only."""
    y = column_or_1d(as_numpy(y), warn=True)
    _refuse_no_labels(y, rows)
    classes, codes = _numbered(y)
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes[0].item()!r}: rows of at least two are needed.")
    return classes, torch.from_numpy(codes).to(rows.device)


def _refuse_no_labels(y: np.ndarray, rows: Rows) -> None:
    if y.ndim not in (1, 2) or y.shape[0] != rows.n:
        raise ValueError(f"X has {rows.n} rows and y the shape {y.shape}: each row needs its label.")
    refuse_missing(y, "y")
    if y.dtype.kind in "fc" and not (y == np.trunc(y.real)).all():
        raise ValueError("Unknown label type: continuous. Labels are classes: whole numbers, Booleans or strings.")


def refuse_missing(y: np.ndarray, name: str) -> None:
    """Raise `ValueError` that says which rows have no label: NaN, or None among strings."""
    if y.dtype.kind not in "fcO":
        return
    if y.dtype.kind == "O":
        from pandas import isna  # slow to import
    else:
        isna = np.isnan
    missing = np.flatnonzero(isna(y).reshape(len(y), -1).any(1)).tolist()
    if missing:
        shown = ", ".join(map(str, missing[:SHOWN_ROWS])) + (", …" if len(missing) > SHOWN_ROWS else "")
        raise ValueError(
            f"{name} is missing (NaN or None) in {len(missing):,} of {len(y):,} rows ({shown}): leave these rows out."
        )


def _numbered(y: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, " n"]]:
    """The classes in order, and the number of each row's."""
    if y.dtype.kind in "biu" and len(y):  # two numbers, most often: no need to sort
        low, high = y.min(), y.max()
        is_high = y == high
        if low != high and (is_high | (y == low)).all():
            return np.array([low, high]), is_high.astype(np.int64)
    return np.unique(y, return_inverse=True)


def taken(X: Array, rows: Int[np.ndarray, " chosen"]) -> Array:
    """Some rows by number, wherever they are; those that follow one another as a view."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return X[int(rows[0]) : int(rows[-1]) + 1]
    return X[torch.from_numpy(rows).to(X.device)] if isinstance(X, Tensor) else X[rows]


class ClassifierProbe(ClassifierMixin, Probe):
    """A probe of classes: one target of two or more, or many of two classes each.

    Attributes:
        classes_: [K]; of many targets the two that all of them have.
        n_targets_: how many columns `y` had; None where it had none.
    """

    classes_: np.ndarray
    n_targets_: int | None

    def __sklearn_tags__(self) -> Any:
        """Many targets at once are allowed, of two classes each."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_label = True
        return tags

    @staticmethod
    def _columns(y: Any, rows: Rows) -> tuple[np.ndarray, int | None]:
        """Labels as columns, a target each, and how many targets there are."""
        y = as_numpy(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        _refuse_no_labels(y, rows)
        return (y[:, None], None) if y.ndim == 1 else (y, y.shape[1])

    def _codes(self, y: Any, rows: Rows) -> Int[Tensor, "n t"]:
        """The number of each row's class, target by target; what the classes are is kept."""
        columns, self.n_targets_ = self._columns(y, rows)
        many = self.n_targets_ is not None
        # Hundreds of targets, of two classes each, would take more memory than the rows.
        found, codes = np.empty(0), np.empty(columns.shape, np.int64 if columns.shape[1] == 1 else np.int8)
        for target in range(columns.shape[1]):
            classes, codes[:, target] = _numbered(columns[:, target])
            which = f"column {target} of y" if many else "y"
            if len(classes) < 2:
                raise ValueError(
                    f"{which} has one class only, {classes[0].item()!r}: a probe needs rows of at least two."
                )
            if many and len(classes) > 2:
                raise ValueError(
                    f"{which} has {len(classes)} classes: of many targets at once each must have two; fit this one by "
                    "itself."
                )
            if target and (classes != found).any():
                raise ValueError(
                    f"{which} has the classes {classes.tolist()} and column 0 {found.tolist()}: many targets at once "
                    "must have the same two, such as 0 and 1."
                )
            found = classes
        self.classes_ = found
        return torch.from_numpy(codes).to(rows.device)

    def _codes_among(self, classes: Any, y: Any, rows: Rows, *, known: bool = False) -> Int[Tensor, "n t"]:
        """The same of some of the rows, which need not have all the classes; known ones are those of earlier rows."""
        found = np.unique(as_numpy(classes))
        columns, n_targets = self._columns(y, rows)
        if known and not np.array_equal(found, self.classes_):
            raise ValueError(f"classes are {found.tolist()}, and were {self.classes_.tolist()} in the first call.")
        if known and n_targets != self.n_targets_:
            raise ValueError(f"y has {n_targets or 1} targets, and the first rows had {self.n_targets_ or 1}.")
        if len(found) < 2 or (n_targets is not None and len(found) > 2):
            wanted = "two or more" if n_targets is None else "two, the same for all targets"
            raise ValueError(f"classes are {found.tolist()}: there must be {wanted}.")
        codes = np.searchsorted(found, columns).clip(max=len(found) - 1)
        if (unseen := found[codes] != columns).any():
            raise ValueError(
                f"y has {columns[unseen][0].item()!r}, which is none of the classes {found.tolist()}: name all that "
                "may come in the first call, partial_fit(X, y, classes=[…])."
            )
        self.classes_, self.n_targets_ = found, n_targets
        return torch.from_numpy(codes).to(rows.device)

    def _labels(self, codes: Int[Tensor, " row *target"], like: Array) -> Array:
        """Classes by number, of the type of the rows where they are numbers."""
        labels = self.classes_[codes.cpu().numpy()]
        if isinstance(like, Tensor) and labels.dtype.kind in "biuf":
            return torch.from_numpy(labels).to(like.device)
        return labels

    @property
    def is_binary_(self) -> bool:
        """Whether there is one target, of two classes."""
        return self.n_targets_ is None and len(self.classes_) == 2

    def _predicted(self, scores: Float[Tensor, "n t"], like: Array) -> Array:
        """The class with the highest score, or, of two, the one on whose side of zero it is."""
        if self.n_targets_ is None and not self.is_binary_:
            return self._labels(scores.argmax(1), like)
        codes = (scores > 0).long()
        return self._labels(codes[:, 0] if self.is_binary_ else codes, like)

    def _probabilities(self, scores: Float[Tensor, "n t"], like: Array) -> Array:
        """Of scores that are log odds."""
        if self.n_targets_ is not None:
            return returned(scores.sigmoid(), like)
        if self.is_binary_:
            return returned(torch.cat([-scores, scores], 1).sigmoid(), like)
        return returned(scores.softmax(1), like)


class LinearClassifierProbe(ClassifierProbe):
    """A probe whose scores are linear in the row.

    Attributes:
        coef_: [1, d] for one target of two classes, [K, d] for one of K, [t, d] for t targets.
        intercept_: as many.
    """

    coef_: Array
    intercept_: Array

    def _keep(self, coef: Float[Tensor, "t d"], intercept: Float[Tensor, " t"], rows: Rows) -> None:
        self.coef_, self.intercept_ = (returned(part.to(rows.dtype), rows.source) for part in (coef, intercept))

    def _scores(self, X: Any) -> tuple[Float[Tensor, "n t"], Array]:
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        W, b = (torch.as_tensor(part).to(rows.device, rows.dtype) for part in (self.coef_, self.intercept_))
        return torch.cat([torch.addmm(b, x, W.T) for _, x in rows.chunks()]), rows.source

    def decision_function(self, X: Any) -> Array:
        """Above zero for the second class: [n] for one target of two classes, [n, K] for one of K, [n, t] for t."""
        scores, like = self._scores(X)
        return returned(scores[:, 0] if self.is_binary_ else scores, like)

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row: [n], or [n, t] for t targets."""
        return self._predicted(*self._scores(X))


class LogLinearProbe(LinearClassifierProbe):
    """A linear probe whose scores are log odds."""

    def predict_proba(self, X: Any) -> Array:
        """Of each class [n, K]; for t targets, of the second class of each [n, t]."""
        return self._probabilities(*self._scores(X))
