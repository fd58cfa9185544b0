"""LayerNorm and RMSNorm with hooks on the scale and the normalised value; fused while nobody looks."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.hooks import attached


class LayerNorm(nn.Module):
    """`(x − mean) / √(var + eps) · w + b` (Ba et al. 2016); without `affine`, neither `w` nor `b`.

    `hook_scale` is the denominator `[…, 1]` and `hook_normalized` the quotient, before `w` and `b`.
    """

    centred = True

    def __init__(self, d_model: int, eps: float, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.w = nn.Parameter(torch.empty(d_model)) if affine else None
        self.b = nn.Parameter(torch.empty(d_model)) if affine and self.centred else None
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Gain one, bias zero."""
        if self.w is not None:
            nn.init.ones_(self.w)
        if self.b is not None:
            nn.init.zeros_(self.b)

    def forward(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        if not attached(self.hook_scale, self.hook_normalized):
            return self.fused(x)
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((x.square().mean(-1, keepdim=True) + self.eps).sqrt())
        normalized = self.hook_normalized(x / scale)
        if self.w is not None:
            normalized = normalized * self.w
        return normalized if self.b is None else normalized + self.b

    def fused(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        """The same value, past the hooks."""
        return F.layer_norm(x, x.shape[-1:], self.w, self.b, self.eps)


class RMSNorm(LayerNorm):
    """`x / √(mean(x²) + eps) · w` (Zhang and Sennrich 2019)."""

    centred = False

    def fused(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        return F.rms_norm(x, x.shape[-1:], self.w, self.eps)


def make_norm(kind: str | None, d_model: int, eps: float) -> LayerNorm | nn.Identity:
    """The norm of a `normalization_type`; `nn.Identity` for None."""
    if kind is None:
        return nn.Identity()
    norm = RMSNorm if kind.startswith("RMS") else LayerNorm
    return norm(d_model, eps, affine=not kind.endswith("Pre"))
