"""Gated recurrent units, in PyTorch's convention and in the textbook's.

The two are different networks, and the same name means opposite things in them: PyTorch's update gate is the share of
the state that is kept, the textbook's the share that is written.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import linear

from models.cells.base import At, Cell, Hidden, Input, State
from models.cells.kernel import KernelCell


class GRU(KernelCell):
    """PyTorch's: `h = (1 − z)⊙n + z⊙h₋`, `n = tanh(W_in x + b_in + r⊙(W_hn h₋ + b_hn))`, the reset after the product.

    Hooks `reset` (r), `update` (z: the share that is kept), `cand` (n), `h`; the order of gates is r, z, n.
    """

    name = "gru"
    values = ("reset", "update", "cand", "h")

    def make_kernel(self, d_in: int, d_hidden: int) -> nn.RNNBase:
        return nn.GRU(d_in, d_hidden, batch_first=True)

    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        (h,) = state
        d = self.d_hidden
        recurrent = torch.addmm(self.b_hh, h, self.W_hh.T)
        gates = (projected[:, : 2 * d] + recurrent[:, : 2 * d]).sigmoid_()
        r, z = at("reset", gates[:, :d]), at("update", gates[:, d:])
        n = at("cand", torch.addcmul(projected[:, 2 * d :], r, recurrent[:, 2 * d :]).tanh_())
        return (at("h", torch.lerp(n, h, z)),)


class TextbookGRU(Cell):
    """The textbook's (Cho et al. 2014; Chung et al. 2014): `h = z⊙n + (1 − z)⊙h₋`, `n = tanh(W x + U (r⊙h₋) + b)`.

    The reset comes before the product, and PyTorch has no kernel for it. Weights as in PyTorch's layout, gates r, z, n:
    `W_ih [3·d_hidden, d_in]`, `W_hh [3·d_hidden, d_hidden]`, one bias `b_ih`. Hooks `reset` (r), `update` (z: the share
    that is written), `cand` (n), `h`.
    """

    name = "gru_textbook"
    values = ("reset", "update", "cand", "h")

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__(d_in, d_hidden)
        self.W_ih = nn.Parameter(torch.empty(3 * d_hidden, d_in))
        self.W_hh = nn.Parameter(torch.empty(3 * d_hidden, d_hidden))
        self.b_ih = nn.Parameter(torch.empty(3 * d_hidden))

    @property
    def has_kernel(self) -> bool:
        return False

    def reset_parameters(self, generator: Generator | None = None) -> None:
        bound = self.d_hidden**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def project(self, x: Input) -> Float[Tensor, "batch pos d_projected"]:
        return linear(x, self.W_ih, self.b_ih)

    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        (h,) = state
        d = self.d_hidden
        gates = torch.addmm(projected[:, : 2 * d], h, self.W_hh[: 2 * d].T).sigmoid_()
        r, z = at("reset", gates[:, :d]), at("update", gates[:, d:])
        n = at("cand", torch.addmm(projected[:, 2 * d :], r * h, self.W_hh[2 * d :].T).tanh_())
        return (at("h", torch.lerp(h, n, z)),)

    def fused(self, x: Input, state: State) -> tuple[Hidden, State]:
        raise NotImplementedError("PyTorch has no kernel for the textbook's GRU.")
