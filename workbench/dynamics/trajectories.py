"""The states that a subject goes through, and the principal axes of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import accepted, as_evaluated
from models.hooks import HookedModel
from workbench.dynamics.step import cells_of

BATCH = 256


@dataclass(frozen=True)
class Trajectories:
    """The whole state after each step, `[seq, time, d]`: layers one behind the other, `h` before `c`.

    Attributes:
        states: in double precision.
        real: which steps count; BOS and padding do not.
    """

    states: Float[Tensor, "seq time d"]
    real: Bool[Tensor, "seq time"]

    def at_real(self) -> Float[Tensor, "n d"]:
        """The states that count, in the order of sequences and steps."""
        return self.states[self.real]


def state_hooks(model: HookedModel) -> list[str]:
    """The hooks that a subject's state is read from, in the order in which it holds them."""
    return [
        f"blocks.{layer}.rnn.hook_{name}" for layer, cell in enumerate(cells_of(model)) for name in cell.state_names
    ]


def run_states(model: Any, data: Dataset, *, batch_size: int = BATCH) -> Trajectories:
    """Run a subject on sequences, `batch_size` at a time, and keep its state after each step.

    Raises:
        ValueError: it is no map from state to state.
    """
    hooks, found = state_hooks(model), []
    with as_evaluated(model), torch.inference_mode():
        for rows in torch.arange(len(data)).split(batch_size):
            given = accepted(model, data.batch(rows))
            _, cache = model.run_with_cache(**given, names_filter=hooks, return_cache_object=False)
            found.append(torch.cat([cache[hook] for hook in hooks], -1).double().cpu())
    return Trajectories(torch.cat(found).clone(), data.counted)


@dataclass(frozen=True)
class PrincipalAxes:
    """The directions in which states vary most.

    Attributes:
        centre: the states' mean.
        axes: orthonormal rows, the most varying first.
        explained: the share of the variance along each.
    """

    centre: Float[Tensor, " d"]
    axes: Float[Tensor, "k d"]
    explained: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, states: Float[Tensor, "n d"], n_axes: int | None = None) -> "PrincipalAxes":
        """Of some states: `n_axes`, or all. The largest number of each axis is positive."""
        rows = states.double()
        centre = rows.mean(0)
        _, sizes, axes = torch.linalg.svd(rows - centre, full_matrices=False)
        signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
        share = sizes.square() / sizes.square().sum().clamp(min=1e-300)
        return cls(centre, (axes * signs)[:n_axes], share[:n_axes].numpy())

    def first(self, k: int) -> "PrincipalAxes":
        """The k along which states vary most."""
        return PrincipalAxes(self.centre, self.axes[:k], self.explained[:k])

    def project(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n k"]:
        """Coordinates along the axes."""
        return (states.double() - self.centre) @ self.axes.T


def axis_columns(place: Float[np.ndarray, "n k"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Coordinates as columns `pc1`, `pc2`, …"""
    return {f"pc{k + 1}": place[:, k] for k in range(place.shape[1])}
