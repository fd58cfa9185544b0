"""Where a subject's logits are read off, and what the same read-out says of anything else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models import EncoderDecoderTransformer, Recurrent, Seq2Seq, Transformer
from models.alignment import LuongAttention
from models.evaluation import as_evaluated
from models.hub import HubModel
from workbench.activations.recorder import axis_of
from workbench.interventions.pairs import Given, as_dataset, batch_of, run
from workbench.interventions.values import values_at

# Numbers held at once when logits are made of rows, as in `models.loss`.
_CPU_CHUNK, _GPU_CHUNK = 1 << 22, 1 << 27


@dataclass(frozen=True)
class ReadOutOf:
    """How a subject's logits are made of what stands at its last hook.

    Attributes:
        hooks: the stream as it grows, from what enters the first layer to `last`; in a recurrent subject what each
            layer hands up.
        d: how wide what is read out is.
        d_out: how many logits there are.
        norm: what stands before the unembedding; it leaves its input as it is where there is none.
        unembed: what makes logits of it.
        cap: of a subject whose logits are `cap · tanh(x / cap)` of these; None of all others.
    """

    hooks: tuple[str, ...]
    d: int
    d_out: int
    norm: Callable[[Tensor], Tensor]
    unembed: Callable[[Tensor], Tensor]
    cap: float | None = None

    @property
    def last(self) -> str:
        """The hook that the logits are read off."""
        return self.hooks[-1]

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d_out"]:
        """The logits of rows, as if they stood at the last hook; of half precision in single."""
        logits = self.unembed(self.norm(rows[None]))[0]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits if self.cap is None else self.cap * (logits / self.cap).tanh()

    def chunk(self, rows: Tensor) -> int:
        """How many rows may become logits at once."""
        return max(1, (_CPU_CHUNK if rows.device.type == "cpu" else _GPU_CHUNK) // self.d_out)


def read_out_of(model: Any) -> ReadOutOf:
    """A subject's read-out.

    Raises:
        ValueError: it is of a kind whose logits are not read off a stream of its layers.
    """
    if isinstance(model, HubModel):
        bridge, cfg = model.bridge, model.cfg
        cap = getattr(getattr(bridge.original_model, "config", None), "final_logit_softcapping", None)
        shape = int(cfg.d_model or 0), int(cfg.d_vocab or 0)
        return ReadOutOf(_stream("blocks", int(cfg.n_layers or 0)), *shape, bridge.ln_final, bridge.unembed, cap)
    if isinstance(model, Transformer | EncoderDecoderTransformer):
        cfg = model.cfg
        blocks = "blocks" if isinstance(model, Transformer) else "decoder_blocks"
        return ReadOutOf(_stream(blocks, cfg.n_layers), cfg.d_model, cfg.d_vocab, model.ln_final, model.unembed)
    if isinstance(model, Recurrent | Seq2Seq):
        blocks = "blocks" if isinstance(model, Recurrent) else "decoder_blocks"
        hooks = [f"{blocks}.{layer}.hook_out" for layer in range(model.cfg.n_layers)]
        if isinstance(model, Seq2Seq) and isinstance(model.attn, LuongAttention):
            hooks.append("attn.hook_out")
        d, d_out = model.unembed.W_U.shape
        return ReadOutOf(tuple(hooks), d, d_out, torch.nn.Identity(), model.unembed)
    raise ValueError(
        f"a {type(model).__name__} has no stream of layers that logits are read off: a transformer has, a recurrent "
        "network, an encoder–decoder, or a model of the hub."
    )


def _stream(blocks: str, n_layers: int) -> tuple[str, ...]:
    return f"{blocks}.0.hook_resid_pre", *(f"{blocks}.{layer}.hook_resid_post" for layer in range(n_layers))


def readable(model: Any, read_out: ReadOutOf, data: Given, hooks: Sequence[str] | None) -> list[str]:
    """The hooks meant, in the order of the subject, once it is known that the read-out can be put to their values.

    One sequence is run to see what stands there.

    Raises:
        ValueError: a hook is not there, its values are of another width or not of the positions that are answered, or
            the subject's own logits are not what is read off its last hook.
    """
    names = list(read_out.hooks) if hooks is None else model.match_hooks([hooks] if isinstance(hooks, str) else hooks)
    if strange := [name for name in names if axis_of(model, name) != "target"]:
        raise ValueError(f"{strange[0]} has rows of the {axis_of(model, strange[0])}, of which no logits are read off.")
    one = batch_of(as_dataset(data), torch.tensor([0]))
    with as_evaluated(model), torch.inference_mode():
        values = values_at(model, one, list(dict.fromkeys([*names, read_out.last])))
        for name in names:
            if values[name].ndim != 3 or values[name].shape[-1] != read_out.d:
                shape = list(values[name].shape[2:])
                raise ValueError(f"{name} has values of shape {shape}, but the read-out takes [{read_out.d}].")
        check_read_out(read_out, values[read_out.last], run(model, one))
    return names


def rounding(dtype: torch.dtype, sums: float = 1.0) -> float:
    """The share of a number that is lost as it is made: of a long sum in single or double, and rounded to `dtype`.

    Args:
        dtype: what it is kept in.
        sums: how often it is added to and rounded; errors of either sign add up as the root of that.
    """
    wide = torch.promote_types(dtype, torch.float32)
    of_sums = 1e3 * torch.finfo(wide).eps
    return of_sums if wide == dtype else of_sums + 4 * sums**0.5 * torch.finfo(dtype).eps


def check_read_out(
    read_out: ReadOutOf, value: Float[Tensor, "batch pos d"], logits: Float[Tensor, "batch pos d_out"]
) -> None:
    """Raises `ValueError` where logits are not what is read off what stood at the last hook."""
    read = read_out(value.flatten(0, 1)).view(logits.shape)
    tolerance = rounding(logits.dtype) * float(logits.abs().amax())
    if not (read - logits).abs().amax() <= tolerance:
        raise ValueError(f"this subject's logits are not the unembedding of what stands at {read_out.last}.")
