"""A subject's attention heads as weights, its norms folded in, and random heads to hold them against."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Generator, Tensor

from models.checked_input import whole_number
from models.hub import HubModel
from models.hub_readout import gain
from models.positions import Rotary
from models.transformer import Transformer


@dataclass(frozen=True)
class HeadWeights:
    """What heads read and write, in TransformerLens's shapes; what a norm multiplies with is in the weights.

    Where the norm is a LayerNorm, what is written has its mean over `d_model` taken out, and so has what is read: the
    norm subtracts it. The norm's division by the stream's length is left out: it scales a position as a whole.

    Attributes:
        W_Q, W_K, W_V: `[layer, head, d_model, d_head]`; keys and values that heads share are repeated for each.
        W_O: `[layer, head, d_head, d_model]`.
        b_Q, b_K: `[layer, head, d_head]`. What b_V writes is the same whatever is attended to: it is left out.
        W_E: `[d_vocab, d_model]`.
        W_U: `[d_model, d_vocab]`, centred over the vocabulary, which softmax ignores.
        W_pos: `[n_ctx, d_model]`; None where positions are not added to the embedding.
        rotary: what turns queries and keys; None where nothing does, or where it is not known.
        norm: `LN`, `RMS` or None.
        eps: added to the mean square under the norm's root.
        tokenizer: the subject's.
    """

    W_Q: Float[Tensor, "layer head d_model d_head"]
    W_K: Float[Tensor, "layer head d_model d_head"]
    W_V: Float[Tensor, "layer head d_model d_head"]
    W_O: Float[Tensor, "layer head d_head d_model"]
    b_Q: Float[Tensor, "layer head d_head"]
    b_K: Float[Tensor, "layer head d_head"]
    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    W_pos: Float[Tensor, "n_ctx d_model"] | None
    rotary: Rotary | None
    norm: str | None
    eps: float
    tokenizer: Tokenizer | None

    @property
    def n_layers(self) -> int:
        """How many layers have heads."""
        return self.W_Q.shape[0]

    @property
    def n_heads(self) -> int:
        """How many heads a layer has."""
        return self.W_Q.shape[1]

    @property
    def d_model(self) -> int:
        """How wide the stream is that heads read and write."""
        return self.W_Q.shape[2]

    @property
    def d_head(self) -> int:
        """How wide a head's queries, keys and values are."""
        return self.W_Q.shape[3]

    @property
    def centred(self) -> bool:
        """Whether means over `d_model` are taken out of what is read and written: the norm is a LayerNorm."""
        return self.norm == "LN"

    def checked(self, layer: int, head: int) -> tuple[int, int]:
        """A head that is there. `ValueError` for one that is not."""
        for name, value, n in (("layer", layer, self.n_layers), ("head", head, self.n_heads)):
            whole_number(value, name, least=0)
            if value >= n:
                raise ValueError(f"there is no {name} {value}: they are numbered 0 to {n - 1}.")
        return layer, head

    def each_head(self) -> list[tuple[int, int]]:
        """Every layer and head, in order."""
        return [(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)]

    def normalised(self, x: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """What the norm makes of values of the stream; the values themselves where there is none."""
        if self.norm is None:
            return x
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt()


Heads = Transformer | HubModel | HeadWeights


@torch.no_grad()
def weights_of(model: Any) -> HeadWeights:
    """A subject's heads, on the CPU in single precision: of a `Transformer` those of `folded()`.

    A `HubModel`'s norms are folded in here; its rotary positions stay unknown, and a norm behind a head (Gemma 2)
    gives its gain alone. What is a `HeadWeights` already is given back.

    Raises:
        ValueError: the subject has no heads whose weights are known, or not in every layer.
    """
    if isinstance(model, HeadWeights):
        return model
    if isinstance(model, Transformer):
        return _of_transformer(model)
    if isinstance(model, HubModel):
        return _of_hub(model)
    raise ValueError(
        f"a {type(model).__name__} has no attention heads whose weights can be read here: give a Transformer or a "
        "HubModel."
    )


def random_weights(
    d_model: int, d_head: int, n: int, generator: Generator, centred: bool = False
) -> Float[Tensor, "n d_model d_head"]:
    """Gaussian matrices of a head's shape, whose columns have no mean where the head's have none."""
    drawn = torch.randn(n, d_model, d_head, generator=generator, dtype=torch.float64)
    return drawn - drawn.mean(1, keepdim=True) if centred else drawn


def percentile_of(value: float, draws: Float[Tensor, " n"]) -> float:
    """How many of a hundred draws lie below a value; those that equal it count half. NaN if any of these is."""
    if math.isnan(value) or draws.isnan().any():
        return math.nan
    return 100 * float((draws < value).double().mean() + (draws == value).double().mean() / 2)


def with_percentiles(table: pd.DataFrame, draws: Float[Tensor, " n"]) -> pd.DataFrame:
    """A table of `value` with `random_mean`, `random_high` (99th percentile of the draws) and `percentile`."""
    values = torch.tensor(table["value"].to_numpy(dtype="float64"))
    return table.assign(
        random_mean=float(draws.mean()),
        random_high=float(draws.quantile(0.99)),
        percentile=[percentile_of(float(value), draws) for value in values],
    )


def _of_transformer(model: Transformer) -> HeadWeights:
    folded = model.folded()
    kind = None if model.cfg.normalization_type is None else model.cfg.normalization_type.removesuffix("Pre")
    reads = {name: _as_read(getattr(folded, name), kind) for name in ("W_Q", "W_K", "W_V")}
    return HeadWeights(
        **reads,
        **{name: _plain(getattr(folded, name)) for name in ("W_O", "b_Q", "b_K", "W_E", "W_U")},
        W_pos=None if folded.pos_embed is None else _plain(folded.W_pos),
        rotary=None if (rotary := folded.blocks[0].attn.rotary) is None else rotary.cpu(),
        norm=kind,
        eps=model.cfg.eps,
        tokenizer=model.tokenizer,
    )


def _of_hub(model: HubModel) -> HeadWeights:
    bridge, n_heads = model.bridge, int(model.cfg.n_heads or 0)
    norm = model.cfg.normalization_type
    kind = None if norm is None else norm.removesuffix("Pre")
    found: dict[str, list[Tensor]] = {name: [] for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K")}
    for number, block in enumerate(bridge.blocks):
        attn: Any = getattr(block, "attn", None)
        if any(getattr(attn, name, None) is None for name in ("W_Q", "W_K", "W_V", "W_O")):
            raise ValueError(f"layer {number} of this {model.cfg.hub_class} has no attention heads with weights.")
        scale, shift = gain(bridge, block.ln1), getattr(block.ln1.original_component, "bias", None)
        for name, heads in (("Q", n_heads), ("K", None), ("V", None)):
            weight = bridge._reshape_qkv(getattr(attn, f"W_{name}"))
            bias = getattr(attn, f"b_{name}", None)
            bias = weight.new_zeros(weight.shape[0], weight.shape[2]) if bias is None else bias
            bias = bias.reshape(weight.shape[0], weight.shape[2])
            if shift is not None:
                bias = bias + shift @ weight
            weight, repeats = scale[:, None] * weight, 1 if heads else n_heads // weight.shape[0]
            found[f"W_{name}"].append(weight.repeat_interleave(repeats, 0))
            if name != "V":
                found[f"b_{name}"].append(bias.repeat_interleave(repeats, 0))
        written = bridge._reshape_o(attn.W_O)
        found["W_O"].append(written * gain(bridge, block.ln1_post) if hasattr(block, "ln1_post") else written)
    W = {name: torch.stack(parts) for name, parts in found.items()}
    W_U = model.folded().W_U
    W_pos = bridge.W_pos if getattr(bridge.cfg, "positional_embedding_type", None) == "standard" else None
    return HeadWeights(
        **{name: _as_read(W[name], kind) for name in ("W_Q", "W_K", "W_V")},
        W_O=_as_written(W["W_O"], kind),
        b_Q=_plain(W["b_Q"]),
        b_K=_plain(W["b_K"]),
        W_E=_as_written(bridge.W_E[: W_U.shape[1]], kind),
        W_U=_as_read(W_U, kind),
        W_pos=None if W_pos is None else _as_written(W_pos, kind),
        rotary=None,
        norm=kind,
        eps=float(getattr(bridge.cfg, "eps", 1e-5)),
        tokenizer=model.tokenizer,
    )


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu()


def _as_read(weight: Float[Tensor, "*lead d_model d_out"], kind: str | None) -> Float[Tensor, "*lead d_model d_out"]:
    weight = _plain(weight)
    return weight - weight.mean(-2, keepdim=True) if kind == "LN" else weight


def _as_written(weight: Float[Tensor, "*lead d_model"], kind: str | None) -> Float[Tensor, "*lead d_model"]:
    weight = _plain(weight)
    return weight - weight.mean(-1, keepdim=True) if kind == "LN" else weight
