"""Causal multi-head attention, fused until a hook asks for the scores, the pattern or each head's result."""

import math

import einops
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.hooks import attached
from models.normalization import LayerNorm
from models.transformer_config import TransformerConfig

Heads = Float[Tensor, "batch pos head d_head"]
Stream = Float[Tensor, "batch pos d_model"]
Fork = Float[Tensor, "batch pos head d_model"]


class Attention(nn.Module):
    """Multi-head self-attention in which a position sees itself and those before it (Vaswani et al. 2017).

    Weights are TransformerLens's: `W_Q, W_K, W_V [head, d_model, d_head]`, `W_O [head, d_head, d_model]`,
    `b_Q, b_K, b_V [head, d_head]`, `b_O [d_model]`.

    Hooks: `hook_q, hook_k, hook_v, hook_z [batch, pos, head, d_head]`; `hook_attn_scores` (scaled, masked with
    −∞) and `hook_pattern [batch, head, query, key]`; `hook_result [batch, pos, head, d_model]`, each head's write
    to the residual stream; and the forks `hook_attn_in`, `hook_{q,k,v}_input [batch, pos, head, d_model]`, each
    head's own copy of the residual stream before the norm. While a fork is attached, its copies are normalised
    past the hooks of the norm, which then only show what the unforked stream would give.
    """

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        reads = (cfg.n_heads, cfg.d_model, cfg.d_head)
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.empty(reads)) for _ in range(3))
        self.W_O = nn.Parameter(torch.empty(cfg.n_heads, cfg.d_head, cfg.d_model))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.empty(cfg.n_heads, cfg.d_head)) for _ in range(3))
        self.b_O = nn.Parameter(torch.empty(cfg.d_model))
        self.hook_attn_in = HookPoint()
        self.hook_q_input, self.hook_k_input, self.hook_v_input = HookPoint(), HookPoint(), HookPoint()
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_attn_scores.pos_dim = self.hook_pattern.pos_dim = 2
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Normal weights, those that write to the residual stream smaller by √(2 · n_layers); zero biases."""
        std = self.cfg.initializer_range
        for weight in (self.W_Q, self.W_K, self.W_V):
            nn.init.normal_(weight, std=std, generator=generator)
        nn.init.normal_(self.W_O, std=std / math.sqrt(2 * self.cfg.n_layers), generator=generator)
        for bias in (self.b_Q, self.b_K, self.b_V, self.b_O):
            nn.init.zeros_(bias)

    def forward(self, resid: Stream, norm: LayerNorm | nn.Identity) -> Stream:
        """What the layer adds to the residual stream, which `norm` prepares for reading."""
        if attached(self.hook_attn_in, self.hook_q_input, self.hook_k_input, self.hook_v_input):
            q, k, v = self._read_forks(resid, norm)
        else:
            q, k, v = self._read(norm(resid))
        z = self.hook_z(self._mix(self.hook_q(q), self.hook_k(k), self.hook_v(v)))
        if not attached(self.hook_result):
            return F.linear(z.flatten(2), self.W_O.flatten(0, 1).T, self.b_O)
        result = einops.einsum(z, self.W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
        return self.hook_result(result).sum(2) + self.b_O

    def _read(self, x: Stream) -> tuple[Heads, Heads, Heads]:
        # One product for queries, keys and values; gathering their weights costs far less than two more products.
        weight = torch.cat([self.W_Q, self.W_K, self.W_V]).transpose(1, 2).flatten(0, 1)
        bias = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()
        q, k, v = F.linear(x, weight, bias).unflatten(-1, (3, self.cfg.n_heads, self.cfg.d_head)).unbind(2)
        return q, k, v

    def _read_forks(self, resid: Stream, norm: LayerNorm | nn.Identity) -> tuple[Heads, Heads, Heads]:
        if isinstance(norm, LayerNorm) and attached(norm.hook_scale, norm.hook_normalized):
            norm(resid)
        normalize = norm.fused if isinstance(norm, LayerNorm) else norm
        # Copies for the hooks that are used, not views of one another: a hook may write into what it is given.
        fork = einops.repeat(resid, "batch pos d_model -> batch pos head d_model", head=self.cfg.n_heads)
        fork = self.hook_attn_in(fork.clone()) if attached(self.hook_attn_in) else fork
        heads = []
        for hook, weight, bias in (
            (self.hook_q_input, self.W_Q, self.b_Q),
            (self.hook_k_input, self.W_K, self.b_K),
            (self.hook_v_input, self.W_V, self.b_V),
        ):
            read = normalize(hook(fork.clone() if attached(hook) else fork))
            shape = "batch pos head d_model, head d_model d_head -> batch pos head d_head"
            heads.append(einops.einsum(read, weight, shape) + bias)
        return heads[0], heads[1], heads[2]

    def _mix(self, q: Heads, k: Heads, v: Heads) -> Heads:
        if not attached(self.hook_attn_scores, self.hook_pattern):
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        scores = einops.einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = (scores / math.sqrt(self.cfg.d_head)).masked_fill(future, -math.inf)
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return einops.einsum(pattern, v, "batch head query key, batch key head d_head -> batch query head d_head")
