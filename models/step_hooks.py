"""Hooks inside a recurrence: a point that fires once a time step, and edits of chosen steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities import Slice

HookFunction = Callable[..., Tensor | None]


def pos_dim_of(hook: HookPoint) -> int:
    """The axis of a hook's value that counts positions."""
    return 1 if hook.pos_dim is None else hook.pos_dim


class StepHookPoint(HookPoint):
    """A hook point that fires once a time step, with a value `[batch, 1, …]`.

    A hook finds the step in `hook.ctx["t"]`, forward and backward, and what it returns is what every later step goes
    on from. A backward hook gets the total derivative with respect to the step's value, through all later steps.

    Attributes:
        n_steps: steps of the recurrence that is being run, or was run last.
        run: how many recurrences have been begun; it tells the steps of one from those of the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = self.run = 0

    def begin(self, n_steps: int) -> None:
        """A recurrence of `n_steps` begins."""
        self.n_steps = n_steps
        self.run += 1

    def at(self, value: Tensor, t: int) -> Tensor:
        """Step `t`'s value, without an axis of positions, after all hooks."""
        axis = pos_dim_of(self)
        self.ctx["t"] = t
        given = self(value.unsqueeze(axis))
        if self.bwd_hooks and given.requires_grad:
            given.register_hook(partial(self._backward_at, t))
        return given.squeeze(axis)

    def _backward_at(self, t: int, grad: Tensor) -> None:
        # Runs before the module's own backward hooks: by then the forward pass has left its last step there.
        self.ctx["t"] = t


class StepRecorder:
    """Collects what a `StepHookPoint` holds at each step into one tensor per hook, `[batch, pos, …]`.

    A step that never comes, because no gradient reaches it, stays zero.
    """

    def __init__(
        self, cache: dict[str, Tensor], where: Slice, device: Any, remove_batch_dim: bool, suffix: str
    ) -> None:
        self.cache, self.where, self.device = cache, where, device
        self.remove_batch_dim, self.suffix = remove_batch_dim, suffix
        self.whole: dict[str, tuple[int, Tensor]] = {}
        self.slots: dict[str, dict[int, Any]] = {}

    def record(self, value: Tensor, hook: StepHookPoint) -> None:
        """Put one step's value, `[batch, 1, …]`, at its place."""
        name, axis = f"{hook.name}{self.suffix}", pos_dim_of(hook)
        value = value.squeeze(axis)
        if name not in self.whole or self.whole[name][0] != hook.run:
            self._allocate(name, value, hook, axis)
        slot = self.slots[name].get(hook.ctx["t"])
        if slot is not None:
            whole = self.whole[name][1]
            (whole if slot == "only" else whole.select(axis, slot)).copy_(value)

    def _allocate(self, name: str, value: Tensor, hook: StepHookPoint, axis: int) -> None:
        steps = torch.arange(hook.n_steps)
        kept = steps if self.where.mode == "identity" else self.where.apply(steps)
        # A single index drops the axis, as it does for any other hook.
        self.slots[name] = {int(kept): "only"} if kept.ndim == 0 else {int(t): i for i, t in enumerate(kept)}
        shape = (*value.shape[:axis], *kept.shape, *value.shape[axis:])
        whole = torch.zeros(shape, dtype=value.dtype, device=self.device or value.device)
        self.whole[name] = (hook.run, whole)
        self.cache[name] = whole[0] if self.remove_batch_dim else whole


def at_pos(fn: HookFunction, t: int) -> HookFunction:
    """A hook that calls `fn(value, hook)` with position `t` alone, `[batch, 1, …]`; every other stays as it is.

    Works on any hook: of a recurrence, where later steps go on from what `fn` returns, and of a whole sequence.

    Args:
        fn: what to do; None leaves the value.
        t: the position, counted from 0.

    Raises:
        ValueError: `t` is negative.
    """
    if t < 0:
        raise ValueError(f"position {t} is negative: positions are counted from 0.")

    def edit(value: Tensor, hook: HookPoint) -> Tensor | None:
        axis, place = pos_dim_of(hook), t - _first_position(hook)
        if not 0 <= place < value.shape[axis]:
            return None
        part = value.narrow(axis, place, 1)
        new = fn(part, hook)
        if new is None or value.shape[axis] == 1:
            return new
        before, after = value.narrow(axis, 0, place), value.narrow(axis, place + 1, value.shape[axis] - place - 1)
        return torch.cat([before, new.expand_as(part), after], dim=axis)

    return edit


def replace_at(values: Tensor, mask: Bool[Tensor, "*batch pos"]) -> HookFunction:
    """A hook that puts `values` where `mask` is True.

    Every single-step patch of a sequence is one batch of as many rows as it has positions:
    `replace_at(clean.expand(n_pos, -1, -1), torch.eye(n_pos, dtype=torch.bool))`.

    Args:
        values: `[batch, pos, …]`, or what broadcasts to it.
        mask: `[pos]`, or `[batch, pos]` for other positions in each row.
    """

    def edit(value: Tensor, hook: HookPoint) -> Tensor | None:
        axis = pos_dim_of(hook)
        here = positions_seen(value, hook)
        if here.stop > mask.shape[-1]:  # new positions of a generation, of which nothing was said
            return None
        chosen = mask[..., here].to(value.device)
        if chosen.ndim == 2:
            chosen = chosen.view(len(chosen), *[1] * (axis - 1), -1)
        chosen = chosen.view(*chosen.shape, *[1] * (value.ndim - axis - 1))
        return torch.where(chosen, values.narrow(axis, here.start, value.shape[axis]).to(value), value)

    return edit


def positions_seen(value: Tensor, hook: HookPoint) -> slice:
    """Which positions of the sequence a hook's value covers: one step, the newest of a generation, or all."""
    first = _first_position(hook)
    return slice(first, first + value.shape[pos_dim_of(hook)])


def _first_position(hook: HookPoint) -> int:
    """The position that the first entry of a hook's value belongs to, where a subject goes on (`generate`) too."""
    return hook.ctx.get("offset", 0) + (hook.ctx["t"] if isinstance(hook, StepHookPoint) else 0)
