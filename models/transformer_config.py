"""The shape of a `Transformer`, in TransformerLens's spellings."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from transformer_lens.config import TransformerLensConfig

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
NORMALIZATIONS = ("LN", "LNPre", "RMS", "RMSPre", None)
# TransformerLens's fields for shapes that this architecture does not have, with the one value each may take.
_FIXED = {
    "positional_embedding_type": "standard",
    "gated_mlp": False,
    "final_rms": False,
    "num_experts": None,
    "experts_per_token": None,
}


@dataclass(kw_only=True)
class TransformerConfig(TransformerLensConfig):
    """A decoder-only transformer with learned positions (Radford et al. 2019).

    Also carries every field of `TransformerLensConfig`, so that TransformerLens's tools can read it.

    Attributes:
        n_layers: blocks.
        d_model: width of the residual stream.
        n_heads: attention heads a block.
        d_head: width of a head; `d_model / n_heads` where it is not given.
        d_mlp: width of the hidden layer; `4 · d_model` where it is not given.
        n_ctx: positions that the model can see.
        d_vocab: tokens, in and out.
        act_fn: `gelu` (exact, by erf), `gelu_new` (tanh), `relu` or `silu`.
        normalization_type: `LN`, `RMS`, None, or `LNPre`, `RMSPre`, which have no gain and bias (`folded()`).
        attn_only: leave the MLPs out.
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
        self.uses_rms_norm = (self.normalization_type or "").startswith("RMS")
        if self.initializer_range < 0:
            self.initializer_range = 0.8 / math.sqrt(self.d_model)

    def _check_names(self) -> None:
        if self.act_fn not in ACTIVATIONS:
            raise ValueError(f"act_fn {self.act_fn!r} is unknown: there are {', '.join(ACTIVATIONS)}.")
        if self.normalization_type not in NORMALIZATIONS:
            known = ", ".join(map(str, NORMALIZATIONS))
            raise ValueError(f"normalization_type {self.normalization_type!r} is unknown: there are {known}.")
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} is {getattr(self, name)!r}: this Transformer has only {value!r}.")
        if self.n_key_value_heads not in (None, self.n_heads):
            raise ValueError(
                f"n_key_value_heads is {self.n_key_value_heads}: each of the {self.n_heads} heads has its own."
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        values = dataclasses.asdict(self) | {"dtype": str(self.dtype).removeprefix("torch.")}
        del values["device"]
        return values

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> "TransformerConfig":
        """What `to_dict` gave.

        Raises:
            ValueError: a field is unknown or missing.
        """
        values = dict(config_dict)
        unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"a TransformerConfig has no field {', '.join(sorted(unknown))}.")
        dtype = values.get("dtype", torch.float32)
        if isinstance(dtype, str):
            values["dtype"] = getattr(torch, dtype, None)
            if not isinstance(values["dtype"], torch.dtype):
                raise ValueError(f"dtype {dtype!r} is unknown: float32, float64, bfloat16 and float16 are usual.")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"a TransformerConfig cannot be made of {sorted(values)}: {error}.") from error

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
