"""How far a step is felt: the Jacobians ∂h_T/∂h_t along a path, as products of those of single steps."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.dynamics.step import StateMap


def state_path(step: StateMap, start: Float[Tensor, "n d"], n_steps: int) -> Float[Tensor, "n time d"]:
    """The states h₀ … of so many steps from `start`, that state first."""
    found = [start.double()]
    for _ in range(n_steps):
        found.append(step(found[-1]))
    return torch.stack(found, 1)


def jacobian_products(step: StateMap, path: Float[Tensor, "time d"]) -> Float[Tensor, "time d d"]:
    """∂h_T/∂h_t for the last state T of a path and each t of it: J(h_{T−1}) ⋯ J(h_t), and the identity for t = T.

    Their norms are what becomes of a gradient on its way back through time (Pascanu et al. 2013, arXiv 1211.5063).

    Args:
        step: that the path follows.
        path: states one step apart, as `state_path` gives them.
    """
    rows = path.double()
    single = step.jacobians(rows[:-1])
    found = [torch.eye(rows.shape[1], dtype=torch.float64)]
    for jacobian in single.flip(0):
        found.append(found[-1] @ jacobian)
    return torch.stack(found[::-1])
