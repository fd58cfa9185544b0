"""`Connection`: what one population tells another, decoded and encoded again."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.hooks import attached
from models.spiking.config import ConnectionConfig
from models.spiking.population import pass_through
from models.spiking.products import Decoding
from models.spiking.synapse import LowPass
from models.step_hooks import StepHookPoint


class Connection(nn.Module):
    """Decoders `[n_pre, d_post]` between the spikes of one population and what another is told.

    The weights between cells are their product with the encoders of the other population, of rank `d_post`, which is
    never formed: a step costs O((n_pre + n_post) d_post).

    Hook, once a step: `hook_decoded [batch, 1, d_post]`, what arrives, after the filter. It is the filter's state: what
    a hook returns fades as the filter's past does.

    Attributes:
        decoders: `[n_pre, d_post]`, per Hz, with the transform in them; from the input, the transform itself.
        offset: `[d_post]`.
    """

    def __init__(self, cfg: ConnectionConfig, n_pre: int, d_post: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.cfg, self.synapse = cfg, LowPass(cfg.synapse)
        self.decoders = nn.Parameter(torch.zeros(n_pre, d_post, dtype=dtype), requires_grad=False)
        self.offset = nn.Parameter(torch.zeros(d_post, dtype=dtype), requires_grad=False)
        self.hook_decoded = StepHookPoint()


class Line:
    """A connection in the middle of a run: the state of its filter."""

    def __init__(self, connection: Connection, batch: int, n_steps: int, dt: float, per: float) -> None:
        self.connection, self.dt = connection, dt
        self.point = connection.hook_decoded if attached(connection.hook_decoded) else None
        if self.point is not None:
            self.point.begin(n_steps)
        self.decode, self.offset = Decoding(connection.decoders / per, batch), connection.offset
        self.arriving = connection.offset.new_zeros(batch, len(connection.offset))

    def hear(self, spikes: Float[Tensor, "batch n_pre"]) -> None:
        """Take in what was said in this step."""
        self.connection.synapse.step(self.arriving, self.decode(spikes).add_(self.offset), self.dt)

    def tell(self, told: Float[Tensor, "batch d_post"], t: int) -> None:
        """Add what arrives to what a population is told."""
        pass_through(self.point, self.arriving, t)
        told.add_(self.arriving)
