"""`Transformer`: decoder-only, with TransformerLens's weights and hooks."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.attention import Attention
from models.folding import folded_weights
from models.hooks import HookedModel, attached
from models.lens_contract import TextMethods, WeightMethods
from models.loss import mean_loss, next_tokens, token_losses, unembedded_loss
from models.normalization import make_norm
from models.transformer_config import TransformerConfig

__all__ = ["Transformer", "TransformerConfig"]

Stream = Float[Tensor, "batch pos d_model"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


class Embed(nn.Module):
    """Token embedding, `W_E [d_vocab, d_model]`."""

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.std = cfg.initializer_range
        self.W_E = nn.Parameter(torch.empty(cfg.d_vocab, cfg.d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_E, std=self.std, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Stream:
        return F.embedding(tokens, self.W_E)


class PosEmbed(nn.Module):
    """Learned positions, `W_pos [n_ctx, d_model]`."""

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.std = cfg.initializer_range
        self.W_pos = nn.Parameter(torch.empty(cfg.n_ctx, cfg.d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_pos, std=self.std, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Stream:
        batch, length = tokens.shape
        return self.W_pos[:length].expand(batch, -1, -1)


class MLP(nn.Module):
    """`act(x W_in + b_in) W_out + b_out`, `W_in [d_model, d_mlp]`, `W_out [d_mlp, d_model]`.

    `hook_pre` and `hook_post [batch, pos, d_mlp]` lie before and after the activation.
    """

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.W_in = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp))
        self.b_in = nn.Parameter(torch.empty(cfg.d_mlp))
        self.W_out = nn.Parameter(torch.empty(cfg.d_mlp, cfg.d_model))
        self.b_out = nn.Parameter(torch.empty(cfg.d_model))
        self.act = _ACTIVATIONS[cfg.act_fn]
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        std = self.cfg.initializer_range
        nn.init.normal_(self.W_in, std=std, generator=generator)
        nn.init.normal_(self.W_out, std=std / math.sqrt(2 * self.cfg.n_layers), generator=generator)
        nn.init.zeros_(self.b_in)
        nn.init.zeros_(self.b_out)

    def forward(self, x: Stream) -> Stream:
        pre = self.hook_pre(F.linear(x, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(self.act(pre)), self.W_out.T, self.b_out)


class Block(nn.Module):
    """Attention, then the MLP, each reading the normalised residual stream and adding to it."""

    # TransformerLens's readout tools ask this of every block.
    hook_out_is_single_residual_stream = True

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.hook_resid_pre = HookPoint()
        self.ln1 = make_norm(cfg.normalization_type, cfg.d_model, cfg.eps)
        self.attn = Attention(cfg)
        self.hook_attn_out = HookPoint()
        self.mlp: MLP | None = None
        if not cfg.attn_only:
            self.hook_resid_mid = HookPoint()
            self.hook_mlp_in = HookPoint()
            self.ln2 = make_norm(cfg.normalization_type, cfg.d_model, cfg.eps)
            self.mlp = MLP(cfg)
            self.hook_mlp_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, resid: Stream) -> Stream:
        resid = self.hook_resid_pre(resid)
        resid = resid + self.hook_attn_out(self.attn(resid, self.ln1))
        if self.mlp is not None:
            resid = self.hook_resid_mid(resid)
            # A copy where a hook may write into it: the residual stream itself goes past the MLP.
            mlp_in = self.hook_mlp_in(resid.clone()) if attached(self.hook_mlp_in) else resid
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(mlp_in)))
        return self.hook_resid_post(resid)


class Unembed(nn.Module):
    """Residual stream to logits, `W_U [d_model, d_vocab]`, `b_U [d_vocab]`."""

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.std = cfg.initializer_range
        self.W_U = nn.Parameter(torch.empty(cfg.d_model, cfg.d_vocab))
        self.b_U = nn.Parameter(torch.empty(cfg.d_vocab))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_U, std=self.std, generator=generator)
        nn.init.zeros_(self.b_U)

    def forward(self, resid: Stream) -> Float[Tensor, "batch pos d_vocab"]:
        return F.linear(resid, self.W_U.T, self.b_U)


class Transformer(TextMethods, WeightMethods, HookedModel):
    """A decoder-only transformer (Radford et al. 2019) that TransformerLens's own tools can read.

    A hook that nobody uses costs nothing: attention and norms run fused until a hook that needs their inner
    values is attached. `tokenizer` is None until one is set.
    """

    tokenizer: Tokenizer | None

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.tokenizer = None
        self.embed = Embed(cfg)
        self.hook_embed = HookPoint()
        self.pos_embed = PosEmbed(cfg)
        self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layers))
        self.ln_final = make_norm(cfg.normalization_type, cfg.d_model, cfg.eps)
        self.unembed = Unembed(cfg)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def init_weights(self, seed: int) -> None:
        """Draw all weights anew; a seed gives the same ones on every device."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset(generator)

    def _apply(self, fn: Callable, recurse: bool = True) -> "Transformer":
        # `.to()`, `.cuda()`, `.double()` all pass here; TransformerLens's tools read both from the config.
        super()._apply(fn, recurse)
        self.cfg.device, self.cfg.dtype = str(self.W_E.device), self.W_E.dtype
        return self

    def gated_hooks(self) -> set[str]:
        off = [name for name, on in self.cfg.gated_hooks.items() if not on]
        return {f"blocks.{layer}.{name}" for layer in range(self.cfg.n_layers) for name in off}

    def forward(
        self,
        input: Tensor | str | list[str],
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        stop_at_layer: int | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: token ids `[batch, pos]` or `[pos]`, which start with BOS, or text, to which BOS is added.
            return_type: `"logits"`: `[batch, pos, d_vocab]`. `"loss"`: mean cross-entropy of the next token, in
                nats, differentiable once. `"both"`: the pair, as often as you like. None: nothing, for those who
                only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, 0 where the next token is not real.
            stop_at_layer: return the residual stream `[batch, pos, d_model]` that enters this block; −1 is the
                last block.
            mask: bool `[batch, pos]`, True where a token is real; only real next tokens count in the loss. Padding
                must be at the end of a row, where no real token sees it.

        Raises:
            ValueError: the input is empty, longer than `n_ctx`, or has ids outside the vocabulary; the mask does not
                fit it; or `return_type` or `stop_at_layer` names nothing.
        """
        if return_type not in ("logits", "loss", "both", None):
            raise ValueError(f"return_type {return_type!r} is unknown: there are logits, loss, both and None.")
        if stop_at_layer is not None and abs(stop_at_layer) > self.cfg.n_layers:
            raise ValueError(f"stop_at_layer is {stop_at_layer}, but this model has {self.cfg.n_layers} layers.")
        if isinstance(input, Tensor):
            tokens = self._checked(input[None] if input.ndim == 1 else input)
        else:
            ids, real = self.encode_texts([input] if isinstance(input, str) else input)
            tokens, mask = self._checked(ids), real if mask is None else mask
        targets = None
        if stop_at_layer is None and return_type in ("loss", "both"):
            targets = next_tokens(tokens, None if mask is None else mask.to(tokens.device))
        resid = self._embed(tokens)
        for block in self.blocks[:stop_at_layer]:
            resid = block(resid)
        if stop_at_layer is not None:
            return resid
        resid = self.ln_final(resid)
        if targets is not None and return_type == "loss" and not loss_per_token:
            return unembedded_loss(resid, self.W_U, self.b_U, targets)
        if return_type is None:
            return None
        logits = self.unembed(resid)
        if targets is None:
            return logits
        loss = token_losses(logits, targets) if loss_per_token else mean_loss(logits, targets)
        return loss if return_type == "loss" else (logits, loss)

    def _embed(self, tokens: Int[Tensor, "batch pos"]) -> Stream:
        embedded = self.hook_embed(self.embed(tokens))
        positions = self.pos_embed(tokens)
        # A copy where a hook may write into it: these are the weights themselves.
        return embedded + self.hook_pos_embed(positions.clone() if attached(self.hook_pos_embed) else positions)

    def _checked(self, tokens: Tensor) -> Int[Tensor, "batch pos"]:
        """The tokens, on the model's device; ids are checked where that does not stop a GPU's queue."""
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(f"tokens must be integers [batch, pos], not {tokens.dtype} {list(tokens.shape)}.")
        if tokens.numel() == 0:
            raise ValueError("the input has no tokens.")
        if tokens.shape[1] > self.cfg.n_ctx:
            raise ValueError(f"{tokens.shape[1]} tokens are more than the {self.cfg.n_ctx} that this model can see.")
        if tokens.device.type == "cpu":
            low, high = (int(bound) for bound in tokens.aminmax())
            if low < 0 or high >= self.cfg.d_vocab:
                raise ValueError(
                    f"token ids run from {low} to {high}, but the vocabulary is 0 to {self.cfg.d_vocab - 1}."
                )
        return tokens.to(self.W_E.device)

    def folded(
        self, center_writing_weights: bool = True, center_unembed: bool = True, fold_value_biases: bool = True
    ) -> "Transformer":
        """A copy with equal log-probabilities whose norms have no gain and bias: what reads them absorbed both.

        Attribution to logits, SVDs and OV/QK circuits are to be read off this copy. See `models.folding`.

        Args:
            center_writing_weights: also take from everything that writes to the residual stream its mean over
                `d_model`, which LayerNorm would subtract (not done for RMSNorm, or where there is no norm).
            center_unembed: also take from `W_U` and `b_U` their mean over the vocabulary, which softmax ignores:
                logits then differ from the original's by one number a position.
            fold_value_biases: also move `b_V`, which every head writes whatever it attends to, into `b_O`.
        """
        kind = self.cfg.normalization_type
        folded_kind = None if kind is None else kind.removesuffix("Pre") + "Pre"
        cfg = dataclasses.replace(self.cfg, normalization_type=folded_kind, layer_norm_folding=True)
        copy = Transformer(cfg)
        copy.load_state_dict(folded_weights(self, center_writing_weights, center_unembed, fold_value_biases))
        copy.tokenizer = self.tokenizer
        return copy.train(self.training)
