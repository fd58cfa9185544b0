"""Direct paths to the logits of a hub model: what its neurons and heads write, and how the stream is read out."""

from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint


class HubReadOut:
    """The matrices that direct effects on the logits go through, under the names they have in a folded `Transformer`.

    They are read off by giving the layers unit vectors, so that it does not matter how a family stores its weights. The
    gain of a norm that stands between a layer and what reads it is multiplied in.

    Attributes:
        cfg: has `normalization_type`.
        W_U: `[d_model, d_vocab]`, centred over the vocabulary; ids beyond the tokenizer's, which pad the matrix, are
            left out.
        blocks: `blocks[i].mlp.W_out [d_mlp, d_model]`, `blocks[i].attn.W_O [head, d_head, d_model]`; None where the
            layer is another.
    """

    def __init__(
        self, bridge: Any, normalization_type: str | None, hooks: dict[str, HookPoint], tokenizer: Tokenizer | None
    ) -> None:
        self.cfg = SimpleNamespace(normalization_type=normalization_type)
        self.blocks = [_Block(bridge, block, f"blocks.{i}.", hooks) for i, block in enumerate(bridge.blocks)]
        self._bridge, self._tokenizer = bridge, tokenizer

    @cached_property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        W_U = _matrix(self._bridge.unembed, gain(self._bridge, self._bridge.ln_final))
        if self._tokenizer is not None:
            W_U = W_U[:, : self._tokenizer.get_vocab_size()]
        return W_U - W_U.mean(-1, keepdim=True)


class _Block:
    def __init__(self, bridge: Any, block: Any, prefix: str, hooks: dict[str, HookPoint]) -> None:
        self._bridge, self._block, self._prefix, self._hooks = bridge, block, prefix, hooks

    @property
    def mlp(self) -> SimpleNamespace:
        return SimpleNamespace(W_out=self._written("mlp.hook_post", "mlp", "out", "ln2_post"))

    @property
    def attn(self) -> SimpleNamespace:
        W_O = self._written("attn.hook_z", "attn", "o", "ln1_post")
        heads = self._bridge.cfg.n_heads
        return SimpleNamespace(
            W_O=None if W_O is None else rearrange(W_O, "(head d_head) d_model -> head d_head d_model", head=heads)
        )

    def _written(self, hook: str, part: str, layer: str, norm: str) -> Float[Tensor, "d_in d_model"] | None:
        """What a unit of a hook writes; None where it is not what a linear layer reads, as in a mixture of experts."""
        linear = getattr(getattr(self._block, part), layer, None)
        if linear is None or linear.hook_in is not self._hooks.get(f"{self._prefix}{hook}"):
            return None
        matrix = _matrix(linear)
        return matrix * gain(self._bridge, getattr(self._block, norm)) if hasattr(self._block, norm) else matrix


def gain(bridge: Any, norm: Any) -> Float[Tensor, " d_model"]:
    """A norm's gain; ones where it has none."""
    weight = getattr(norm.original_component, "weight", None)
    if weight is None:
        unembedding = next(bridge.unembed.original_component.parameters())
        return unembedding.new_ones(bridge.cfg.d_model)
    return weight.detach() + 1 if bridge.cfg.rmsnorm_uses_offset else weight.detach()


@torch.no_grad()
def _matrix(layer: Any, scale: Float[Tensor, " d_in"] | None = None) -> Float[Tensor, "d_in d_out"]:
    """What a linear layer, without its bias, makes of each unit vector, scaled or not."""
    linear = layer.original_component
    weight = linear.weight
    # transformers' own Conv1D has its weight [d_in, d_out]; PyTorch's Linear [d_out, d_in].
    d_in = linear.in_features if isinstance(linear, nn.Linear) else weight.shape[0]
    inputs = torch.eye(d_in, dtype=weight.dtype, device=weight.device) if scale is None else scale.diag()
    return linear(inputs) - linear(torch.zeros_like(inputs[:1]))
