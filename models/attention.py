"""Multi-head attention, fused until a hook asks for the scores, the pattern or each head's result."""

import math

import einops
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.hooks import attached
from models.key_values import KeyValues
from models.normalization import LayerNorm
from models.positions import Positions, Rotary
from models.transformer_config import TransformerConfig

Heads = Float[Tensor, "batch pos head d_head"]
Stream = Float[Tensor, "batch pos d_model"]
Fork = Float[Tensor, "batch pos head d_model"]


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017); where `causal`, a position sees itself and those before it.

    Weights are TransformerLens's: `W_Q, W_K, W_V [head, d_model, d_head]`, `W_O [head, d_head, d_model]`,
    `b_Q, b_K, b_V [head, d_head]`, `b_O [d_model]`.

    Hooks: `hook_q, hook_k, hook_v, hook_z [batch, pos, head, d_head]`; `hook_rot_q, hook_rot_k`, what rotary positions
    make of queries and keys; `hook_attn_scores` (scaled, masked with
    −∞) and `hook_pattern [batch, head, query, key]`; `hook_result [batch, pos, head, d_model]`, each head's write
    to the residual stream; and the forks `hook_attn_in`, `hook_{q,k,v}_input [batch, pos, head, d_model]`, each
    head's own copy of the residual stream before the norm. While a fork is attached, its copies are normalised
    past the hooks of the norm, which then only show what the unforked stream would give. Where keys and values come
    from elsewhere, `hook_attn_in` is the queries' copy alone.
    """

    def __init__(self, cfg: TransformerConfig, causal: bool = True) -> None:
        super().__init__()
        self.cfg, self.causal = cfg, causal
        reads = (cfg.n_heads, cfg.d_model, cfg.d_head)
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.empty(reads)) for _ in range(3))
        self.W_O = nn.Parameter(torch.empty(cfg.n_heads, cfg.d_head, cfg.d_model))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.empty(cfg.n_heads, cfg.d_head)) for _ in range(3))
        self.b_O = nn.Parameter(torch.empty(cfg.d_model))
        self.hook_attn_in = HookPoint()
        self.hook_q_input, self.hook_k_input, self.hook_v_input = HookPoint(), HookPoint(), HookPoint()
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.rotary: Rotary | None = None
        if cfg.rotary_dim is not None:
            self.rotary = Rotary(cfg.n_ctx, cfg.rotary_dim, cfg.rotary_base, cfg.rotary_adjacent_pairs)
            self.hook_rot_q, self.hook_rot_k = HookPoint(), HookPoint()
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

    def forward(
        self,
        resid: Stream,
        norm: LayerNorm | nn.Identity,
        *,
        memory: Float[Tensor, "batch key d_model"] | None = None,
        key_mask: Bool[Tensor, "batch key"] | None = None,
        past: KeyValues | None = None,
        at: Int[Tensor, " query"] | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """What the layer adds to the residual stream, which `norm` prepares for reading.

        Args:
            resid: the residual stream.
            norm: what it is read through.
            memory: what keys and values are made of, as it is; the residual stream where it is None.
            key_mask: True where a key may be seen.
            past: keys and values of the positions before these, which are seen as well; those of these are added.
            at: the positions to write at; all of them where it is None.
        """
        start, length = 0 if past is None else past.length, resid.shape[1]
        here: Positions = slice(start, start + length)
        queries: Positions = here if at is None else at + start
        if attached(self.hook_attn_in, self.hook_q_input, self.hook_k_input, self.hook_v_input):
            q, k, v = self._read_forks(resid, norm, memory)
            q = q if at is None else q[:, at]
        else:
            x = norm(resid)
            q, k, v = self._read(x if at is None else x[:, at], x if memory is None else memory)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if self.rotary is not None:
            q, k = self.hook_rot_q(self.rotary(q, queries)), self.hook_rot_k(self.rotary(k, here))
        if past is not None:
            k, v = past.append(k, v)
        return self.written(self._mix(q, k, v, queries, key_mask))

    def written(self, z: Heads) -> Float[Tensor, "batch query d_model"]:
        """What the layer adds where its heads have read `z`."""
        z = self.hook_z(z)
        if not attached(self.hook_result):
            return F.linear(z.flatten(2), self.W_O.flatten(0, 1).T, self.b_O)
        result = einops.einsum(z, self.W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
        return self.hook_result(result).sum(2) + self.b_O

    def _read(self, x: Tensor, memory: Tensor) -> tuple[Heads, Tensor, Tensor]:
        # One product for all that is made of one thing; gathering the weights costs far less than two more products.
        reads = [(self.W_Q, self.b_Q), (self.W_K, self.b_K), (self.W_V, self.b_V)]
        if memory is x:
            q, k, v = self._project(x, reads)
        else:
            (q,), (k, v) = self._project(x, reads[:1]), self._project(memory, reads[1:])
        return q, k, v

    def _project(self, x: Tensor, reads: list[tuple[nn.Parameter, nn.Parameter]]) -> tuple[Tensor, ...]:
        weight = torch.cat([weight for weight, _ in reads]).transpose(1, 2).flatten(0, 1)
        bias = torch.cat([bias for _, bias in reads]).flatten()
        return F.linear(x, weight, bias).unflatten(-1, (len(reads), self.cfg.n_heads, self.cfg.d_head)).unbind(2)

    def _read_forks(
        self, resid: Stream, norm: LayerNorm | nn.Identity, memory: Tensor | None
    ) -> tuple[Heads, Tensor, Tensor]:
        if isinstance(norm, LayerNorm) and attached(norm.hook_scale, norm.hook_normalized):
            norm(resid)
        normalize = norm.fused if isinstance(norm, LayerNorm) else norm
        # Copies for the hooks that are used, not views of one another: a hook may write into what it is given.
        fork = self._fork(resid)
        fork = self.hook_attn_in(fork.clone()) if attached(self.hook_attn_in) else fork
        keys, as_read = (fork, normalize) if memory is None else (self._fork(memory), nn.Identity())
        heads = []
        for source, prepare, hook, weight, bias in (
            (fork, normalize, self.hook_q_input, self.W_Q, self.b_Q),
            (keys, as_read, self.hook_k_input, self.W_K, self.b_K),
            (keys, as_read, self.hook_v_input, self.W_V, self.b_V),
        ):
            read = prepare(hook(source.clone() if attached(hook) else source))
            shape = "batch pos head d_model, head d_model d_head -> batch pos head d_head"
            heads.append(einops.einsum(read, weight, shape) + bias)
        return heads[0], heads[1], heads[2]

    def _fork(self, stream: Stream) -> Fork:
        return einops.repeat(stream, "batch pos d_model -> batch pos head d_model", head=self.cfg.n_heads)

    def _mix(self, q: Heads, k: Tensor, v: Tensor, queries: Positions, key_mask: Tensor | None) -> Heads:
        if not attached(self.hook_attn_scores, self.hook_pattern):
            # The kernel's own mask is the fastest, but it counts queries and keys from the same position.
            whole = isinstance(queries, slice) and queries.start == 0 and key_mask is None
            seen = None if whole else self._seen(queries, k.shape[1], key_mask, q.device)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=self.causal and whole)
            return mixed.transpose(1, 2)
        scores = einops.einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
        scores = scores / math.sqrt(self.cfg.d_head)
        seen = self._seen(queries, k.shape[1], key_mask, q.device)
        scores = scores if seen is None else scores.masked_fill(~seen, -math.inf)
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return einops.einsum(pattern, v, "batch head query key, batch key head d_head -> batch query head d_head")

    def _seen(
        self, queries: Positions, n_keys: int, key_mask: Tensor | None, device: torch.device
    ) -> Bool[Tensor, "*batch_and_head query key"] | None:
        """Which keys each query sees; None where it sees all of them."""
        seen = None if key_mask is None else key_mask[:, None, None, :]
        # A single last query has no later key to be kept from.
        if not self.causal or (isinstance(queries, slice) and queries.start == n_keys - 1):
            return seen
        keys = torch.arange(n_keys, device=device)
        earlier = keys <= (keys[queries] if isinstance(queries, slice) else queries)[:, None]
        return earlier if seen is None else earlier & seen
