"""The map from one state to the next: of a recurrent subject under a constant input, or anybody's own function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.cells.base import Cell
from models.dataset import Dataset
from models.hooks import HookedModel
from models.recurrent import Recurrent
from models.spiking import SpikingNetwork

States = Float[Tensor, "n d"]
Input = str | int | float | Sequence[float] | np.ndarray | Tensor | None
# Numbers that a product of Jacobians may hold at once.
BLOCK = 1 << 24
# Derivatives are looked at beside so many states, by pushes of this share of the states' size.
LOOKED_AT, PUSH, MOST_OFF = 16, 1e-4, 1e-2
FLOAT64 = "it must take and give float64 tensors, differentiable by torch"


@dataclass(frozen=True)
class StateMap:
    """`F`, from states to the states a step later, `[n, d] → [n, d]` in double precision; row by row, differentiable.

    Attributes:
        function: F.
        d: numbers a state has; None until states are known, of a function of the user's.
        parts: which of them are which values of a subject, by the name of the hook that has them: of several layers,
            and of an LSTM's `h` and `c`, one behind the other. Empty for a function.
        input: what is read at every step: `[d_in]`, of a subject of tokens an embedding. None where nothing is.
    """

    function: Callable[[Tensor], Tensor]
    d: int | None = None
    parts: dict[str, slice] = field(default_factory=dict)
    input: Float[Tensor, " d_in"] | None = None

    def __call__(self, states: States) -> States:
        """The states after one step."""
        return self.function(states)

    def checked(self, states: States) -> States:
        """The same for states that come from outside.

        Raises:
            ValueError: they, or what the function makes of them, are of another shape, or not finite; or the function
                fails, or torch does not know its derivatives.
        """
        if states.ndim != 2 or not states.numel():
            raise ValueError(f"states must be numbers [n, d], and some; these are {list(states.shape)}.")
        if self.d not in (None, states.shape[1]):
            raise ValueError(f"states have {states.shape[1]} numbers, but this subject's have {self.d}.")
        if not torch.isfinite(states).all():
            raise ValueError("some states are NaN or infinite: they must be numbers.")
        states = states.detach().double()
        try:
            with torch.no_grad():
                after = self(states)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the step function fails ({_first_line(error)}): {FLOAT64}.") from error
        if not isinstance(after, Tensor) or after.shape != states.shape:
            shape = list(after.shape) if isinstance(after, Tensor) else type(after).__name__
            raise ValueError(f"the step function makes {shape} of states {list(states.shape)}: it must keep the shape.")
        if not torch.isfinite(after).all():
            raise ValueError("the step function makes NaN or infinite values of finite states.")
        if after.dtype != states.dtype:
            raise ValueError(f"the step function makes {after.dtype} of float64 states: {FLOAT64}.")
        self._check_derivatives(states)
        return after

    def _check_derivatives(self, states: States) -> None:
        """`ValueError` where they are not those of central differences beside most states that are looked at."""
        rng = np.random.default_rng(0)
        some = states[torch.linspace(0, len(states) - 1, min(LOOKED_AT, len(states))).long()]
        push = PUSH * (float(some.square().mean().sqrt()) or 1.0)
        # Beside the states themselves: they may lie on a kink, such as a rectified unit's 0.
        some = some + 10 * push * torch.from_numpy(rng.standard_normal(some.shape))
        along = nn.functional.normalize(torch.from_numpy(rng.standard_normal(some.shape)), dim=1)
        with torch.no_grad():
            expected = (self(some + push * along) - self(some - push * along)) / (2 * push)
        try:
            found = (self.jacobians(some) @ along[..., None])[..., 0]
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the step function has no derivatives ({_first_line(error)}): {FLOAT64}.") from error
        off, size = (found - expected).norm(dim=1), torch.maximum(found.norm(dim=1), expected.norm(dim=1))
        # Where the function hardly moves there is only rounding to be seen.
        told = (size > 1e-8) & torch.isfinite(size)
        if told.any() and float((off[told] / size[told]).median()) > MOST_OFF:
            raise ValueError(
                "the step function's derivatives by torch are not those of its differences (a no_grad, detach or "
                f"rounding in it?): {FLOAT64}."
            )

    def jacobians(self, states: States) -> Float[Tensor, "n d d"]:
        """∂F/∂state at each state, entry `[n, i, j]` of output i with respect to input j, by `torch.func`.

        Each row of F must depend on its own state alone.
        """
        n, d = states.shape
        size = max(1, BLOCK // (4 * d * d))
        return torch.cat([self._jacobians(part) for part in states.split(size)]) if n else states.new_empty(0, d, d)

    def _jacobians(self, states: States) -> Float[Tensor, "n d d"]:
        n, d = states.shape
        after, pulled_back = torch.func.vjp(self.function, states)[:2]
        basis = torch.eye(d, dtype=after.dtype, device=after.device)[:, None, :].expand(d, n, d)
        rows = torch.func.vmap(pulled_back)(basis)[0]
        return rows.transpose(0, 1).detach()


def state_map(subject: Any, input: Input = None, *, dataset: Dataset | None = None) -> StateMap:
    """The state map of a recurrent subject, or of a step function `F(state)` or `F(state, input)`.

    A subject's weights are copied in double precision: neither they nor its modes, hooks or gradients are touched.

    Args:
        subject: a `Recurrent` that runs forward alone; a function of states `[n, d]`, float64, that gives as many.
        input: what is read at every step: None or "zeros"; "mean", of `dataset`'s real positions; the numbers `[d_in]`;
            of a subject of tokens an id, or an embedding `[d_model]`. Given to a function as it is, as a tensor.
        dataset: whose mean input is meant.

    Raises:
        ValueError: the subject has no recurrence, or one that is no map from state to state; or the input does not
            fit it.
    """
    if isinstance(subject, StateMap):
        if input is not None:
            raise ValueError("this map has its input already: give one where the map is made.")
        return subject
    if not isinstance(subject, HookedModel):
        return _of_function(subject, input)
    layers = [_copy_of(cell) for cell in cells_of(subject)]
    read = read_input(subject, input, dataset)
    parts, start = {}, 0
    for layer, cell in enumerate(layers):
        for name in cell.state_names:
            parts[f"blocks.{layer}.rnn.hook_{name}"] = slice(start, start + cell.d_hidden)
            start += cell.d_hidden

    def step(states: States) -> States:
        x, rest = read.expand(len(states), -1), states
        after: list[Tensor] = []
        for cell in layers:
            size = [cell.d_hidden] * len(cell.state_names)
            own, rest = rest.split([sum(size), rest.shape[1] - sum(size)], 1)
            new = cell.step(cell.project(x[:, None])[:, 0], own.split(size, 1), lambda _, value: value)
            after += new
            x = new[0]
        return torch.cat(after, 1)

    return StateMap(step, start, parts, read)


def cells_of(subject: HookedModel) -> list[Cell]:
    """The cells of a recurrent subject's layers; `ValueError` for one that is no map from a state to the next."""
    if not isinstance(subject, Recurrent):
        kind = type(subject).__name__
        why = "nothing in it goes from one step to the next"
        if isinstance(subject, SpikingNetwork):
            why = "its cells spike, and a spike has no derivative"
        elif any(isinstance(module, Cell) for module in subject.modules()):
            why = "its decoder's step depends on a source"
        raise ValueError(f"a {kind} has no map from state to state: {why}; a Recurrent subject has one.")
    if subject.cfg.bidirectional:
        raise ValueError("a bidirectional network has no map from state to state: it reads the end first.")
    return [cast(Cell, block.rnn) for block in cast(nn.ModuleList, subject.blocks)]


def read_input(subject: HookedModel, input: Input, dataset: Dataset | None = None) -> Float[Tensor, " d_in"]:
    """What a subject's first layer is given at every step, in double precision (`state_map` says what may be asked).

    Raises:
        ValueError: it does not fit the subject.
    """
    cells_of(subject)
    subject = cast(Recurrent, subject)
    cfg = subject.cfg
    tokens = cfg.d_vocab is not None
    width = cfg.d_model if tokens else cfg.d_in
    if input is None or (isinstance(input, str) and input == "zeros"):
        return torch.zeros(width, dtype=torch.float64)
    if isinstance(input, str):
        if input != "mean":
            raise ValueError(f"no input is called {input!r}: there are zeros and mean, or give the numbers.")
        return _mean_input(subject, dataset)
    if tokens and isinstance(input, (int, np.integer)):
        if not 0 <= input < cfg.d_vocab:
            raise ValueError(f"there is no token {input}: ids are 0 to {cfg.d_vocab - 1}.")
        return subject.embed.W_E.detach()[int(input)].double().cpu().clone()
    given = torch.as_tensor(input, dtype=torch.float64).detach().cpu()
    if given.shape != (width,) or not torch.isfinite(given).all():
        what = f"an embedding of {width} finite numbers, or a token's id" if tokens else f"{width} finite numbers"
        raise ValueError(f"the input is {list(given.shape)}: this subject reads {what} a step.")
    return given


def _mean_input(subject: Recurrent, dataset: Dataset | None) -> Float[Tensor, " d_in"]:
    if dataset is None:
        raise ValueError("a mean input is that of a dataset: give one.")
    rows = dataset.tokens[dataset.counted]
    if rows.is_floating_point():
        return rows.double().mean(0)
    counts = torch.bincount(rows, minlength=subject.cfg.d_vocab).double()
    return (counts / counts.sum()) @ subject.embed.W_E.detach().double().cpu()


def _of_function(function: Callable[..., Tensor], input: Input) -> StateMap:
    if not callable(function):
        raise ValueError(f"a {type(function).__name__} is neither a recurrent subject nor a function of states.")
    if input is None:
        return StateMap(function)
    if isinstance(input, str):
        raise ValueError(f"input is {input!r}: a function of the user's is given numbers.")
    read = torch.as_tensor(input, dtype=torch.float64)
    return StateMap(lambda states: function(states, read), input=read)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _copy_of(cell: Cell) -> Cell:
    """The same cell in double precision, without hooks or gradients."""
    copy = type(cell)(cell.d_in, cell.d_hidden)
    copy.load_state_dict(cell.state_dict())
    return copy.double().cpu().requires_grad_(False)
