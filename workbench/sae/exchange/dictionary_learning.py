"""dictionary_learning's layout (0.1): `config.json` beside `ae.pt`, a dictionary of tensors written by `torch.save`.

It has plain SAEs only. Two of its classes never subtract the decoder's bias from what they read: it goes into, or
comes out of, the encoder's. One scales its latents on loading, so that the decoder's rows have unit length.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.sae.architectures.batchtopk import BatchTopK
from workbench.sae.architectures.matryoshka_batchtopk import MatryoshkaBatchTopK
from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.exchange.layout import (
    Config,
    Layout,
    Tensors,
    assemble,
    check_names,
    field,
    floats,
    of_kind,
    text,
    turned,
    unit_decoder,
)


class DictClass(NamedTuple):
    """One of their classes: what it is here, and what it calls our weights."""

    architecture: str
    names: dict[str, str]
    buffers: tuple[str, ...] = ()
    """What it keeps beside weights."""
    centres: bool = True
    """Whether it subtracts the decoder's bias from what it reads."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """All that its file holds."""
        return (*self.names.values(), *self.buffers)


LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
TOPK = LINEAR | {"b_enc": "encoder.bias", "b_dec": "b_dec"}
CLASSES = {
    "AutoEncoder": DictClass("standard", LINEAR | {"b_enc": "encoder.bias", "b_dec": "bias"}),
    "AutoEncoderNew": DictClass("standard", LINEAR | {"b_enc": "encoder.bias", "b_dec": "decoder.bias"}, centres=False),
    "GatedAutoEncoder": DictClass(
        "gated", LINEAR | {"b_gate": "gate_bias", "b_mag": "mag_bias", "r_mag": "r_mag", "b_dec": "decoder_bias"}
    ),
    "JumpReluAutoEncoder": DictClass("jumprelu", PLAIN | {"threshold": "threshold"}, centres=False),
    "AutoEncoderTopK": DictClass("topk", TOPK, ("k", "threshold")),
    "BatchTopKSAE": DictClass("batchtopk", TOPK, ("k", "threshold")),
    "MatryoshkaBatchTopKSAE": DictClass("matryoshka_batchtopk", PLAIN, ("k", "threshold", "group_sizes")),
}
# What they write while a threshold has not been measured, and where none is used.
NO_THRESHOLD = -1.0


def pack(sae: SAE) -> tuple[Config, Tensors]:
    """`config.json` and the weights of a plain SAE."""
    cfg = sae.cfg
    if cfg.kind != "sae":
        raise ValueError(f"dictionary_learning has no {cfg.kind}s: save it in another layout.")
    name = _class_for(sae)
    here = CLASSES[name]
    weights = dict(sae.state_dict())
    if not here.centres:
        weights["b_enc"] = weights["b_enc"] - weights["b_dec"] @ weights["W_enc"]
    tensors = {there: _turned(weights[ours], there) for ours, there in here.names.items()}
    trainer: Config = {
        "dict_class": name,
        "activation_dim": cfg.d_in,
        "dict_size": cfg.d_sae,
        "layer": None,
        "lm_name": cfg.model_name,
        "submodule_name": cfg.hook_name,
    }
    if "k" in here.buffers:
        trainer["k"] = cfg.k
        tensors["k"] = torch.tensor(cfg.k, dtype=torch.int32)
        tensors["threshold"] = _one_threshold(sae)
    if isinstance(sae, MatryoshkaBatchTopK):
        sizes = [wide - narrow for narrow, wide in pairwise((0, *sae.widths))]
        trainer["group_sizes"] = sizes
        tensors["group_sizes"] = torch.tensor(sizes)
    return {"trainer": trainer}, tensors


def unpack(config: Config, tensors: Tensors) -> SAE:
    """The SAE that dictionary_learning wrote, as its `load_dictionary` would load it."""
    trainer = field(config, "trainer", dict)
    name = field(trainer, "dict_class", str)
    if name not in CLASSES:
        raise ValueError(f"dict_class {name!r} is not known here: there are {', '.join(CLASSES)}")
    here = CLASSES[name]
    check_names(tensors, here.tensors)
    dtype, found = floats({there: tensors[there] for there in here.tensors if there not in ("k", "group_sizes")})
    cfg = SAEConfig(
        architecture=here.architecture,
        d_in=field(trainer, "activation_dim", int),
        d_sae=field(trainer, "dict_size", int),
        k=_active(trainer, tensors) if "k" in here.buffers else None,
        hook_name=text(trainer, "submodule_name"),
        model_name=text(trainer, "lm_name"),
        dtype=dtype,
        matryoshka_widths=_widths(trainer, tensors) if "group_sizes" in here.buffers else (),
    )
    if "threshold" in found:
        found["threshold"] = found["threshold"].clamp(min=0)  # they take the ReLU as well
    weights = {ours: _turned(found[there], there) for ours, there in here.names.items()}
    if here.architecture in ("batchtopk", "matryoshka_batchtopk"):
        if found["threshold"].ndim:
            raise ValueError(f"threshold is {tuple(found['threshold'].shape)} where one number is wanted")
        weights["threshold"] = found["threshold"].expand(cfg.d_sae)
    sae = assemble(cfg, weights)
    if not here.centres:
        sae.shift_encoder(sae.b_dec @ sae.W_enc)
    if name == "AutoEncoder" and not _has_unit_rows(sae):
        unit_decoder(sae)
    return sae


def _class_for(sae: SAE) -> str:
    """Their class for it. An AutoEncoder's latents are scaled on loading where the decoder's rows are no units."""
    names = [name for name, kind in CLASSES.items() if kind.architecture == sae.cfg.architecture]
    if not names:
        raise ValueError(f"dictionary_learning has no {sae.cfg.architecture} SAEs: save it in another layout.")
    return "AutoEncoderNew" if names[0] == "AutoEncoder" and not _has_unit_rows(sae) else names[0]


def _has_unit_rows(sae: SAE) -> bool:
    norms = sae.W_dec.norm(dim=1)
    return torch.allclose(norms, torch.ones_like(norms))  # with the tolerance of theirs


def _turned(weight: Tensor, there: str) -> Tensor:
    """Theirs where ours is given, and back."""
    return turned(weight, there) if there.endswith(".weight") else weight


def _one_threshold(sae: SAE) -> Tensor:
    """The one number that they have for all latents. Raises `ValueError` where ours differ by more than rounding."""
    if not isinstance(sae, BatchTopK):
        return torch.tensor(NO_THRESHOLD)
    low, mean, high = sae.threshold.min(), sae.threshold.mean(), sae.threshold.max()
    if high - low > 1e-5 * high:
        raise ValueError(
            f"dictionary_learning has one threshold for all latents, and those of this {sae.cfg.architecture} SAE go "
            f"from {low:.4g} to {high:.4g}: save it in another layout."
        )
    return mean.to(torch.float32)


def _active(trainer: Config, tensors: Tensors) -> int:
    """k, which stands in both files."""
    k, found = field(trainer, "k", int), tensors["k"]
    if found.is_floating_point() or found.numel() != 1 or found.item() != k:
        raise ValueError(f"k is {found.tolist()} beside the weights where its config says {k}")
    return k


def _widths(trainer: Config, tensors: Tensors) -> tuple[int, ...]:
    """The nested widths, of the sizes of the groups, which stand in both files."""
    sizes, found = field(trainer, "group_sizes", list), tensors["group_sizes"]
    if found.is_floating_point() or found.tolist() != sizes:
        raise ValueError(f"group_sizes are {found.tolist()} beside the weights where its config says {sizes}")
    return tuple(torch.tensor([of_kind(size, "a group's size", int) for size in sizes]).cumsum(0).tolist())


LAYOUT = Layout("config.json", "ae.pt", pack, unpack)
