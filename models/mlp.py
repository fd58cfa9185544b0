"""`MLP`: a multi-layer perceptron, over the vector of each position or over a whole sequence of tokens."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.checked_input import as_rows, checked_tokens, checked_vectors
from models.config_json import config_from_dict, config_to_dict
from models.hooks import HookedModel
from models.loss import IGNORED
from models.readout import Embedding, ReadOut, asked_for

__all__ = ["MLP", "MLPConfig"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


@dataclass(kw_only=True)
class MLPConfig:
    """Hidden layers over vectors or over sequences of tokens, with a linear read-out.

    Attributes:
        n_layers: hidden layers.
        d_mlp: width of each.
        act_fn: `relu`, `gelu` or `tanh`.
        d_in: numbers a position where the input is vectors; every position is taken by itself.
        d_vocab: tokens in, where the input is tokens; all positions are taken together.
        d_model: width of the token embedding.
        n_ctx: how many tokens a sequence has: always as many; of vectors the most, or None for any number.
        d_out: numbers or classes read out; `d_vocab` where it is not given.
        seed: of the initial weights.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other or name what this architecture does not have.
    """

    n_layers: int = 1
    d_mlp: int
    act_fn: str = "relu"
    d_in: int | None = None
    d_vocab: int | None = None
    d_model: int | None = None
    n_ctx: int | None = None
    d_out: int | None = None
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    model_name: str = "mlp"

    def __post_init__(self) -> None:
        if self.act_fn not in _ACTIVATIONS:
            raise ValueError(f"act_fn {self.act_fn!r} is unknown: there are {', '.join(_ACTIVATIONS)}.")
        for name in ("n_layers", "d_mlp", "d_in", "d_vocab", "d_model", "n_ctx", "d_out"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        if (self.d_vocab is None) == (self.d_in is None):
            raise ValueError("give either d_vocab, for tokens, or d_in, for vectors.")
        if self.d_vocab is not None and (self.d_model is None or self.n_ctx is None):
            raise ValueError("give d_model and n_ctx: the embeddings of n_ctx tokens are laid side by side.")
        if self.d_in is not None and self.d_model is not None:
            raise ValueError(f"d_model is {self.d_model}, but it is of token embeddings, and the input is vectors.")
        self.d_out = self.d_out or self.d_vocab
        if self.d_out is None:
            raise ValueError("give d_out: with vectors going in, nothing else says how many numbers come out.")

    @property
    def d_first(self) -> int:
        """What the first layer reads at once."""
        return self.d_in or (self.d_model or 0) * (self.n_ctx or 0)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MLPConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        return config_from_dict(cls, values)


class HiddenLayer(nn.Module):
    """`act(x W_in + b_in)`, `W_in [d_in, d_mlp]`; `hook_pre` and `hook_post` lie before and after the activation."""

    def __init__(self, d_in: int, d_mlp: int, act_fn: str) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(d_in, d_mlp))
        self.b_in = nn.Parameter(torch.empty(d_mlp))
        self.act = _ACTIVATIONS[act_fn]
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Uniform within ±1/√d_in."""
        bound = self.W_in.shape[0] ** -0.5
        for weight in (self.W_in, self.b_in):
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_mlp"]:
        return self.hook_post(self.act(self.hook_pre(F.linear(x, self.W_in.T, self.b_in))))


class Block(nn.Module):
    """A hidden layer where a transformer would have its own: `blocks.L.mlp`."""

    def __init__(self, d_in: int, d_mlp: int, act_fn: str) -> None:
        super().__init__()
        self.mlp = HiddenLayer(d_in, d_mlp, act_fn)

    def forward(self, x: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_mlp"]:
        return self.mlp(x)


class MLP(HookedModel):
    """A multi-layer perceptron.

    Over vectors every position is taken by itself: `[batch, pos, d_in]` to `[batch, pos, d_out]`. Over tokens the
    embeddings of all `n_ctx` positions are laid side by side and there is one answer, which stands for the last
    position: the output is `[batch, 1, d_out]`, the hidden layers' hooks `[batch, 1, d_mlp]`, and of targets
    `[batch, n_ctx]` only the last column is compared.

    Hooks: `hook_embed [batch, n_ctx, d_model]` where the input is tokens; `blocks.L.mlp.hook_pre` and
    `blocks.L.mlp.hook_post [batch, pos, d_mlp]`, before and after the activation.
    """

    def __init__(self, cfg: MLPConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        if cfg.d_vocab is not None:
            self.embed = Embedding(cfg.d_vocab, cfg.d_model or 0)
            self.hook_embed = HookPoint()
        widths = [cfg.d_first] + [cfg.d_mlp] * (cfg.n_layers - 1)
        self.blocks = nn.ModuleList(Block(width, cfg.d_mlp, cfg.act_fn) for width in widths)
        self.unembed = ReadOut(cfg.d_mlp, cfg.d_out or 0)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: vectors `[batch, pos, d_in]`, or token ids `[batch, n_ctx]` or `[n_ctx]`.
            return_type: `"logits"`: the output, `[batch, pos, d_out]`, or `[batch, 1, d_out]` for tokens. `"loss"`:
                mean cross-entropy, in nats, or mean squared error where targets are vectors. `"both"`: the pair.
                None: nothing, for those who only want the hooks.
            loss_per_token: the loss of each position of the output.
            mask: True where a position is real; vectors elsewhere are not compared.
            targets: classes `[batch, pos]`, −100 where nothing is asked, or vectors `[batch, pos, d_out]`.

        Raises:
            ValueError: the input is empty, of the wrong length or kind, outside the vocabulary, NaN or infinite; mask
                or targets do not fit it; a loss is asked for without targets.
        """
        cfg = self.cfg
        if cfg.d_in is not None:
            x = input = checked_vectors(input, cfg.d_in, cfg.n_ctx, cfg.device, cfg.dtype)
        else:
            input = checked_tokens(as_rows(input), cfg.d_vocab, None, cfg.device)
            if input.shape[1] != cfg.n_ctx:
                raise ValueError(f"sequences are of {input.shape[1]} tokens, but this model takes exactly {cfg.n_ctx}.")
        if targets is None and return_type in ("loss", "both"):
            raise ValueError("a loss needs targets: an MLP has no next token to predict.")
        asked = asked_for(input, mask, targets, return_type, cfg.d_out)
        if cfg.d_vocab is not None:
            asked = None if asked is None else _last(asked)
            x = self.hook_embed(self.embed(input)).flatten(1)[:, None]
        for block in self.blocks:
            x = block(x)
        return self.unembed.returned(x, asked, return_type, loss_per_token, given=True)

    @property
    def answers_once(self) -> bool:
        """Whether there is one answer a sequence, and not one a position."""
        return self.cfg.d_vocab is not None

    def position_axis(self, hook_name: str) -> str:
        """What the positions of a hook's value count: those of the `target`, or whole sequences (`sequence`).

        Raises:
            ValueError: no hook has that name.
        """
        (name,) = self.match_hooks(hook_name)
        return "sequence" if self.answers_once and name != "hook_embed" else "target"


def _last(targets: Tensor) -> Tensor:
    """What is asked at the last position, where alone there is an answer."""
    targets = targets[:, -1:]
    if not targets.is_floating_point() and targets.device.type == "cpu" and not (targets != IGNORED).any():
        raise ValueError("the targets ask nothing at the last position, which is the only one that is answered.")
    return targets
