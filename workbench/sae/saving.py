"""SAEs on disk: our own, in SAELens's layout, and those of other libraries, by the same two functions."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import write_json
from models.tensor_files import save_tensors
from workbench.sae.base import SAE
from workbench.sae.exchange import LAYOUTS, SAELENS, Layout

CONFIG_FILE = SAELENS.config_file
SPARSITY_FILE = "sparsity.safetensors"


@torch.no_grad()
def save_sae(
    sae: SAE, path: str | Path, layout: str = "saelens", densities: Float[Tensor, " d_sae"] | None = None
) -> Path:
    """Write a finished SAE into the folder `path`, which is made where there is none, and return it.

    Args:
        sae: the SAE.
        path: the folder; of sparsify's layout one named by the hook.
        layout: `saelens`, our own and SAELens's; `dictionary_learning`; or `sparsify`.
        densities: the share of rows in which each latent fires, if known: SAELens reads it from `sparsity.safetensors`
            as log10(density + 1e-10). No other layout has a place for it.

    Raises `ValueError`, before anything is written, where the library lacks such an SAE, and where the folder holds an
    SAE in another layout.
    """
    folder = Path(path)
    there = _layout_called(layout)
    if others := [name for name, other in LAYOUTS.items() if name != layout and other.is_in(folder)]:
        raise ValueError(f"{folder} holds an SAE in the layout {' and '.join(others)}: choose another folder.")
    if sae.centre is not None and sae.centre.any():
        raise ValueError("this transcoder is still in training: what it reads is centred by what is saved nowhere.")
    config, tensors = there.pack(sae)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    sparsity = None if densities is None else _log_densities(densities, sae.cfg.d_sae, layout)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (there.config_file, SPARSITY_FILE):  # no reader may find new weights beside what was said of the old
        (folder / old).unlink(missing_ok=True)
    if sparsity is not None:
        save_tensors({"sparsity": sparsity}, folder / SPARSITY_FILE)
    weights = folder / there.weights_file
    if weights.suffix == ".pt":
        _write_whole(weights, lambda part: torch.save(tensors, part))
    else:
        save_tensors(tensors, weights)
    write_json(folder / there.config_file, config)
    return folder


def load_sae(path: str | Path) -> SAE:
    """The SAE in the folder `path`, of whichever layout, in evaluation mode and without gradients.

    The file of the weights says which layout it is: `sae_weights.safetensors` SAELens's, `ae.pt` dictionary_learning's,
    `sae.safetensors` sparsify's. What their libraries do at run time is folded into the weights; half precision becomes
    float32, which is exact.

    Raises `ValueError` where the folder holds none or several, or one that is damaged, is of an unknown architecture,
    has settings that cannot be honoured, or weights that do not fit its config.
    """
    folder = Path(path)
    layout = _layout_in(folder)
    try:
        config = json.loads((folder / layout.config_file).read_text("utf8"))
        tensors = _read_tensors(folder / layout.weights_file)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no SAE: it has no {layout.config_file}.") from None
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"the SAE in {folder} is damaged: {str(error).rstrip('.')}.") from None
    try:
        if not isinstance(config, dict):
            raise ValueError(f"its {layout.config_file} holds no object")
        sae = layout.unpack(config, tensors)
    except ValueError as error:
        raise ValueError(f"the SAE in {folder} cannot be read: {str(error).rstrip('.')}.") from None
    return sae.requires_grad_(False).eval()


def _layout_called(name: str) -> Layout:
    if name not in LAYOUTS:
        raise ValueError(f"no layout of SAEs is called {name!r}: there are {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def _layout_in(folder: Path) -> Layout:
    """The layout whose weights lie in the folder; `ValueError` unless it is one."""
    found = [layout for layout in LAYOUTS.values() if layout.is_in(folder)]
    if not found:
        files = ", ".join(layout.weights_file for layout in LAYOUTS.values())
        raise ValueError(f"{folder} holds no SAE: it has none of {files}.")
    if len(found) > 1:
        files = " and ".join(layout.weights_file for layout in found)
        raise ValueError(f"{folder} holds {files}: which SAE is meant is not clear.")
    return found[0]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors. Raises `ValueError` or `SafetensorError` where the file holds something else, or half of it."""
    if path.suffix != ".pt":
        return load_file(path)
    try:
        if zipfile.is_zipfile(path) and (part := zipfile.ZipFile(path).testzip()):
            raise ValueError(f"the checksum of its {part} is wrong")
        found = torch.load(path, map_location="cpu", weights_only=True)  # nothing but tensors is made of it
    except Exception as error:  # a reader of pickles that meets other bytes raises all sorts of them
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path.name} cannot be read: {why}") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path.name} does not hold named tensors")
    return dict(found)


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def _log_densities(densities: Tensor, d_sae: int, layout: str) -> Tensor:
    if LAYOUTS[layout] is not SAELENS:
        raise ValueError(f"the layout {layout} has no place for densities: leave them out.")
    if tuple(densities.shape) != (d_sae,) or not bool(((densities >= 0) & (densities <= 1)).all()):
        raise ValueError(f"densities are shares of rows, one for each of the {d_sae} latents, between 0 and 1.")
    return torch.log10(densities.detach().cpu().to(torch.float32) + 1e-10)
