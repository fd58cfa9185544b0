"""SAEs on disk, in SAELens's own layout: `cfg.json` beside `sae_weights.safetensors`.

What is written loads with SAELens's `SAE.load_from_disk`, and gives equal outputs there. What SAELens wrote
is read where its architecture is one of ours and its settings are ones that ours can express; all else is
refused by name.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.artifacts import write_json
from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.registry import architecture_class

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
# The version whose layout this is; SAELens refuses files that name none.
SAELENS_VERSION = "6.54.0"


def save_sae(sae: SAE, path: str | Path) -> Path:
    """Write the SAE into the folder `path`, which is made where there is none, and return it."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (WEIGHTS_FILE + ".part")
    save_file({name: value.detach().cpu().contiguous() for name, value in sae.named_parameters()}, part)
    os.replace(part, folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, _saelens_config(sae))
    return folder


def load_sae(path: str | Path) -> SAE:
    """The SAE in the folder `path`, in evaluation mode and without gradients.

    Raises `ValueError` where the folder holds none, or one that is of an unknown architecture, has settings
    that cannot be honoured, or weights that do not fit its config.
    """
    folder = Path(path)
    try:
        saved = json.loads((folder / CONFIG_FILE).read_text("utf8"))
        weights = load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no SAE: it has no {Path(error.filename or WEIGHTS_FILE).name}.") from None
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"the SAE in {folder} is damaged: {error}.") from None
    try:
        _refuse_what_changes_outputs(saved)
        metadata = saved.get("metadata") or {}
        ours = metadata.get("workbench") or {}
        kind = architecture_class(ours.get("architecture", saved["architecture"]))
        own_fields, weights = kind.from_saelens(saved, weights)
        cfg = SAEConfig(
            architecture=kind.architecture,
            d_in=saved["d_in"],
            d_sae=saved["d_sae"],
            hook_name=metadata.get("hook_name") or "",
            model_name=metadata.get("model_name") or "",
            dtype=saved["dtype"],
            seed=ours.get("seed", 0),
            **own_fields,
        )
        types = {str(value.dtype).removeprefix("torch.") for value in weights.values()}
        if types != {cfg.dtype}:
            raise ValueError(f"its weights are {', '.join(sorted(types))} where its config says {cfg.dtype}")
        sae = kind.from_weights(cfg, weights)
    except KeyError as error:
        raise ValueError(f"the SAE in {folder} cannot be read: its {CONFIG_FILE} has no {error}.") from None
    except ValueError as error:
        raise ValueError(f"the SAE in {folder} cannot be read: {str(error).rstrip('.')}.") from None
    return sae.requires_grad_(False).eval()


def _saelens_config(sae: SAE) -> dict[str, Any]:
    cfg = sae.cfg
    return {
        "d_in": cfg.d_in,
        "d_sae": cfg.d_sae,
        "dtype": cfg.dtype,
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "model_name": cfg.model_name,
            "hook_name": cfg.hook_name,
            "hook_head_index": None,
            "context_size": None,
            "prepend_bos": True,
            "workbench": {"architecture": cfg.architecture, "seed": cfg.seed},
        },
    } | sae.saelens_fields()


def _refuse_what_changes_outputs(saved: dict[str, Any]) -> None:
    for name in ("normalize_activations", "reshape_activations"):
        if saved.get(name, "none") not in ("none", None):
            raise ValueError(f"{name} {saved[name]!r} is not known here: only 'none' is")
