"""minGRU (Feng et al. 2024): gates that do not look at the state, so that all steps can be taken at once."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import linear, logsigmoid

from models.cells.base import At, Cell, Hidden, Input, State

Form = Literal["sequential", "doubling", "log"]
FORMS: tuple[Form, ...] = ("sequential", "doubling", "log")


def above_zero(value: Tensor) -> Tensor:
    """g: `v + ½` above 0 and σ(v) below."""
    return torch.where(value >= 0, value + 0.5, value.sigmoid())


def _log_above_zero(value: Tensor) -> Tensor:
    # Each branch is kept where it has a gradient: log σ never underflows, and the other never sees a negative number.
    return torch.where(value >= 0, (value.relu() + 0.5).log(), logsigmoid(value))


def recur_sequential(keep_logit: Hidden, write_logit: Hidden, value: Hidden, h0: Tensor) -> Hidden:
    """`h_t = σ(keep)·h_{t−1} + σ(write)·g(value)`, a step at a time."""
    h, hidden = h0, []
    written = write_logit.sigmoid() * above_zero(value)
    for keep, new in zip(keep_logit.sigmoid().unbind(1), written.unbind(1), strict=True):
        h = torch.addcmul(new, keep, h)
        hidden.append(h)
    return torch.stack(hidden, 1)


def recur_doubling(keep_logit: Hidden, write_logit: Hidden, value: Hidden, h0: Tensor) -> Hidden:
    """The same by recursive doubling (Hillis and Steele 1986): after round k each position covers 2ᵏ steps."""
    keep, h = keep_logit.sigmoid(), write_logit.sigmoid() * above_zero(value)
    h = torch.cat([torch.addcmul(h[:, :1], keep[:, :1], h0[:, None]), h[:, 1:]], 1)
    reach = 1
    while reach < h.shape[1]:
        earlier, share = h[:, :-reach], keep[:, reach:]
        h = torch.cat([h[:, :reach], torch.addcmul(h[:, reach:], share, earlier)], 1)
        keep = torch.cat([keep[:, :reach], share * keep[:, :-reach]], 1)
        reach *= 2
    return h


def recur_log(keep_logit: Hidden, write_logit: Hidden, value: Hidden, h0: Tensor) -> Hidden:
    """The same in logarithms (Heinsen 2023; Feng et al. 2024, appendix B), which g keeps above zero.

    What is left of h₀ is added by itself: the logarithm of a zero would have no gradient. Sums of logarithms run to
    hundreds, whose rounding in float32 would show in what is left of them, so they are taken in float64.
    """
    kept = logsigmoid(keep_logit.double()).cumsum(1)
    written = torch.logcumsumexp(logsigmoid(write_logit.double()) + _log_above_zero(value.double()) - kept, 1)
    return ((kept + written).exp() + kept.exp() * h0[:, None]).to(value)


_RECUR = {"sequential": recur_sequential, "doubling": recur_doubling, "log": recur_log}


class MinGRU(Cell):
    """`h = (1 − z)⊙h₋ + z⊙n`, `z = σ(W_z x + b_z)`, `n = g(W_n x + b_n)`, `g(v) = v + ½` above 0 and σ(v) below.

    Weights `W_ih [2·d_hidden, d_in]` and `b_ih`, z first. Hooks `update` (z: the share that is written), `cand` (n),
    `h`. `form` names how all steps are taken at once where no hook asks for one after the other; None chooses what
    measures fastest on the device.
    """

    name = "mingru"
    values = ("update", "cand", "h")

    def __init__(self, d_in: int, d_hidden: int, form: Form | None = None) -> None:
        super().__init__(d_in, d_hidden)
        self.form = form
        self.W_ih = nn.Parameter(torch.empty(2 * d_hidden, d_in))
        self.b_ih = nn.Parameter(torch.empty(2 * d_hidden))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        bound = self.d_in**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def project(self, x: Input) -> Float[Tensor, "batch pos d_projected"]:
        return linear(x, self.W_ih, self.b_ih)

    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        gate, value = projected.chunk(2, 1)
        z, n = at("update", gate.sigmoid()), at("cand", above_zero(value))
        return (at("h", torch.lerp(state[0], n, z)),)

    def fused(self, x: Input, state: State) -> tuple[Hidden, State]:
        gate, value = self.project(x).chunk(2, -1)
        form = self.form or ("sequential" if x.device.type == "cpu" else "doubling")
        hidden = _RECUR[form](-gate, gate, value, state[0])
        return hidden, (hidden[:, -1],)
