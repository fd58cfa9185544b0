"""Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers et al. 2000)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.cells.base import At, Hidden, Input, State
from models.cells.kernel import KernelCell


class LSTM(KernelCell):
    """`c = f⊙c₋ + i⊙g`, `h = o⊙tanh(c)`: gates i, f, o by σ and the candidate g by tanh of `W_ih x + W_hh h₋ + b`.

    Hooks `i`, `f`, `g`, `o`, `c`, `h`; PyTorch's order of gates is i, f, g, o.
    """

    name = "lstm"
    values = ("i", "f", "g", "o", "c", "h")
    state_names = ("h", "c")

    def make_kernel(self, d_in: int, d_hidden: int) -> nn.RNNBase:
        return nn.LSTM(d_in, d_hidden, batch_first=True)

    def step(self, projected: Float[Tensor, "batch d_projected"], state: State, at: At) -> State:
        h, c = state
        total = torch.addmm(self.b_hh, h, self.W_hh.T).add_(projected)
        i, f, g, o = total.chunk(4, 1)
        i, f, g, o = at("i", i.sigmoid()), at("f", f.sigmoid()), at("g", g.tanh()), at("o", o.sigmoid())
        c = at("c", torch.addcmul(i * g, f, c))
        return at("h", o * c.tanh()), c

    def fused_up_to(self, x: Input, state: State, length: Int[Tensor, " batch"]) -> tuple[Hidden, State]:
        length = length.cpu()
        if int(length.min()) == x.shape[1]:
            return self.fused(x, state)
        # The memory c of earlier steps is nowhere in the kernel's output: it must itself know where a row ends.
        packed = pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
        hidden, last = self._run(packed, state)
        return pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])[0], last
