"""What all layouts have in common: their two files, and how what stands in them is checked."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.registry import architecture_class

Config = dict[str, Any]
Tensors = dict[str, Tensor]
T = TypeVar("T")

WORDS = {int: "a whole number", str: "a text", bool: "true or false", dict: "an object", list: "a list"}


class Layout(NamedTuple):
    """How one library keeps an SAE in a folder."""

    config_file: str
    """JSON."""
    weights_file: str
    """Named tensors; no other layout has a file of this name."""
    pack: Callable[[SAE], tuple[Config, Tensors]]
    """The contents of both files. Raises `ValueError` where the library lacks such an SAE."""
    unpack: Callable[[Config, Tensors], SAE]
    """The SAE that they hold. Raises `ValueError` where they do not fit together or cannot be expressed."""

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds weights in this layout."""
        return (folder / self.weights_file).exists()


def field(config: Config, name: str, kind: type[T]) -> T:
    """What the config has under this name. Raises `ValueError` where there is nothing, or something of another kind."""
    if name not in config:
        raise ValueError(f"its config has no {name}")
    return of_kind(config[name], name, kind)


def of_kind(value: Any, name: str, kind: type[T]) -> T:
    """The value, if it is of this kind of JSON; `ValueError` if not."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r} where {WORDS[kind]} is wanted")
    return value


def text(config: Config, name: str) -> str:
    """A name that nothing hangs on: empty where the config has none."""
    return of_kind(config.get(name) or "", name, str)


def check_names(tensors: Tensors, wanted: Iterable[str]) -> None:
    """Raise `ValueError` unless there are exactly these tensors."""
    missing, unknown = sorted(set(wanted) - tensors.keys()), sorted(tensors.keys() - set(wanted))
    if missing or unknown:
        wrong = [f"{name} is missing" for name in missing] + [f"{name} is not known" for name in unknown]
        raise ValueError(f"its weights are not those of its architecture: {', '.join(wrong)}")


def floats(tensors: Tensors) -> tuple[str, Tensors]:
    """The tensors in one number format that an SAE can have, and its name.

    That is float64 where one of them is, else float32; float16 and bfloat16 become it exactly. Raises `ValueError`
    where one holds whole numbers or NaN.
    """
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise ValueError(f"{name} is {value.dtype} where floating-point numbers are wanted")
        if value.isnan().any():
            raise ValueError(f"{name} holds NaN")
    double = any(value.dtype == torch.float64 for value in tensors.values())
    dtype = torch.float64 if double else torch.float32
    return str(dtype).removeprefix("torch."), {name: value.to(dtype) for name, value in tensors.items()}


def turned(weight: Tensor, name: str) -> Tensor:
    """The weight of a linear map of PyTorch, which is stored the other way round. Raises `ValueError` for no matrix."""
    if weight.ndim != 2:
        raise ValueError(f"{name} is {tuple(weight.shape)} where a matrix is wanted")
    return weight.T


def assemble(cfg: SAEConfig, weights: Tensors) -> SAE:
    """The SAE of this config and these weights, named as ours are. Raises `ValueError` where they do not fit."""
    # First the two that say how large it is: a damaged config could ask for more memory than there is.
    for name, wanted in (("W_enc", (cfg.width_in, cfg.d_sae)), ("W_dec", (cfg.d_sae, cfg.width_out))):
        if name not in weights:
            raise ValueError(f"its weights are {', '.join(sorted(weights))}, without {name}")
        if tuple(weights[name].shape) != wanted:
            raise ValueError(f"{name} is {tuple(weights[name].shape)} where {wanted} is wanted")
    return architecture_class(cfg.architecture).from_weights(cfg, weights)


@torch.no_grad()
def unit_decoder(sae: SAE) -> None:
    """Give every row of the decoder unit length and its latent what it loses, so that the reconstruction stays."""
    norms = sae.W_dec.norm(dim=1).clamp_min(torch.finfo(sae.W_dec.dtype).tiny)
    sae.W_dec.div_(norms.unsqueeze(1))
    sae.scale_latents(norms)
