"""A training that can be killed: its whole state in one safetensors file, replaced in one rename."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.tensor_files import save_tensors
from workbench.sae.base import SAE

CHECKPOINT = "checkpoint.safetensors"
FORMAT = "2"


@dataclass
class TrainingState:
    """Everything a resumed training needs besides weights and optimiser.

    Attributes:
        step: steps taken.
        tokens: rows seen.
        seconds: time spent up to the last record of the log.
        batches, rows: the position in the source of batches (`workbench.sae.stream.Position`).
        variance: what was measured on the first sample.
        coefficient: of the sparsity term, as it has been steered.
        scale_in, scale_out: what rows are multiplied by; measured on the first sample.
        last_fired: [d_sae] int64, the value of `tokens` when each latent last fired.
    """

    scale_in: Tensor
    scale_out: Tensor
    last_fired: Tensor
    variance: float
    coefficient: float = 0.0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    batches: int = 0
    rows: int = 0


TENSORS = ("scale_in", "scale_out", "last_fired")


def write_checkpoint(
    folder: Path, sae: SAE, optimiser: torch.optim.Adam, state: TrainingState, settings: dict[str, Any]
) -> None:
    """Replace the folder's checkpoint; a kill at any moment leaves the old one or the new one."""
    tensors = {f"state.{name}": getattr(state, name) for name in TENSORS}
    for name, value in _weights(sae).items():
        tensors[f"weights.{name}"] = value.detach()
    for name, parameter in sae.named_parameters():
        for key, value in optimiser.state[parameter].items():
            tensors[f"adam.{name}.{key}"] = value
    counters = {name: value for name, value in vars(state).items() if name not in TENSORS}
    metadata = {"format": FORMAT, "settings": json.dumps(settings), "counters": json.dumps(counters)}
    # An SAE reads and writes at one scale, but the format has no two names for one tensor.
    tensors["state.scale_out"] = state.scale_out.clone()
    save_tensors(tensors, folder / CHECKPOINT, metadata)


def read_checkpoint(
    folder: Path, sae: SAE, optimiser: torch.optim.Adam, settings: dict[str, Any]
) -> TrainingState | None:
    """Bring SAE and optimiser to where the folder's checkpoint left them; None where there is none.

    Raises `ValueError` where it was made with other settings, or is not a checkpoint of an SAE's training.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it to start again.") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of an SAE's training: choose another folder.")
    _refuse_other_settings(path, json.loads(metadata["settings"]), settings)
    with torch.no_grad():
        for name, value in _weights(sae).items():
            value.copy_(tensors[f"weights.{name}"])
        for name, parameter in sae.named_parameters():
            prefix = f"adam.{name}."
            for key in [key for key in tensors if key.startswith(prefix)]:
                value = tensors[key]
                # Moments lie in memory as their parameter does, and the count of steps where it does: the fused step
                # asks for it.
                same = value.shape == parameter.shape
                kept = torch.empty_like(parameter).copy_(value) if same else value.to(parameter.device)
                optimiser.state[parameter][key.removeprefix(prefix)] = kept
    device = sae.W_enc.device
    own = {name: tensors[f"state.{name}"].to(device) for name in TENSORS}
    return TrainingState(**own, **json.loads(metadata["counters"]))


def _weights(sae: SAE) -> dict[str, Tensor]:
    """Parameters, and buffers: BatchTopK's threshold, a transcoder's centre."""
    return dict(sae.named_parameters()) | dict(sae.named_buffers())


def _refuse_other_settings(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    if found != wanted:
        flat_found, flat_wanted = ({**s["sae"], **s["training"]} for s in (found, wanted))
        other = [name for name in flat_wanted if flat_found.get(name) != flat_wanted[name]]
        raise ValueError(
            f"{path} belongs to a training with other settings ({', '.join(other)}): "
            "choose another folder, or remove it to start again."
        )
