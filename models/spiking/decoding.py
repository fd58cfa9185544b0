"""Linear decoders of a population's activity, and what of any fitted linear regressor a connection needs."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import clone
from sklearn.linear_model import Ridge
from torch import Tensor

Activities = Float[Tensor, "sample neuron"]
Values = Float[Tensor, "sample d"]


def regressor(activities: Activities, regularisation: float) -> Ridge:
    """The usual regressor: `D = (AᵀA + m σ² I)⁻¹ AᵀX` for m samples, σ a share of the largest activity.

    Raises:
        ValueError: no cell is active at any point.
    """
    largest = float(activities.max())
    if largest <= 0:
        raise ValueError("no cell of the population is active at any point: nothing can be decoded from it.")
    strength = len(activities) * (regularisation * largest) ** 2
    return Ridge(alpha=strength, fit_intercept=False, solver="cholesky")


def fitted(decoder: Any, activities: Activities, values: Values | None) -> tuple[Tensor, Tensor]:
    """Decoders `[neuron, d]` and offset `[d]` of a linear regressor, in double.

    Args:
        decoder: a fitted regressor; or an unfitted one, of which a copy is fitted.
        activities: `[sample, neuron]`, in Hz.
        values: what to decode; None if the regressor is fitted.

    Raises:
        ValueError: it is fitted and to be fitted, or neither; it is not linear; or of another number of cells; or
            values are NaN or infinite.
    """
    is_fitted = hasattr(decoder, "coef_")
    if is_fitted == (values is not None):
        raise ValueError(
            "the decoder is fitted already: leave `function` out."
            if is_fitted
            else "the decoder is not fitted: fit it to the population's activities, or give the `function` to decode."
        )
    if values is not None:
        if not bool(torch.isfinite(values).all()):
            raise ValueError("the function gives NaN or infinite numbers at some of the points it is decoded at.")
        decoder = clone(decoder).fit(activities.cpu().numpy(), values.double().cpu().numpy())
    if not hasattr(decoder, "coef_"):
        raise ValueError(f"a {type(decoder).__name__} is no linear regressor: it has no coef_.")
    coef = np.atleast_2d(_array(decoder.coef_))
    if coef.shape[1] != activities.shape[1]:
        raise ValueError(f"the decoder is of {coef.shape[1]} cells, but the population has {activities.shape[1]}.")
    offset = np.broadcast_to(_array(getattr(decoder, "intercept_", 0.0)), coef.shape[:1])
    return torch.from_numpy(coef.T.copy()), torch.from_numpy(offset.copy())


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=float)
