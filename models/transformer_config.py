"""The shape of a `Transformer`, in TransformerLens's spellings."""

import math
from dataclasses import dataclass
from typing import Any

from transformer_lens.config import TransformerLensConfig

from models.config_json import config_from_dict, config_to_dict

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "solu", "solu_ln")
POSITIONS = ("standard", "sinusoidal", "rotary", "none")
NORMALIZATIONS = ("LN", "LNPre", "RMS", "RMSPre", None)
# TransformerLens's fields for shapes that this architecture does not have, with the one value each may take.
_FIXED = {
    "final_rms": False,
    "num_experts": None,
    "experts_per_token": None,
}


@dataclass(kw_only=True)
class TransformerConfig(TransformerLensConfig):
    """A decoder-only transformer (Radford et al. 2019), with the positions, norms and MLPs of its successors.

    Also carries every field of `TransformerLensConfig`, so that TransformerLens's tools can read it.

    Attributes:
        n_layers: blocks.
        d_model: width of the residual stream.
        n_heads: attention heads a block.
        d_head: width of a head; `d_model / n_heads` where it is not given.
        d_mlp: width of the hidden layer; `4 · d_model` where it is not given.
        n_ctx: positions that the model can see.
        d_vocab: tokens, in and out.
        positional_embedding_type: `standard` (learned), `sinusoidal` (fixed), `rotary` or `none`.
        rotary_dim: entries of each query and key that are rotated; all of `d_head` where it is not given.
        rotary_base: the slowest pair turns once in nearly `2π · rotary_base` positions.
        rotary_adjacent_pairs: rotate entries (2i, 2i + 1), as GPT-J does; else (i, i + rotary_dim/2), as Llama does.
        act_fn: `gelu` (exact, by erf), `gelu_new` (tanh), `relu`, `silu`, `solu`, or `solu_ln` (with a LayerNorm).
        gated_mlp: the activation of one projection multiplies another; SwiGLU where `act_fn` is `silu`.
        normalization_type: `LN`, `RMS`, None, or `LNPre`, `RMSPre`, which have no gain and bias (`folded()`).
        attn_only: leave the MLPs out.
        tie_word_embeddings: unembed with the embedding's own weights.
        eps: added to the variance under the norm's root.
        seed: of the initial weights.
        initializer_range: their standard deviation; `0.8 / √d_model` where it is not given.
        dtype: of the weights.
        device: of the weights.
        use_attn_result: a full cache includes `attn.hook_result`, `[batch, pos, head, d_model]`.
        use_split_qkv_input: a full cache includes `attn.hook_{q,k,v}_input`, `[batch, pos, head, d_model]`.
        use_attn_in: a full cache includes `attn.hook_attn_in`, `[batch, pos, head, d_model]`.
        use_hook_mlp_in: a full cache includes `hook_mlp_in`.

    Raises:
        ValueError: the fields contradict each other or name what this architecture does not have.
    """

    d_head: int = -1
    d_mlp: int = -1
    device: str = "cpu"
    act_fn: str = "gelu"
    seed: int = 0
    initializer_range: float = -1.0
    rotary_dim: int | None = None
    rotary_base: float = 10000.0
    rotary_adjacent_pairs: bool = False
    tie_word_embeddings: bool = False
    use_attn_in: bool = False
    use_hook_mlp_in: bool = False

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "n_ctx", "d_vocab"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.d_head == -1:
            if self.d_model % self.n_heads:
                raise ValueError(
                    f"{self.n_heads} heads do not divide d_model {self.d_model}: give another n_heads, or d_head."
                )
            self.d_head = self.d_model // self.n_heads
        if self.d_mlp == -1:
            self.d_mlp = 4 * self.d_model
        self._check_names()
        super().__post_init__()
        if self.d_head < 1 or self.d_mlp < 1:
            raise ValueError(f"d_head is {self.d_head} and d_mlp {self.d_mlp}: both must be at least 1.")
        self._check_positions()
        self.uses_rms_norm = (self.normalization_type or "").startswith("RMS")
        if self.initializer_range < 0:
            self.initializer_range = 0.8 / math.sqrt(self.d_model)

    def _check_names(self) -> None:
        named: dict[str, tuple[str | None, ...]] = {
            "act_fn": ACTIVATIONS,
            "normalization_type": NORMALIZATIONS,
            "positional_embedding_type": POSITIONS,
        }
        for name, known in named.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} {value!r} is unknown: there are {', '.join(map(str, known))}.")
        if self.gated_mlp and self.act_fn == "solu_ln":
            raise ValueError("a gated MLP has no norm after its activation: take act_fn 'solu' in place of 'solu_ln'.")
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} is {getattr(self, name)!r}: this Transformer has only {value!r}.")
        if self.n_key_value_heads not in (None, self.n_heads):
            raise ValueError(
                f"n_key_value_heads is {self.n_key_value_heads}: each of the {self.n_heads} heads has its own."
            )

    def _check_positions(self) -> None:
        if self.positional_embedding_type == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"d_model is {self.d_model}: sinusoidal positions come in pairs and need an even one.")
        if self.positional_embedding_type != "rotary":
            kind = self.positional_embedding_type
            if self.rotary_dim is not None:
                raise ValueError(f"rotary_dim is {self.rotary_dim}, but positions are {kind!r}, not 'rotary'.")
            return
        if self.rotary_dim is None:
            self.rotary_dim = self.d_head
        if self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.d_head:
            raise ValueError(
                f"rotary_dim is {self.rotary_dim}: it must be even, at least 2 and at most d_head, {self.d_head}."
            )
        if self.rotary_base <= 1:
            raise ValueError(f"rotary_base is {self.rotary_base}: it must be above 1.")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> "TransformerConfig":
        """What `to_dict` gave.

        Raises:
            ValueError: a field is unknown or missing.
        """
        return config_from_dict(cls, config_dict)

    @property
    def gated_hooks(self) -> dict[str, bool]:
        """Hook points of a block that fire only for those who ask, and whether a full cache asks."""
        split = self.use_split_qkv_input
        return {
            "attn.hook_result": self.use_attn_result,
            "attn.hook_attn_in": self.use_attn_in,
            "attn.hook_q_input": split,
            "attn.hook_k_input": split,
            "attn.hook_v_input": split,
            "hook_mlp_in": self.use_hook_mlp_in,
        }
