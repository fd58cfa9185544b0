"""What a subject's last stream is the sum of, and what each part of it adds to a logit while the norm is frozen."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from models import EncoderDecoderTransformer, Transformer
from models.attention import Attention
from models.hub import HubModel
from models.hub_readout import gain
from workbench.interventions.reading_out import ReadOutOf


@dataclass(frozen=True)
class Component:
    """Something that is added to the stream, or several things side by side.

    Attributes:
        name: what it is called.
        layer: the number of its block, where it is in one.
        hook: where its values stand; None of what is the same at every position.
        write: of heads `[head, d_head, d]` or of units `[unit, d]`, what they add to the stream; of a constant what it
            adds itself `[d]`; None of values that are added as they are.
    """

    name: str
    layer: int | None = None
    hook: str | None = None
    write: Tensor | None = None

    def labels(self) -> Iterator[dict[str, Any]]:
        """What each line of it is of."""
        about = {"component": self.name, "layer": self.layer}
        if self.hook is None or self.write is None:
            yield about
        else:
            kind = "head" if self.write.ndim == 3 else "unit"
            yield from (about | {kind: number} for number in range(len(self.write)))

    def onto(
        self, values: dict[str, Tensor], along: Float[Tensor, "variant query d"]
    ) -> Float[Tensor, "line variant query"]:
        """What it adds along a direction of each query, in float64; hooks' values are `[query, …]`."""
        write = along.new_ones(()) if self.write is None else self.write.detach().to(along)
        if self.hook is None:
            return (along @ write)[None]
        value = values[self.hook].to(along)
        if self.write is None:
            return einsum(value, along, "query d, variant query d -> variant query")[None]
        if write.ndim == 2:
            read = einsum(write, along, "unit d, variant query d -> unit variant query")
            return read * rearrange(value, "query unit -> unit 1 query")
        written = einsum(value.view(len(value), *write.shape[:2]), write, "query head e, head e d -> head query d")
        return einsum(written, along, "head query d, variant query d -> head variant query")


def components_of(model: Any, read_out: ReadOutOf, by: Collection[str]) -> list[Component]:
    """What the last stream is the sum of, layer by layer, or finer: attention by `head`, MLPs and states by `neuron`.

    Raises:
        ValueError: the stream is no such sum, or a layer does not write by heads or neurons.
    """
    if isinstance(model, Transformer):
        parts = _embeddings(model.pos_embed is not None)
        for layer, block in enumerate(model.blocks):
            parts += _attention("attention", f"blocks.{layer}.", "attn", block.attn, layer, by)
            if block.mlp is not None:
                parts += _mlp(f"blocks.{layer}.", block.mlp.W_out, block.mlp.b_out, layer, by)
        return parts
    if isinstance(model, EncoderDecoderTransformer):
        if not model.cfg.pre_norm:
            raise ValueError("with post-norm the stream is no sum of what the layers add: each norm changes all of it.")
        parts = _embeddings(True)
        decoder: Any = model.decoder_blocks
        for layer, block in enumerate(decoder):
            prefix = f"decoder_blocks.{layer}."
            parts += _attention("attention", prefix, "attn", block.attn, layer, by)
            parts += _attention("cross-attention", prefix, "cross_attn", block.cross_attn, layer, by)
            parts += _mlp(prefix, block.mlp.W_out, block.mlp.b_out, layer, by)
        return parts
    if isinstance(model, HubModel):
        return _of_hub(model, by)
    top = read_out.last
    units = torch.eye(read_out.d) if "neuron" in by else None
    return [Component("state", int(top.split(".")[1]) if "blocks." in top else None, top, units)]


def _embeddings(positions: bool) -> list[Component]:
    parts = [Component("embed", hook="hook_embed")]
    return [*parts, Component("pos_embed", hook="hook_pos_embed")] if positions else parts


def _attention(
    component: str, prefix: str, name: str, attn: Attention, layer: int, by: Collection[str]
) -> list[Component]:
    if "head" not in by:
        return [Component(component, layer, f"{prefix}hook_{name}_out")]
    heads = Component(component, layer, f"{prefix}{name}.hook_z", attn.W_O)
    return [heads, Component(f"{component} bias", layer, write=attn.b_O)]


def _mlp(prefix: str, W_out: Tensor, b_out: Tensor, layer: int, by: Collection[str]) -> list[Component]:
    if "neuron" not in by:
        return [Component("mlp", layer, f"{prefix}hook_mlp_out")]
    return [Component("mlp", layer, f"{prefix}mlp.hook_post", W_out), Component("mlp bias", layer, write=b_out)]


def _of_hub(model: HubModel, by: Collection[str]) -> list[Component]:
    """The same of a model of the hub; where parts are asked of what is not laid out so, it is said."""
    parts = _embeddings("hook_pos_embed" in model.hook_dict)
    written = model.folded().blocks
    for layer, block in enumerate(model.bridge.blocks):
        for component, part, out, norm, finer in (
            ("attention", "attn", "o", "ln1_post", "head"),
            ("mlp", "mlp", "out", "ln2_post", "neuron"),
        ):
            prefix = f"blocks.{layer}."
            if finer not in by:
                parts.append(Component(component, layer, f"{prefix}hook_{part}_out"))
                continue
            write = written[layer].attn.W_O if part == "attn" else written[layer].mlp.W_out
            if write is None or hasattr(block, norm):
                raise ValueError(
                    f"the {component} of this model does not write by {finer}s: leave {finer!r} out of by."
                )
            hook = "attn.hook_z" if part == "attn" else "mlp.hook_post"
            parts.append(Component(component, layer, f"{prefix}{hook}", write))
            bias = getattr(getattr(block, part), out).original_component.bias
            parts += [] if bias is None else [Component(f"{component} bias", layer, write=bias)]
    return parts


@dataclass(frozen=True)
class FrozenReadOut:
    """The read-out as the linear map that it is while the norm's scale stays what it was.

    Attributes:
        W_U: the unembedding.
        b_U: its bias, where it has one.
        w: the norm's gain; None where there is no norm.
        b: the norm's bias, where it has one.
        centred: whether the norm takes the mean from its input.
    """

    W_U: Float[Tensor, "d d_out"]
    b_U: Float[Tensor, " d_out"] | None
    w: Float[Tensor, " d"] | None = None
    b: Float[Tensor, " d"] | None = None
    centred: bool = False

    @classmethod
    def of(cls, model: Any) -> "FrozenReadOut":
        """A subject's."""
        if isinstance(model, HubModel):
            norm, linear = model.bridge.ln_final, model.bridge.unembed.original_component
            shift, kind = getattr(norm.original_component, "bias", None), model.cfg.normalization_type or ""
            return cls(linear.weight.T, linear.bias, gain(model.bridge, norm), shift, kind.startswith("LN"))
        W_U, b_U = model.unembed.W_U, model.unembed.b_U
        norm = getattr(model, "ln_final", None)
        if norm is None or isinstance(norm, torch.nn.Identity):
            return cls(W_U, b_U)
        w = torch.ones_like(W_U[:, 0]) if norm.w is None else norm.w
        return cls(W_U, b_U, w, norm.b, norm.centred)

    def columns(self, tokens: Int[Tensor, "*query"]) -> Float[Tensor, "*query d"]:
        """The unembeddings of tokens, in float64."""
        return self.W_U.detach().T[tokens.to(self.W_U.device)].double()

    def biases(self, tokens: Int[Tensor, "*query"]) -> Float[Tensor, "*query"]:
        """The unembedding's biases of tokens, in float64."""
        if self.b_U is None:
            return torch.zeros(tokens.shape, dtype=torch.float64, device=self.W_U.device)
        return self.b_U.detach()[tokens.to(self.W_U.device)].double()

    def along(
        self,
        columns: Float[Tensor, "variant query d"],
        x: Float[Tensor, "query d"],
        normalised: Float[Tensor, "query d"],
    ) -> Float[Tensor, "variant query d"]:
        """The directions in the stream along which logits grow, where the norm makes `normalised` of `x`.

        The scale is read off these two: the norm is x − mean(x), or x, times a gain, over the scale, plus a bias.
        """
        if self.w is None:
            return columns
        w, x, normalised = (value.detach().double() for value in (self.w, x, normalised))
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        read = w * x
        quotient = normalised if self.b is None else normalised - self.b.detach().double()
        inverse = (read * quotient).sum(-1) / read.square().sum(-1).clamp(min=torch.finfo(torch.float64).tiny)
        along = w * columns * inverse[:, None]
        return along - along.mean(-1, keepdim=True) if self.centred else along

    def norm_bias(self, columns: Float[Tensor, "variant query d"]) -> Float[Tensor, "variant query"]:
        """What the norm's bias adds to the logits."""
        return columns.new_zeros(columns.shape[:-1]) if self.b is None else columns @ self.b.detach().double()
