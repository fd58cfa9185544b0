"""How a transformer knows where a token stands: a table added to the embedding, or a rotation of queries and keys."""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

Positions = slice | Int[Tensor, " pos"]


class PosEmbed(nn.Module):
    """Learned positions, `W_pos [n_ctx, d_model]`."""

    def __init__(self, n_ctx: int, d_model: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.W_pos = nn.Parameter(torch.empty(n_ctx, d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_pos, std=self.std, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch pos"], start: int = 0) -> Float[Tensor, "batch pos d_model"]:
        batch, length = tokens.shape
        return self.W_pos[start : start + length].expand(batch, -1, -1)


class SinusoidalPosEmbed(nn.Module):
    """Fixed positions, `W_pos [n_ctx, d_model]`, which are neither trained nor saved; see `sinusoids`."""

    W_pos: Tensor

    def __init__(self, n_ctx: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("W_pos", sinusoids(n_ctx, d_model), persistent=False)

    forward = PosEmbed.forward


def sinusoids(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """`sin(p / 10000^(2i/d_model))` in column 2i and its cosine in column 2i + 1 (Vaswani et al. 2017, section 3.5)."""
    angle = _angles(n_ctx, d_model, 10000.0)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).float()


class Rotary(nn.Module):
    """Turns pairs of a query's or key's entries by angles that grow with its position (Su et al. 2021).

    Pair i of the first `rotary_dim` entries turns by `p · base^(−2i/rotary_dim)` at position p, so that a score
    depends on how far apart two positions are. The pairs are entries (2i, 2i + 1) where `adjacent_pairs` is true, as
    in the paper and GPT-J; otherwise (i, i + rotary_dim/2), as in Llama and GPT-NeoX. Entries past `rotary_dim` stay
    as they are.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, n_ctx: int, rotary_dim: int, base: float, adjacent_pairs: bool) -> None:
        super().__init__()
        self.rotary_dim, self.adjacent_pairs = rotary_dim, adjacent_pairs
        angle = _angles(n_ctx, rotary_dim, base)[:, None]
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch pos head d_head"], at: Positions
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Queries or keys, turned by the angles of the positions `at`."""
        cos, sin = self.cos[at], self.sin[at]
        turned, rest = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        if self.adjacent_pairs:
            a, b = turned[..., 0::2], turned[..., 1::2]
            turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def _angles(n_ctx: int, width: int, base: float) -> Float[Tensor, "n_ctx half_width"]:
    """`p · base^(−2i/width)`, in float64: an angle of thousands of radians has no accuracy to lose."""
    frequency = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(n_ctx, dtype=torch.float64)[:, None] * frequency
