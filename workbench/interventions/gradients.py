"""`slopes_at`: a metric's gradient in what stands at a subject's hooks, with all parameters left alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.evaluation import Batch
from models.step_hooks import HookFunction, pos_dim_of, positions_seen
from workbench.interventions.metrics import Metric, measured
from workbench.interventions.pairs import run


class Slopes(NamedTuple):
    """Of one run, each hook's as `[batch, pos, …]`.

    Attributes:
        metric: of each sequence.
        values: what stood at the hooks.
        slopes: the metric's gradient there, through all that follows; in a recurrence later steps too.
    """

    metric: Float[Tensor, " batch"]
    values: dict[str, Tensor]
    slopes: dict[str, Tensor]


def slopes_at(
    model: Any,
    batch: Batch,
    metric: Metric,
    hooks: Sequence[str],
    *,
    moved: Mapping[str, tuple[Tensor, Bool[Tensor, "..."]]] | None = None,
    backward: bool = True,
) -> Slopes:
    """One run and, unless `backward` is False, one pass back.

    Args:
        model: the subject.
        batch: what it is run on, and the metric given.
        metric: of each sequence's output alone.
        hooks: names.
        moved: for some hooks other values, `[batch, pos, …]`, and where they stand instead. Gradients go past them, so
            that of a recurrence's steps all of which are moved each still has its total derivative.
        backward: whether gradients are wanted.

    Raises:
        ValueError: the metric does not give one finite number a sequence, or has no gradient, or nothing came through a
            hook.
    """
    seen: dict[str, list[tuple[int, Tensor, Tensor]]] = defaultdict(list)

    def tap(value: Tensor, hook: Any) -> Tensor:
        axis, where = pos_dim_of(hook), positions_seen(value, hook)
        if moved is not None and hook.name in moved:
            values, chosen = (x[:, where].movedim(1, axis) for x in moved[hook.name])
            value = value + torch.where(chosen, values.to(value) - value.detach(), 0)
        # What is added is zero, and its gradient that of the value, wherever in a loop this is.
        nothing = torch.zeros_like(value, requires_grad=backward)
        seen[hook.name].append((where.start, value.detach().movedim(axis, 1), nothing))
        return value + nothing

    taps: list[tuple[str, HookFunction]] = [(name, tap) for name in hooks]
    with torch.inference_mode(False), torch.set_grad_enabled(backward), model.hooks(fwd_hooks=taps):
        batch = {name: x.clone() for name, x in batch.items()}  # what was made in inference mode has no gradients
        value = measured(metric, run(model, batch), batch)
        for name in hooks:
            if name not in seen:
                raise ValueError(f"nothing came through {name} as the subject was run: it is not in use.")
        if backward and not value.requires_grad:
            raise ValueError("the metric has no gradient: it must be made of the output by differentiable steps.")
        zeros = [nothing for name in hooks for _, _, nothing in seen[name]]
        gradients = torch.autograd.grad(value.sum(), zeros, allow_unused=True) if backward else (None,) * len(zeros)
    found = {id(z): torch.zeros_like(z) if g is None else g for z, g in zip(zeros, gradients, strict=True)}
    values, slopes = {}, {}
    for name in hooks:
        axis, in_order = pos_dim_of(model.hook_dict[name]), sorted(seen[name], key=lambda step: step[0])
        values[name] = torch.cat([kept for _, kept, _ in in_order], 1)
        if backward:
            slopes[name] = torch.cat([found[id(nothing)].movedim(axis, 1) for _, _, nothing in in_order], 1)
    return Slopes(value.detach().double().cpu(), values, slopes)
