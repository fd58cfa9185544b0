"""PyTorch's own recurrent layers, as the fused form of ours and the home of their weights."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from models.cells.base import Cell, Hidden, Input, State

Weight = Float[Tensor, "gates_d_hidden d_in"]


class KernelCell(Cell):
    """A cell of which PyTorch has a fused kernel.

    The weights are PyTorch's, in its layout: `W_ih [gates·d_hidden, d_in]`, `W_hh [gates·d_hidden, d_hidden]` and the
    biases `b_ih`, `b_hh`, gates one below the other in PyTorch's order.
    """

    kernel: nn.RNNBase

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__(d_in, d_hidden)
        self.kernel = self.make_kernel(d_in, d_hidden)

    def make_kernel(self, d_in: int, d_hidden: int) -> nn.RNNBase:
        """PyTorch's layer, batch first."""
        raise NotImplementedError

    @property
    def W_ih(self) -> Weight:
        """`[gates·d_hidden, d_in]`."""
        return self.kernel.get_parameter("weight_ih_l0")

    @property
    def W_hh(self) -> Weight:
        """`[gates·d_hidden, d_hidden]`."""
        return self.kernel.get_parameter("weight_hh_l0")

    @property
    def b_ih(self) -> Tensor:
        """`[gates·d_hidden]`."""
        return self.kernel.get_parameter("bias_ih_l0")

    @property
    def b_hh(self) -> Tensor:
        """`[gates·d_hidden]`."""
        return self.kernel.get_parameter("bias_hh_l0")

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Uniform within ±1/√d_hidden, as PyTorch draws them."""
        bound = self.d_hidden**-0.5
        for weight in self.kernel.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def project(self, x: Input) -> Float[Tensor, "batch pos d_projected"]:
        return nn.functional.linear(x, self.W_ih, self.b_ih)

    def fused(self, x: Input, state: State) -> tuple[Hidden, State]:
        return self._run(x, state)

    def _run(self, x: Any, state: State) -> tuple[Any, State]:
        start: Any = tuple(s[None].contiguous() for s in state)
        # cuDNN refuses to run backward through a layer in evaluation mode.
        plain = x.is_cuda and not self.training and torch.is_grad_enabled()
        with torch.backends.cudnn.flags(enabled=not plain):
            hidden, last = self.kernel(x, start if len(start) > 1 else start[0])
        return hidden, tuple(s[0] for s in (last if len(start) > 1 else (last,)))
