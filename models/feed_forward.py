"""A transformer's MLPs, plain and gated, and what they are activated by."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.normalization import LayerNorm
from models.transformer_config import TransformerConfig

Stream = Float[Tensor, "batch pos d_model"]


def solu(x: Tensor) -> Tensor:
    """`x · softmax(x)` over the neurons (Elhage et al. 2022)."""
    return x * x.softmax(-1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "solu": solu,
    "solu_ln": solu,
}


class MLP(nn.Module):
    """`act(x W_in + b_in) W_out + b_out`, `W_in [d_model, d_mlp]`, `W_out [d_mlp, d_model]`.

    `hook_pre` and `hook_post [batch, pos, d_mlp]` lie before and after the activation. With `solu_ln` a LayerNorm `ln`
    follows the activation (Elhage et al. 2022): `hook_mid` lies between the two, `hook_post` after both.
    """

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.W_in, self.b_in = _projection(cfg.d_model, cfg.d_mlp)
        self.W_out, self.b_out = _projection(cfg.d_mlp, cfg.d_model)
        self.act = _ACTIVATIONS[cfg.act_fn]
        self.hook_pre = HookPoint()
        self.ln: LayerNorm | None = None
        if cfg.act_fn == "solu_ln":
            self.hook_mid = HookPoint()
            self.ln = LayerNorm(cfg.d_mlp, cfg.eps, affine=cfg.normalization_type not in ("LNPre", "RMSPre"))
        self.hook_post = HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Normal weights, those that write to the residual stream smaller by √(2 · n_layers); zero biases."""
        std = self.cfg.initializer_range
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith("W_"):
                scale = std / math.sqrt(2 * self.cfg.n_layers) if name == "W_out" else std
                nn.init.normal_(parameter, std=scale, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Stream) -> Stream:
        post = self.act(self.hook_pre(F.linear(x, self.W_in.T, self.b_in)))
        if self.ln is not None:
            post = self.ln(self.hook_mid(post))
        return F.linear(self.hook_post(post), self.W_out.T, self.b_out)


class GatedMLP(MLP):
    """`(act(x W_gate + b_gate) ⊙ (x W_in + b_in)) W_out + b_out` (Shazeer 2020), `W_gate` shaped like `W_in`.

    `hook_pre` is what the activation gets, `hook_pre_linear` what it multiplies, `hook_post` the product,
    `[batch, pos, d_mlp]` all three.
    """

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__(cfg)
        self.W_gate, self.b_gate = _projection(cfg.d_model, cfg.d_mlp)
        self.hook_pre_linear = HookPoint()

    def forward(self, x: Stream) -> Stream:
        gate = self.act(self.hook_pre(F.linear(x, self.W_gate.T, self.b_gate)))
        linear = self.hook_pre_linear(F.linear(x, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(gate * linear), self.W_out.T, self.b_out)


def _projection(d_in: int, d_out: int) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.empty(d_in, d_out)), nn.Parameter(torch.empty(d_out))
