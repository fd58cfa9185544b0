"""A unit clamped to its mean at every step: what the loss is then where a label holds, and where it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated, asked_positions
from models.progress import progress
from workbench.interventions import Subspace, edit_at, set_to

ABLATED, RANDOM = "unit", "random unit"
BATCH = 128


def ablate_units(
    model: Any,
    data: Dataset,
    hook: str,
    units: Sequence[int],
    labels: Mapping[str, Bool[np.ndarray, " counted"]],
    means: Float[np.ndarray, " unit"],
    *,
    n_random: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Clamp units, one after the other, to their mean at every position, and compare losses with the unclamped ones.

    A position's loss is that of what it is to say (the next token, or its target), and counts to the label that holds
    at the position itself.

    Args:
        model: the subject.
        data: the sequences; held-out ones, where units were chosen on others.
        hook: whose units.
        units: which.
        labels: Booleans for every position that counts (neither BOS nor padding), in reading order, by name.
        means: what each unit of the hook is clamped to.
        n_random: as many other units beside them, drawn at random, as controls.
        seed: of the draw.

    Returns:
        One row a unit and label: `hook`, `unit`, `variant` ("unit" or "random unit"), `label`, `loss_on` and `loss_off`
        (unclamped, in the loss's own unit, where the label holds and where not), `rise_on` and `rise_off` (how much
        more it is then), `n_on` and `n_off` positions.

    Raises:
        ValueError: there is no such hook or unit, or labels of other positions.
    """
    (hook,) = model.match_hooks(hook)
    width = len(means)
    if unknown := [unit for unit in units if not 0 <= unit < width]:
        raise ValueError(f"there is no unit {unknown[0]}: {hook} has {width}, numbered from 0.")
    n = int(data.counted.sum())
    for name, label in labels.items():
        if len(label) != n:
            raise ValueError(f"{name} has {len(label)} values, but {n} positions count: one is needed for each.")
        if label.dtype != bool:
            raise ValueError(
                f"{name} is {label.dtype}: a label must be Booleans, whether it holds (such as depth > 0)."
            )
    whole_number(n_random, "n_random")
    others = np.setdiff1d(np.arange(width), np.asarray(units))
    rng = np.random.default_rng(whole_number(seed, "seed"))
    drawn = rng.choice(others, min(n_random, len(others)), replace=False)
    chosen = [(int(unit), ABLATED) for unit in dict.fromkeys(units)] + [(int(unit), RANDOM) for unit in drawn]
    base, asked = _losses(model, data, hook, None, 0.0, width)
    rows = []
    for unit, variant in progress(chosen, desc="ablation", unit="unit"):
        rise = _losses(model, data, hook, unit, float(means[unit]), width)[0] - base
        for name, label in labels.items():
            on, off = (asked & torch.tensor(which) for which in (label, ~label))
            about = {"hook": hook, "unit": unit, "variant": variant, "label": name}
            about |= {"loss_on": _mean(base, on), "loss_off": _mean(base, off)}
            about |= {"rise_on": _mean(rise, on), "rise_off": _mean(rise, off)}
            rows.append(about | {"n_on": int(on.sum()), "n_off": int(off.sum())})
    return pd.DataFrame(rows)


def _losses(
    model: Any, data: Dataset, hook: str, unit: int | None, value: float, width: int
) -> tuple[Float[Tensor, " counted"], Bool[Tensor, " counted"]]:
    """The loss at each position that counts, and which of them are asked for anything."""
    edit = None if unit is None else set_to(Subspace.along(torch.eye(width)[[unit]]), value)
    losses, asked = [], []
    with as_evaluated(model), torch.inference_mode():
        for rows in torch.arange(len(data)).split(BATCH):
            part, batch = data.select(rows), data.batch(rows)
            hooks = [] if edit is None else edit_at(model, part, hook, edit, bos=True)
            with model.hooks(fwd_hooks=hooks):
                loss = model(**batch, return_type="loss", loss_per_token=True)
            loss = torch.nn.functional.pad(loss, (0, batch["input"].shape[1] - loss.shape[1]))
            counted = data.counted[rows]
            losses.append(loss.cpu()[counted].double())
            asked.append(asked_positions(batch)[counted])
    return torch.cat(losses), torch.cat(asked)


def _mean(values: Float[Tensor, " n"], where: Bool[Tensor, " n"]) -> float:
    return float(values[where].mean()) if where.any() else float("nan")
