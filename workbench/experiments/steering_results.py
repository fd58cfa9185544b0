"""What `workbench steer` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from workbench.interventions.subspace import Subspace

VERB = "steer"
RESULT, EFFECTS, DIRECTION = "result.parquet", "effects.parquet", "direction.safetensors"
_NEEDED = {
    RESULT: ("hook", "sequence", "prompt", "edit", "strength", "variant", "seed", "text", "loss", "perplexity"),
    EFFECTS: ("edit", "strength", "variant", "seed", "measure", "value", "unsteered", "effect"),
}


@dataclass(frozen=True)
class Steering:
    """What a subject said while it was pushed along a direction.

    Attributes:
        texts: `steer` of the prompts: unsteered, under each strength, and along random directions.
        effects: `steering_effects` of these.
        subspace: the direction.
        hook: where.
        direction: which direction, in words.
        unit: of `strength`, in words.
        whole: a whole push in this unit; `edit` names each strength by its share of it.
    """

    texts: pd.DataFrame
    effects: pd.DataFrame
    subspace: Subspace
    hook: str
    direction: str
    unit: str
    whole: float


def read_steering(path: str | Path) -> Steering:
    """What `workbench steer` left in a folder. Raises `ArtifactError` where nothing is, or it is damaged."""
    folder = Path(path)
    config: Mapping[str, Any] = Manifest.read(folder).config
    if config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no steering: `workbench steer` makes one.")
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    texts, effects = tables[RESULT], tables[EFFECTS]
    if texts is None or effects is None:
        raise ArtifactError(f"{folder} is damaged: it lacks {RESULT if texts is None else EFFECTS}.")
    try:
        vectors = load_file(folder / DIRECTION)
        subspace = Subspace(vectors["read"], vectors["write"], vectors["intercept"])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"{folder / DIRECTION} is damaged: {str(error).splitlines()[0]}") from None
    told = config["results"]
    return Steering(texts, effects, subspace, told["hook"], told["direction"], told["unit"], told["whole"])
