"""What the decoders have in common: recordings checked once, estimates with their uncertainty, the score."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import RegressorMixin
from torch import Tensor

from probes.base import Array, Probe, as_numpy
from probes.population.outputs import Outputs
from probes.population.scores import r2
from probes.rows import SHOWN_ROWS, returned
from probes.series import stretches

LEAST_SAMPLES = 2


class Decoder(RegressorMixin, Probe):
    """An estimator of what a population of neurons says: bins × neurons in, variables and their uncertainty out.

    A subclass has a parameter `period`, and gives `fit` and `predict` with these signatures:
    `fit(X, y, groups=None)` and `predict(X, groups=None, *, return_std=False, return_cov=False)`. X is [bins, neurons],
    y [bins] or [bins, d], groups [bins] the session or trial of each bin, whose bins stand together.

    Attributes:
        outputs_: the variables: how many, and which are circular.
        silent_: the numbers of the neurons that never changed in training.
    """

    period: Any
    outputs_: Outputs
    silent_: Int[np.ndarray, " silent"]
    _needs_counts = False

    def __sklearn_tags__(self) -> Any:
        """Many outputs at once; counts are not negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.positive_only = self._needs_counts
        return tags

    def _training(
        self, X: Any, y: Any, groups: Any
    ) -> tuple[Float[np.ndarray, "n neurons"], Float[np.ndarray, "n d"], list[slice]]:
        """A recording, the variables as columns, and the stretches of bins that follow one another, all checked."""
        X = self._matrix(X, reset=True)
        if len(X) < LEAST_SAMPLES:
            raise ValueError(f"X has n_samples = {len(X)}: a decoder needs at least {LEAST_SAMPLES} bins.")
        runs = stretches(groups, len(X))
        values = targets(y, len(X))
        self.outputs_ = Outputs.of(values, self.period)
        self.silent_ = np.flatnonzero(np.ptp(X, axis=0) == 0)
        return X, values.reshape(len(values), -1), runs

    def _reading(self, X: Any, groups: Any) -> tuple[Float[np.ndarray, "n neurons"], list[slice]]:
        """A recording to decode and its stretches, checked."""
        X = self._matrix(X, reset=False)
        return X, stretches(groups, len(X))

    def _matrix(self, X: Any, *, reset: bool) -> Float[np.ndarray, "n neurons"]:
        rows = self._rows(X, reset=reset)
        found = rows.source.detach().cpu().double().numpy() if isinstance(rows.source, Tensor) else rows.source
        found = np.asarray(found, dtype=np.float64)
        if self._needs_counts and (negative := np.flatnonzero((found < 0).any(1)).tolist()):
            raise ValueError(
                f"Negative values in data: X has counts below zero in {len(negative):,} of {len(found):,} bins "
                f"({shown(negative)})."
            )
        return found

    def _warn_of_silent(self) -> None:
        """Of neurons that a decoder cannot use, and so leaves out."""
        if len(self.silent_):
            warnings.warn(
                f"{len(self.silent_)} of {self.n_features_in_} neurons never change in training "
                f"({shown(self.silent_.tolist())}): they are left out.",
                UserWarning,
                stacklevel=3,
            )

    def _answer(
        self,
        estimate: Float[np.ndarray, "n d"],
        covariance: Float[np.ndarray, "n d d"] | None,
        like: Any,
        *,
        return_std: bool,
        return_cov: bool,
    ) -> Array | tuple[Array, Array]:
        """What `predict` returns: the estimate, with its standard deviation or covariance where that is asked for."""
        _refuse_both(return_std, return_cov)
        one = self.outputs_.one
        told = as_given(estimate[:, 0] if one else estimate, like)
        if covariance is None:
            return told
        if return_std:
            std = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
            return told, as_given(std[:, 0] if one else std, like)
        return told, as_given(covariance[:, 0, 0] if one else covariance, like)

    def _answer_of_vectors(
        self,
        vectors: Float[np.ndarray, "n k"],
        covariance: Float[np.ndarray, "*n k k"],
        like: Any,
        *,
        return_std: bool,
        return_cov: bool,
    ) -> Array | tuple[Array, Array]:
        """The same of estimates in which a circular variable is a vector, and of the covariance of these."""
        outputs = self.outputs_
        wanted = return_std or return_cov
        spread = outputs.decode_covariance(vectors, covariance) if wanted else None
        return self._answer(outputs.decode(vectors), spread, like, return_std=return_std, return_cov=return_cov)

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in every bin, with their standard deviation or covariance where that is asked for."""
        raise NotImplementedError

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """R² on these bins, the mean over outputs; of a circular one 1 − Σ(1 − cos Δ) / Σ(1 − cos Δ_mean)."""
        estimate = self.predict(X, groups)
        truth = targets(y, len(X))
        weight = None if sample_weight is None else as_numpy(sample_weight)
        shape = (len(truth), -1)
        found = r2(truth.reshape(shape), as_numpy(estimate).reshape(shape), self.outputs_.period, weight=weight)
        return float(np.mean(found))


def _refuse_both(return_std: bool, return_cov: bool) -> None:
    if return_std and return_cov:
        raise ValueError("return_std and return_cov are both set: ask for one, the covariance has the other in it.")


def refuse_fractions(**numbers: Any) -> None:
    """Raise `ValueError` where a setting, by its name, is no whole number."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} is {value!r}: it must be a whole number.")


def as_given(values: np.ndarray, like: Any) -> Array:
    """What comes out is of the type that went in."""
    if isinstance(like, Tensor):
        return returned(torch.from_numpy(np.ascontiguousarray(values)).to(like.device), like)
    return values


def targets(y: Any, n: int) -> Float[np.ndarray, " bin *output"]:
    """Variables in double precision, [n] or [n, d]. Raises `ValueError` for other lengths, and what is not finite."""
    y = as_numpy(y)
    if y.dtype.kind not in "biuf":
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"y holds {y.dtype.type.__name__} where a decoder needs numbers.") from None
    if y.ndim not in (1, 2) or len(y) != n or 0 in y.shape:
        raise ValueError(f"X has {n} bins and y the shape {y.shape}: y must be [bins] or [bins, outputs].")
    wrong = np.flatnonzero(~np.isfinite(y.reshape(n, -1)).all(1)).tolist()
    if wrong:
        raise ValueError(
            f"y contains NaN or infinity in {len(wrong):,} of {n:,} bins ({shown(wrong)}): leave these bins out."
        )
    return y.astype(np.float64)


def shown(numbers: list[int]) -> str:
    """The first few of them."""
    return ", ".join(map(str, numbers[:SHOWN_ROWS])) + (", …" if len(numbers) > SHOWN_ROWS else "")
