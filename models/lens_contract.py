"""What TransformerLens's tools ask of a model besides running it: text in and out, and weights by name."""

from typing import Any

import einops
import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformer_lens import FactoredMatrix

from models.checked_input import as_rows

BOS = 0


class TextMethods:
    """Text to tokens and back, by the `tokenizers.Tokenizer` in `self.tokenizer`. BOS is also the padding."""

    tokenizer: Tokenizer | None
    cfg: Any
    bos: int

    def _require_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer: give it token ids, or set model.tokenizer.")
        return self.tokenizer

    def read_input(self, input: Tensor | str | list[str], mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Tokens `[batch, pos]` of tokens or text, and where they are real if that is known."""
        if isinstance(input, Tensor):
            return as_rows(input), mask
        tokens, real = self.encode_texts([input] if isinstance(input, str) else input)
        return tokens, real if mask is None else mask

    def encode_texts(
        self, texts: list[str], prepend_bos: bool | None = None
    ) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
        """Token ids, padded at the end, and where they are real."""
        if not texts:
            raise ValueError("the input has no tokens.")
        if prepend_bos is None:
            prepend_bos = self.cfg.default_prepend_bos
        encoded = self._require_tokenizer().encode_batch(texts, add_special_tokens=False)
        rows = [torch.tensor([self.bos] * prepend_bos + item.ids, dtype=torch.int64) for item in encoded]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.bos)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        return tokens.to(self.cfg.device), mask.to(self.cfg.device)

    def to_tokens(self, input: str | list[str], prepend_bos: bool | None = None) -> Int[Tensor, "batch pos"]:
        """Token ids of one text or several; shorter ones are padded at the end with BOS."""
        return self.encode_texts([input] if isinstance(input, str) else list(input), prepend_bos)[0]

    def to_string(self, tokens: Any) -> str | list[str]:
        """The text of `[pos]` token ids, or one for each row of `[batch, pos]`."""
        tokens = torch.as_tensor(tokens)
        if tokens.ndim == 2:
            return [str(self.to_string(row)) for row in tokens]
        return self._require_tokenizer().decode(tokens.reshape(-1).tolist(), skip_special_tokens=False)

    def to_str_tokens(self, input: Any, prepend_bos: bool | None = None) -> list[str] | list[list[str]]:
        """Each token of a text, or of `[pos]` or `[1, pos]` ids, as a string; for several texts a list of lists."""
        if isinstance(input, list) and input and isinstance(input[0], str):
            return [[str(t) for t in self.to_str_tokens(text, prepend_bos)] for text in input]
        ids = self.to_tokens(input, prepend_bos)[0] if isinstance(input, str) else torch.as_tensor(input).squeeze()
        if ids.ndim > 1:
            raise ValueError(f"to_str_tokens takes one sequence, not tokens of shape {tuple(ids.shape)}.")
        decode = self._require_tokenizer().decode
        return [decode([i], skip_special_tokens=False) for i in ids.reshape(-1).tolist()]

    def to_single_token(self, string: str) -> int:
        """The id of a text that is exactly one token.

        Raises:
            ValueError: it is none, or several.
        """
        ids = self.to_tokens(string, prepend_bos=False)[0].tolist()
        if len(ids) != 1:
            raise ValueError(f"{string!r} is {len(ids)} tokens, not one: {self.to_str_tokens(torch.tensor(ids))}.")
        return ids[0]


def _own(part: str, name: str, shape: str) -> property:
    return property(lambda self: getattr(getattr(self, part), name), doc=f"`[{shape}]`.")


def _stacked(part: str, name: str, shape: str) -> property:
    def stack(self: "WeightMethods") -> Tensor:
        if part == "mlp" and self.cfg.attn_only:
            raise ValueError(f"this model is attention-only: it has no {name}.")
        if name.endswith("_gate") and not self.cfg.gated_mlp:
            raise ValueError(f"this model's MLPs are not gated: it has no {name}.")
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])

    return property(stack, doc=f"`[{shape}]`, stacked over layers.")


class WeightMethods:
    """A decoder-only transformer's weights, and the directions they define, under TransformerLens's names."""

    cfg: Any
    blocks: Any
    pos_embed: Any
    tokenizer: Tokenizer | None

    W_E = _own("embed", "W_E", "d_vocab, d_model")
    W_U = _own("unembed", "W_U", "d_model, d_vocab")
    b_U = _own("unembed", "b_U", "d_vocab")
    W_Q = _stacked("attn", "W_Q", "layer, head, d_model, d_head")
    W_K = _stacked("attn", "W_K", "layer, head, d_model, d_head")
    W_V = _stacked("attn", "W_V", "layer, head, d_model, d_head")
    W_O = _stacked("attn", "W_O", "layer, head, d_head, d_model")
    b_Q = _stacked("attn", "b_Q", "layer, head, d_head")
    b_K = _stacked("attn", "b_K", "layer, head, d_head")
    b_V = _stacked("attn", "b_V", "layer, head, d_head")
    b_O = _stacked("attn", "b_O", "layer, d_model")
    W_in = _stacked("mlp", "W_in", "layer, d_model, d_mlp")
    W_out = _stacked("mlp", "W_out", "layer, d_mlp, d_model")
    W_gate = _stacked("mlp", "W_gate", "layer, d_model, d_mlp")
    b_gate = _stacked("mlp", "b_gate", "layer, d_mlp")
    b_in = _stacked("mlp", "b_in", "layer, d_mlp")
    b_out = _stacked("mlp", "b_out", "layer, d_model")

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """The positions that are added to the embedding, learned or fixed."""
        if self.pos_embed is None:
            raise ValueError(f"positions are {self.cfg.positional_embedding_type!r}: this model has no W_pos.")
        return self.pos_embed.W_pos

    @property
    def QK(self) -> FactoredMatrix:
        """`W_Q W_Kᵀ`, `[layer, head, d_model, d_model]`, as its two factors; the query side is on the left."""
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-2, -1))

    @property
    def OV(self) -> FactoredMatrix:
        """`W_V W_O`, `[layer, head, d_model, d_model]`, as its two factors: what is read is on the left."""
        return FactoredMatrix(self.W_V, self.W_O)

    def tl_parameters(self) -> dict[str, Tensor]:
        """Every parameter by its TransformerLens name, such as `blocks.0.attn.W_Q`."""
        return dict(self.named_parameters())  # type: ignore[attr-defined]

    def tokens_to_residual_directions(
        self, tokens: str | int | Int[Tensor, "*lead"]
    ) -> Float[Tensor, "*directions d_model"]:
        """The unembedding vectors of tokens: `[d_model]` for one, otherwise `[*lead, d_model]`.

        Where the final norm has a gain these are not the directions along which logits grow: use `folded()`.
        """
        if isinstance(tokens, str):
            tokens = self.to_single_token(tokens)  # type: ignore[attr-defined]
        ids = torch.as_tensor(tokens)
        if ids.numel() == 1:
            return self.W_U[:, int(ids)]
        return einops.rearrange(self.W_U[:, ids], "d_model ... -> ... d_model")

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """The sum of the biases written to the residual stream before `layer`.

        Args:
            layer: blocks below this one count; `n_layers` is the whole model.
            mlp_input: also count this layer's attention.
            include_mlp_biases: count `b_out` as well as `b_O`.
        """
        if not 0 <= layer <= self.cfg.n_layers - mlp_input:
            raise ValueError(f"layer {layer} is not one of this model's {self.cfg.n_layers}.")
        total = self.W_E.new_zeros(self.cfg.d_model)
        for depth, block in enumerate(self.blocks[: layer + mlp_input]):
            total = total + block.attn.b_O
            if include_mlp_biases and depth < layer and not self.cfg.attn_only:
                total = total + block.mlp.b_out
        return total

    def set_use_attn_result(self, use_attn_result: bool) -> None:
        """Include each head's write to the residual stream in a full cache."""
        self.cfg.use_attn_result = use_attn_result

    def set_use_split_qkv_input(self, use_split_qkv_input: bool) -> None:
        """Include each head's three copies of the residual stream, one for each of q, k, v, in a full cache."""
        self.cfg.use_split_qkv_input = use_split_qkv_input

    def set_use_attn_in(self, use_attn_in: bool) -> None:
        """Include each head's copy of the residual stream in a full cache."""
        self.cfg.use_attn_in = use_attn_in

    def set_use_hook_mlp_in(self, use_hook_mlp_in: bool) -> None:
        """Include the MLP's copy of the residual stream in a full cache."""
        self.cfg.use_hook_mlp_in = use_hook_mlp_in
