"""Trajectories that are pushed at one step, and what becomes of the distance to where they would have been."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.recurrent import Recurrent
from workbench.dynamics.trajectories import run_states, state_hooks
from workbench.interventions.positions import editable
from workbench.interventions.replacing import Replacement, replacing

RANDOM = "random"


def perturb(
    model: Recurrent,
    data: Dataset,
    directions: Mapping[str, Float[Tensor, " d"] | Float[np.ndarray, " d"] | Sequence[float]],
    *,
    at: int,
    amount: float = 1.0,
    n_random: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Push a subject's states along directions at one step, and follow how far from the unpushed ones they then are.

    Args:
        model: a `Recurrent`.
        data: the sequences it reads.
        directions: of its whole state, by name, of any length: an eigenvector's real part, or any other.
        at: the step.
        amount: how far states are pushed, in the states' unit.
        n_random: as many random directions beside them, as controls.
        seed: of these.

    Returns:
        One row a direction and step from `at` on: `direction`, `variant` ("direction" or "random"), `step`,
        `after` (steps since the push), `distance`, the mean over the sequences that are still going on, `low` and
        `high`, its quartiles, and `growth`, the step's mean log ratio of distances
        (ln|λ| where one mode alone is pushed).

    Raises:
        ValueError: a direction is zero, complex, not finite or of another width, or has a random one's name; there are
            none; the amount is not above 0; or `at` is not a step that counts.
    """
    at = whole_number(at, "at")
    if not 0 < amount < np.inf:
        raise ValueError(f"amount is {amount}: it must be a number above 0.")
    if not directions and not n_random:
        raise ValueError("there is no direction to push along: give one, or some random ones (n_random).")
    names = state_hooks(model)
    widths = [model.cfg.d_model] * len(names)
    pushes = {name: _unit(name, vector, sum(widths)) for name, vector in directions.items()}
    variants = dict.fromkeys(pushes, "direction")
    whole_number(n_random, "n_random")
    drawn = torch.from_numpy(np.random.default_rng(whole_number(seed, "seed")).standard_normal((n_random, sum(widths))))
    random = {f"{RANDOM} {k}": _unit(RANDOM, vector, sum(widths)) for k, vector in enumerate(drawn)}
    if taken := [name for name in random if name in pushes]:
        raise ValueError(f"a direction is called {taken[0]!r}, as a random one is: give it another name.")
    pushes |= random
    variants |= {name: RANDOM for name in pushes if name not in variants}
    where = {name: editable(model, data, name, at) for name in names}
    base = run_states(model, data, batch_size=len(data))
    parts = dict(zip(names, base.states.split(widths, -1), strict=True))
    tables = []
    for name, push in pushes.items():
        pushed = dict(zip(names, (amount * push).split(widths), strict=True))
        hooks = [(hook, replacing(where[hook], _put(parts[hook] + pushed[hook]))) for hook in names]
        with model.hooks(fwd_hooks=hooks):
            distance = (run_states(model, data, batch_size=len(data)).states - base.states).norm(dim=-1)
        about = {"direction": name, "variant": variants[name]}
        tables.append(pd.DataFrame(_by_step(distance, base.real, at)).assign(**about))
    return pd.concat(tables, ignore_index=True)


def _put(values: Float[Tensor, "seq time d"]) -> Replacement:
    """Rows as they are in `values`: an LSTM's memory and output are both put where they should be."""
    return lambda rows, place: values[place.seq.cpu(), place.pos.cpu()].to(rows)


def _unit(name: str, vector: Tensor | np.ndarray | Sequence[float], d: int) -> Float[Tensor, " d"]:
    vector = torch.as_tensor(vector).detach().cpu()
    if vector.is_complex():
        raise ValueError(f"direction {name!r} is complex: push along its real or its imaginary part.")
    vector = vector.double()
    if vector.shape != (d,) or not torch.isfinite(vector).all() or not vector.any():
        raise ValueError(f"direction {name!r} is {list(vector.shape)}: it must be {d} finite numbers, not all zero.")
    return vector / vector.norm()


def _by_step(distance: Float[Tensor, "seq time"], real: Tensor, at: int) -> list[dict[str, float]]:
    rows = []
    for step in range(at, distance.shape[1]):
        here = real[:, step] & real[:, at]
        if not here.any():
            break
        now = distance[here, step]
        low, high = now.quantile(torch.tensor([0.25, 0.75], dtype=now.dtype)).tolist()
        line = {"step": step, "after": step - at, "distance": float(now.mean()), "low": low, "high": high}
        growth = np.nan
        if step > at:
            before = distance[here, step - 1]
            moving = (before > 0) & (now > 0)
            growth = float((now[moving] / before[moving]).log().mean()) if moving.any() else np.nan
        rows.append(line | {"growth": growth})
    return rows
