"""A training that can be killed: its whole state in one safetensors file, replaced in one rename."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.sae.base import SAE

CHECKPOINT = "checkpoint.safetensors"
FORMAT = "1"


@dataclass
class TrainingState:
    """Everything a resumed training needs besides weights and optimiser.

    Attributes:
        step: steps taken.
        tokens: rows seen.
        seconds: time spent up to the last record of the log.
        batches, rows: the position in the source of batches (`workbench.sae.stream.Position`).
        scale, variance: what was measured on the first sample.
        last_fired: [d_sae] int64, the value of `tokens` when each latent last fired.
    """

    scale: float
    variance: float
    last_fired: Tensor
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    batches: int = 0
    rows: int = 0


def write_checkpoint(
    folder: Path, sae: SAE, optimiser: torch.optim.Adam, state: TrainingState, settings: dict[str, Any]
) -> None:
    """Replace the folder's checkpoint; a kill at any moment leaves the old one or the new one."""
    tensors = {"last_fired": state.last_fired}
    for name, parameter in sae.named_parameters():
        tensors[f"weights.{name}"] = parameter.detach()
        for key, value in optimiser.state[parameter].items():
            tensors[f"adam.{name}.{key}"] = value
    counters = {name: value for name, value in vars(state).items() if name != "last_fired"}
    metadata = {"format": FORMAT, "settings": json.dumps(settings), "counters": json.dumps(counters)}
    part = folder / (CHECKPOINT + ".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata)
    os.replace(part, folder / CHECKPOINT)


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
        for name, parameter in sae.named_parameters():
            parameter.copy_(tensors[f"weights.{name}"])
            prefix = f"adam.{name}."
            for key in [key for key in tensors if key.startswith(prefix)]:
                value = tensors[key]
                # Moments lie in memory as their parameter does: the fused step asks for it.
                kept = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                optimiser.state[parameter][key.removeprefix(prefix)] = kept
    return TrainingState(last_fired=tensors["last_fired"], **json.loads(metadata["counters"]))


def _refuse_other_settings(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    if found != wanted:
        flat_found, flat_wanted = ({**s["sae"], **s["training"]} for s in (found, wanted))
        other = [name for name in flat_wanted if flat_found.get(name) != flat_wanted[name]]
        raise ValueError(
            f"{path} belongs to a training with other settings ({', '.join(other)}): "
            "choose another folder, or remove it to start again."
        )
