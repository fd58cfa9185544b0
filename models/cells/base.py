"""`Cell`: one layer of a recurrence, fused until a hook inside it is attached."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from models.hooks import attached
from models.step_hooks import StepHookPoint

Input = Float[Tensor, "batch pos d_in"]
Hidden = Float[Tensor, "batch pos d_hidden"]
State = tuple[Float[Tensor, "batch d_hidden"], ...]  # (h,), or (h, c)
At = Callable[[str, Tensor], Tensor]
# What a step's input contributes, given that, the state before the step and its number.
Feed = Callable[[Float[Tensor, "batch d_projected"], State, int], Float[Tensor, "batch d_projected"]]


class Cell(nn.Module, ABC):
    """One layer of a recurrence over `[batch, pos, d_in]`.

    A subclass names its hooks (`values`: `h` is `hook_h`, and so on), what its state is made of (`state_names`) and
    gives `project`, `step` and, where PyTorch has a kernel for it, `fused`. Every hook fires once a step with a value
    `[batch, 1, d_hidden]`, and what a hook returns is what the step and all later ones go on from.

    While no hook inside is attached the fused form runs; the explicit one is equal to it and takes the inputs of all
    steps through one product beforehand.
    """

    name: ClassVar[str]
    values: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.d_in, self.d_hidden = d_in, d_hidden
        for value in self.values:
            setattr(self, f"hook_{value}", StepHookPoint())

    @abstractmethod
    def project(self, x: Input) -> Float[Tensor, "batch pos d_projected"]:
        """What the inputs of all steps contribute, which no state changes."""

    @abstractmethod
    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        """The next state; `at(name, value)` passes a value through its hook."""

    @abstractmethod
    def fused(self, x: Input, state: State) -> tuple[Hidden, State]:
        """All steps, past the hooks."""

    def fused_up_to(self, x: Input, state: State, length: Int[Tensor, " batch"]) -> tuple[Hidden, State]:
        """The same, with the state after each row's own last step."""
        hidden, _ = self.fused(x, state)
        return hidden, (hidden[torch.arange(len(x), device=x.device), length - 1],)

    @abstractmethod
    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the weights anew."""

    def zeros(self, batch: int, like: Tensor) -> State:
        """The state before the first step."""
        return tuple(like.new_zeros(batch, self.d_hidden) for _ in self.state_names)

    def forward(
        self,
        x: Input,
        state: State | None = None,
        reverse: bool = False,
        mask: Bool[Tensor, "batch pos"] | None = None,
        feed: Feed | None = None,
    ) -> tuple[Hidden, State]:
        """The hidden state `h` after each step, and the whole state after the last real one.

        Args:
            x: the inputs.
            state: the state before the first step; zeros where it is None.
            reverse: run from the last real position to the first.
            mask: which positions are real; padding stands at the end. None where all are, or where nobody asks for
                the last state of rows that run forward.
            feed: what a step's input becomes, where it depends on the state before it: `feed(projected, state, t)`.
        """
        state = self.zeros(len(x), x) if state is None else state
        points = {name: point for name in self.values if attached(point := getattr(self, f"hook_{name}"))}
        if points or feed or not self.has_kernel:
            return self._explicit(x, state, points, reverse, mask, feed)
        order = _reversed_order(x, mask) if reverse else None
        x = x if order is None else x.gather(1, order.expand_as(x))
        hidden, state = self.fused(x, state) if mask is None else self.fused_up_to(x, state, mask.sum(1))
        return hidden if order is None else hidden.gather(1, order.expand_as(hidden)), state

    @property
    def has_kernel(self) -> bool:
        """Whether `fused` is another computation than the explicit one."""
        return True

    def _explicit(
        self,
        x: Input,
        state: State,
        points: dict[str, StepHookPoint],
        reverse: bool,
        mask: Tensor | None,
        feed: Feed | None = None,
    ) -> tuple[Hidden, State]:
        n_steps = x.shape[1]
        for point in points.values():
            point.begin(n_steps)
        projected = self.project(x).unbind(1)
        hidden: list[Tensor] = [x] * n_steps
        for t in reversed(range(n_steps)) if reverse else range(n_steps):
            at = partial(_after_hooks, points, t)
            new = self.step(feed(projected[t], state, t) if feed else projected[t], state, at)
            if mask is not None:  # nothing happens where there is padding
                real = mask[:, t, None]
                new = tuple(torch.where(real, after, before) for after, before in zip(new, state, strict=True))
            state = new
            hidden[t] = state[0]
        return torch.stack(hidden, 1), state


def _after_hooks(points: dict[str, StepHookPoint], t: int, name: str, value: Tensor) -> Tensor:
    return points[name].at(value, t) if name in points else value


def _reversed_order(x: Tensor, mask: Tensor | None) -> Tensor:
    """For each row the positions from the last real one to the first, then the padding: its own inverse."""
    place = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    if mask is None:
        return place.flip(1)[..., None]
    length = mask.sum(1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)[..., None]
