"""`Transformer`: decoder-only, with TransformerLens's weights and hooks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.attention import Attention
from models.checked_input import checked_tokens
from models.feed_forward import MLP, GatedMLP
from models.folding import folded_config, folded_weights
from models.generation import Generation
from models.hooks import HookedModel, attached
from models.key_values import KeyValueCache, KeyValues
from models.lens_contract import TextMethods, WeightMethods
from models.loss import IGNORED
from models.normalization import make_norm
from models.positions import PosEmbed, SinusoidalPosEmbed
from models.readout import ReadOut, asked_for
from models.transformer_config import TransformerConfig

__all__ = ["Transformer", "TransformerConfig"]

Stream = Float[Tensor, "batch pos d_model"]


class Embed(nn.Module):
    """Token embedding, `W_E [d_vocab, d_model]`."""

    def __init__(self, d_vocab: int, d_model: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.W_E = nn.Parameter(torch.empty(d_vocab, d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_E, std=self.std, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Stream:
        return F.embedding(tokens, self.W_E)


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
            self.mlp = GatedMLP(cfg) if cfg.gated_mlp else MLP(cfg)
            self.hook_mlp_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(
        self, resid: Stream, past: KeyValues | None = None, at: Int[Tensor, " asked"] | None = None
    ) -> Float[Tensor, "batch _ d_model"]:
        """The stream after the block; where `at` is given, only at these positions, the others being read from."""
        resid = self.hook_resid_pre(resid)
        attn_out = self.attn(resid, self.ln1, past=past, at=at)
        return self._added(resid if at is None else resid[:, at], attn_out)

    def after_reading(self, resid: Stream, z: Float[Tensor, "batch pos head d_head"]) -> Stream:
        """The stream after the block at positions where its heads have read `z`, each for itself.

        Args:
            resid: the stream before the block, past `hook_resid_pre`.
            z: what stands before `attn.hook_z`.
        """
        return self._added(resid, self.attn.written(z))

    def _added(self, resid: Stream, attn_out: Stream) -> Stream:
        resid = resid + self.hook_attn_out(attn_out)
        if self.mlp is not None:
            resid = self.hook_resid_mid(resid)
            # A copy where a hook may write into it: the residual stream itself goes past the MLP.
            mlp_in = self.hook_mlp_in(resid.clone()) if attached(self.hook_mlp_in) else resid
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(mlp_in)))
        return self.hook_resid_post(resid)


class Unembed(ReadOut):
    """Residual stream to logits, `W_U [d_model, d_vocab]`, `b_U [d_vocab]`."""

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__(cfg.d_model, cfg.d_vocab)
        self.std = cfg.initializer_range

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_U, std=self.std, generator=generator)
        nn.init.zeros_(self.b_U)


class TiedUnembed(nn.Module):
    """An unembedding whose `W_U` is `W_E` of the embedding; `b_U [d_vocab]` is its own."""

    def __init__(self, embed: Embed) -> None:
        super().__init__()
        # In a tuple, so that the weight is registered, saved and trained once: as the embedding's.
        self._tied_to = (embed,)
        self.b_U = nn.Parameter(torch.empty(len(embed.W_E)))

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        return self._tied_to[0].W_E.T

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.zeros_(self.b_U)

    forward = ReadOut.forward
    returned: Callable[..., Any] = ReadOut.returned


class Transformer(TextMethods, WeightMethods, Generation, HookedModel):
    """A decoder-only transformer (Radford et al. 2019) that TransformerLens's own tools can read.

    A hook that nobody uses costs nothing: attention and norms run fused until a hook that needs their inner
    values is attached, and where a loss asks few positions the last block runs at these alone until one of its hooks
    is. `tokenizer` is None until one is set.
    """

    tokenizer: Tokenizer | None

    def __init__(self, cfg: TransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.tokenizer = None
        self.embed = Embed(cfg.d_vocab, cfg.d_model, cfg.initializer_range)
        self.hook_embed = HookPoint()
        self.pos_embed: PosEmbed | SinusoidalPosEmbed | None = None
        if cfg.positional_embedding_type in ("standard", "sinusoidal"):
            learned = cfg.positional_embedding_type == "standard"
            table = PosEmbed(cfg.n_ctx, cfg.d_model, cfg.initializer_range) if learned else None
            self.pos_embed = table or SinusoidalPosEmbed(cfg.n_ctx, cfg.d_model)
            self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layers))
        self.ln_final = make_norm(cfg.normalization_type, cfg.d_model, cfg.eps)
        self.unembed = TiedUnembed(self.embed) if cfg.tie_word_embeddings else Unembed(cfg)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

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
        targets: Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: token ids `[batch, pos]` or `[pos]`, which start with BOS, or text, to which BOS is added.
            return_type: `"logits"`: `[batch, pos, d_vocab]`. `"loss"`: mean cross-entropy of the next token, in
                nats, differentiable once. `"both"`: the pair, as often as you like. None: nothing, for those who
                only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, 0 where the next token is not real; with `targets` as
                `[batch, pos]`, 0 where nothing is asked.
            stop_at_layer: return the residual stream `[batch, pos, d_model]` that enters this block; −1 is the
                last block.
            mask: bool `[batch, pos]`, True where a token is real; only real next tokens count in the loss. Padding
                must be at the end of a row, where no real token sees it.
            targets: ids `[batch, pos]` that take the place of the next tokens in the loss, −100 where nothing is asked.

        Raises:
            ValueError: the input is empty, longer than `n_ctx`, or has ids outside the vocabulary; mask or targets do
                not fit it, or ask nothing; or `return_type` or `stop_at_layer` names nothing.
        """
        if stop_at_layer is not None and abs(stop_at_layer) > self.cfg.n_layers:
            raise ValueError(f"stop_at_layer is {stop_at_layer}, but this model has {self.cfg.n_layers} layers.")
        if targets is not None and targets.is_floating_point():
            raise ValueError(f"targets must be token ids, integers [batch, pos], not {targets.dtype}.")
        tokens, mask = self.read_input(input, mask)
        tokens = checked_tokens(tokens, self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.device)
        asked = None
        if stop_at_layer is None:
            asked = asked_for(tokens, mask, targets, return_type, self.cfg.d_vocab)
        mean_only = return_type == "loss" and not loss_per_token
        at = self._asked_positions(asked) if asked is not None and targets is not None and mean_only else None
        resid = self._embed(tokens)
        for depth, block in enumerate(self.blocks[:stop_at_layer]):
            resid = block(resid, at=at if depth == self.cfg.n_layers - 1 else None)
        if stop_at_layer is not None:
            return resid
        resid = self.ln_final(resid)
        asked = asked if asked is None or at is None else asked[:, at]
        return self.unembed.returned(resid, asked, return_type, loss_per_token, targets is not None)

    @torch.no_grad()
    def run_steps(
        self, input: Tensor, state: KeyValueCache | None = None
    ) -> tuple[Float[Tensor, "batch new d_vocab"], KeyValueCache]:
        """Go on from `state`: the logits at the given tokens `[batch, new]`, and the state after them.

        Hooks see the new positions alone; the state that went in is used up. No gradients are kept.

        Raises:
            ValueError: there are no tokens, some are outside the vocabulary, or all of them are more than `n_ctx`.
        """
        state = KeyValueCache(self.cfg.n_layers) if state is None else state
        room = self.cfg.n_ctx - state.length
        if input.shape[-1] > room:
            raise ValueError(f"{state.length} tokens have been read: {room} more fit, not {input.shape[-1]}.")
        resid = self._embed(checked_tokens(input, self.cfg.d_vocab, room, self.cfg.device), state.length)
        for block, past in zip(self.blocks, state.layers, strict=True):
            resid = block(resid, past)
        return self.unembed(self.ln_final(resid)), state

    def _embed(self, tokens: Int[Tensor, "batch pos"], start: int = 0) -> Stream:
        embedded = self.hook_embed(self.embed(tokens))
        if self.pos_embed is None:
            return embedded
        positions = self.pos_embed(tokens, start)
        # A copy where a hook may write into it: these are the weights themselves.
        return embedded + self.hook_pos_embed(positions.clone() if attached(self.hook_pos_embed) else positions)

    def _asked_positions(self, asked: Int[Tensor, "batch pos"]) -> Int[Tensor, " asked"] | None:
        """The positions that the last block must write at for the loss; None where that is not worth choosing them."""
        last = [*self.blocks[-1].modules(), *self.ln_final.modules()]
        if attached(*(module for module in last if isinstance(module, HookPoint))):
            return None
        at = (asked != IGNORED).any(0).nonzero()[:, 0]
        return at if 2 * len(at) <= asked.shape[1] else None

    def folded(
        self, center_writing_weights: bool = True, center_unembed: bool = True, fold_value_biases: bool = True
    ) -> "Transformer":
        """A copy with equal log-probabilities whose norms have no gain and bias: what reads them absorbed both.

        Attribution to logits, SVDs and OV/QK circuits are to be read off this copy. Its unembedding is its own where
        the model's is tied, and sinusoidal positions that are centred become weights. See `models.folding`.

        Args:
            center_writing_weights: also take from everything that writes to the residual stream its mean over
                `d_model`, which LayerNorm would subtract (not done for RMSNorm, or where there is no norm).
            center_unembed: also take from `W_U` and `b_U` their mean over the vocabulary, which softmax ignores:
                logits then differ from the original's by one number a position.
            fold_value_biases: also move `b_V`, which every head writes whatever it attends to, into `b_O`.
        """
        copy = Transformer(folded_config(self.cfg, center_writing_weights))
        copy.load_state_dict(folded_weights(self, center_writing_weights, center_unembed, fold_value_biases))
        copy.tokenizer = self.tokenizer
        return copy.train(self.training)
