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
from torch import Tensor

from models.artifacts import write_json
from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.registry import architecture_class

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
# The version whose layout this is; SAELens refuses files that name none.
SAELENS_VERSION = "6.54.0"
# SAELens's classes for finished SAEs, and which of ours they are.
INFERENCE = {
    "standard": "standard",
    "topk": "topk",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "transcoder": "standard",
    "skip_transcoder": "standard",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}


def save_sae(sae: SAE, path: str | Path) -> Path:
    """Write the SAE into the folder `path`, which is made where there is none, and return it."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (WEIGHTS_FILE + ".part")
    save_file({name: value.detach().cpu().contiguous() for name, value in sae.state_dict().items()}, part)
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
        cfg, weights = _ours(saved, weights) if _is_ours(saved) else _saelens(saved, weights)
        types = {str(value.dtype).removeprefix("torch.") for value in weights.values()}
        if types != {cfg.dtype}:
            raise ValueError(f"its weights are {', '.join(sorted(types))} where its config says {cfg.dtype}")
        sae = architecture_class(cfg.architecture).from_weights(cfg, weights)
    except KeyError as error:
        raise ValueError(f"the SAE in {folder} cannot be read: its {CONFIG_FILE} has no {error}.") from None
    except ValueError as error:
        raise ValueError(f"the SAE in {folder} cannot be read: {str(error).rstrip('.')}.") from None
    return sae.requires_grad_(False).eval()


def _is_ours(saved: dict[str, Any]) -> bool:
    return "d_sae" in ((saved.get("metadata") or {}).get("workbench") or {})


def _ours(saved: dict[str, Any], weights: dict[str, Tensor]) -> tuple[SAEConfig, dict[str, Tensor]]:
    """Our own config, where what stands beside it for SAELens says the same."""
    found = saved["metadata"]["workbench"]
    unknown = sorted(found.keys() - SAEConfig.__dataclass_fields__.keys())
    if unknown:
        raise ValueError(f"its config has {', '.join(unknown)}, which is not known here")
    cfg = SAEConfig(**found)
    told = _saelens_config(architecture_class(cfg.architecture)(cfg))
    other = sorted(name for name in told if name != "metadata" and saved.get(name, told[name]) != told[name])
    if other:
        raise ValueError(f"its config contradicts itself in {', '.join(other)}")
    return cfg, weights


def _saelens(saved: dict[str, Any], weights: dict[str, Tensor]) -> tuple[SAEConfig, dict[str, Tensor]]:
    """Our config of what SAELens wrote."""
    if saved["architecture"] not in INFERENCE:
        raise ValueError(f"no SAE architecture is called {saved['architecture']!r}: there are {', '.join(INFERENCE)}")
    kind = architecture_class(INFERENCE[saved["architecture"]])
    metadata = saved.get("metadata") or {}
    own_fields, weights = kind.from_saelens(saved, weights)
    if "transcoder" in saved["architecture"]:
        own_fields |= {"d_out": saved["d_out"], "skip": "skip" in saved["architecture"]}
        own_fields |= {"hook_name_out": metadata.get("hook_name_out") or ""}
    cfg = SAEConfig(
        architecture=kind.architecture,
        d_in=saved["d_in"],
        d_sae=saved["d_sae"],
        hook_name=metadata.get("hook_name") or "",
        model_name=metadata.get("model_name") or "",
        dtype=saved["dtype"],
        **own_fields,
    )
    return cfg, weights


def _saelens_config(sae: SAE) -> dict[str, Any]:
    cfg = sae.cfg
    fields = sae.saelens_fields()
    if cfg.kind == "transcoder":
        plain = {"standard": "", "jumprelu": "jumprelu_"}.get(fields["architecture"], fields["architecture"] + "_")
        fields |= {"architecture": f"{plain}{'skip_' if cfg.skip else ''}transcoder", "d_out": cfg.d_out}
    return {
        "d_in": cfg.width_in,
        "d_sae": cfg.d_sae,
        "dtype": cfg.dtype,
        "device": "cpu",
        "apply_b_dec_to_input": cfg.kind != "transcoder",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "model_name": cfg.model_name,
            "hook_name": cfg.hook_name,
            "hook_head_index": None,
            "context_size": None,
            "prepend_bos": True,
            "workbench": cfg.to_dict(),
        },
    } | fields


def _refuse_what_changes_outputs(saved: dict[str, Any]) -> None:
    for name in ("normalize_activations", "reshape_activations"):
        if saved.get(name, "none") not in ("none", None):
            raise ValueError(f"{name} {saved[name]!r} is not known here: only 'none' is")
