"""The decoders that are known by name, and how any of them is fitted to a recording."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import clone
from torch import Tensor

from probes.base import as_numpy
from probes.population import (
    GaussianBayes,
    KalmanFilter,
    OptimalLinearDecoder,
    OptimalLinearEstimator,
    PoissonBayes,
    PopulationVector,
    TemplateDecoder,
    WienerCascade,
    WienerFilter,
)
from probes.population.base import Decoder
from workbench.decoding.recurrent import RecurrentDecoder
from workbench.decoding.variables import Variables

DECODERS: dict[str, Any] = {
    "population_vector": PopulationVector(),
    "optimal_linear": OptimalLinearDecoder(fit_intercept=True),
    "optimal_linear_estimator": OptimalLinearEstimator(fit_intercept=True),
    "wiener": WienerFilter(),
    "wiener_cascade": WienerCascade(),
    "kalman": KalmanFilter(shrinkage=0.01),
    "kalman_smoother": KalmanFilter(shrinkage=0.01, smooth=True),
    "poisson_bayes": PoissonBayes(),
    "poisson_bayes_continuous": PoissonBayes(continuity="fit"),
    "gaussian_bayes": GaussianBayes(),
    "gaussian_bayes_continuous": GaussianBayes(continuity="fit"),
    "template": TemplateDecoder(),
    "rnn": RecurrentDecoder("rnn"),
    "gru": RecurrentDecoder("gru"),
    "lstm": RecurrentDecoder("lstm"),
}
OF_COUNTS, OF_ACTIVATIONS = (
    ("optimal_linear", "wiener", "kalman", "poisson_bayes"),
    ("optimal_linear", "wiener", "kalman", "gaussian_bayes"),
)


def check_decoders(names: Sequence[str] | None) -> None:
    """Raise `ValueError` for a name that is none of `DECODERS`."""
    if unknown := [name for name in names or () if name not in DECODERS]:
        raise ValueError(f"no decoder is called {unknown[0]!r}: there are {', '.join(DECODERS)}.")


def estimates_of(
    decoder: Any,
    X: Float[Tensor, "n unit"],
    y: Float[np.ndarray, "n d"],
    groups: Int[np.ndarray, " n"],
    fit: Int[np.ndarray, " m"],
    shown: Int[np.ndarray, " k"],
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]]:
    """What a decoder fitted to some bins says of others, and how sure it is: NaN of one that does not say."""
    if not isinstance(decoder, Decoder):
        told = as_numpy(clone(decoder).fit(X[fit].numpy(), y[fit]).predict(X[shown].numpy())).reshape(-1, y.shape[1])
        return told, np.full_like(told, np.nan)
    fitted = clone(decoder).fit(X[fit], y[fit], groups[fit])
    told, std = (as_numpy(part) for part in fitted.predict(X[shown], groups[shown], return_std=True))
    return told, std


def fitting(decoder: Any, variables: Variables, longest: int) -> Any:
    """A decoder for these variables, whose lags are no longer than the stretches."""
    made = clone(decoder)
    settings = made.get_params()
    if "period" in settings:
        made.set_params(period=variables.period)
    if {"before", "after"} <= settings.keys():
        after = min(settings["after"], longest - 1)
        made.set_params(after=after, before=min(settings["before"], longest - 1 - after))
    return made


def settings_of(decoder: Any) -> tuple[str, dict[str, Any]]:
    """What a decoder's estimates follow from, besides the data."""
    return type(decoder).__qualname__, decoder.get_params()
