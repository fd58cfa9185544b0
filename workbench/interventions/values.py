"""What stands at a subject's hooks while it is run: `[batch, pos, …]`, a recurrence's steps side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from models.evaluation import Batch, accepted, as_evaluated
from models.step_hooks import StepHookPoint, pos_dim_of

Rows = tuple[Int[Tensor, " n"], Int[Tensor, " n"]]


@torch.no_grad()
def values_at(model: Any, batch: Batch, hooks: Sequence[str], rows: Rows | None = None) -> dict[str, Tensor]:
    """What stands at some hooks in a run that makes no logits.

    Args:
        model: the subject.
        batch: what it is run on.
        hooks: names.
        rows: which sequences and positions are wanted; then nothing else is kept, and values are `[n, …]`.

    Raises:
        ValueError: nothing came through a hook.
    """
    return output_and_values(model, batch, hooks, rows, return_type=None)[1]


def output_and_values(
    model: Any, batch: Batch, hooks: Sequence[str], rows: Rows | None = None, return_type: str | None = "logits"
) -> tuple[Any, dict[str, Tensor]]:
    """The subject's output, too. Hooks that are attached already act first, so that what they put in is what stands.

    Raises:
        ValueError: nothing came through a hook.
    """
    stepwise = [name for name in hooks if isinstance(model.hook_dict[name], StepHookPoint)]
    steps, collect, _ = model.get_caching_hooks(stepwise) if stepwise else ({}, [], [])
    found: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any) -> None:
        value = value.detach().movedim(pos_dim_of(hook), 1)
        found[str(hook.name)] = value if rows is None else value[rows[0].to(value.device), rows[1].to(value.device)]

    taps = [*collect, *((name, keep) for name in hooks if name not in stepwise)]
    with as_evaluated(model), model.hooks(fwd_hooks=taps):
        output = model(**accepted(model, batch), return_type=return_type)
    for name, value in steps.items():
        keep(value, model.hook_dict[name])
    for name in hooks:
        if name not in found:
            raise ValueError(f"nothing came through {name} as the subject was run: it is not in use.")
    return output, {name: found[name] for name in hooks}
