"""The plain recurrent network (Elman 1990)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.cells.base import At, State
from models.cells.kernel import KernelCell


class RNN(KernelCell):
    """`h = tanh(W_ih x + b_ih + W_hh h₋ + b_hh)`; hook `h`."""

    name = "rnn"
    values = ("h",)
    nonlinearity: ClassVar[str] = "tanh"

    def make_kernel(self, d_in: int, d_hidden: int) -> nn.RNNBase:
        return nn.RNN(d_in, d_hidden, nonlinearity=self.nonlinearity, batch_first=True)

    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        total = torch.addmm(self.b_hh, state[0], self.W_hh.T).add_(projected)
        return (at("h", total.tanh() if self.nonlinearity == "tanh" else total.relu()),)


class ReLURNN(RNN):
    """The same with ReLU for tanh (Le et al. 2015)."""

    name = "rnn_relu"
    nonlinearity = "relu"
