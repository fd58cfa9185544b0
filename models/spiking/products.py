"""The two products of a step, which round alike in batches of every size.

One matrix product for a whole batch would be rounded as suits the number of its rows. A cell at the edge of a spike
tells the difference, and from there on a sequence would run otherwise alone than among others.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def encode(
    bias: Float[Tensor, " neuron"],
    told: Float[Tensor, "batch d"],
    encoders: Float[Tensor, "d neuron"],
    out: Float[Tensor, "batch neuron"],
) -> None:
    """Currents of what cells are told, `told @ encoders + bias`: a product of its own for each row."""
    batch = len(told)
    torch.baddbmm(bias, told[:, None], encoders.expand(batch, -1, -1), out=out[:, None])


class Decoding:
    """`spikes @ decoders` for a batch of one size: a sum of its own for each number, in its own memory."""

    def __init__(self, decoders: Float[Tensor, "neuron d"], batch: int) -> None:
        self.decoders = decoders.T.contiguous()
        self.parts = decoders.new_empty(batch, *self.decoders.shape)
        self.sums = decoders.new_empty(batch, len(self.decoders))

    def __call__(self, spikes: Float[Tensor, "batch neuron"]) -> Float[Tensor, "batch d"]:
        """What the spikes say, until the next call."""
        torch.mul(spikes[:, None], self.decoders, out=self.parts)
        return torch.sum(self.parts, -1, out=self.sums)
