"""The columns of an index in its own folder: whatever else is gone, a prompt can still be read by them."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from models.artifacts import ArtifactError, Manifest
from models.tensor_files import save_tensors
from workbench.features.columns.base import HEADS, PROBES, UNITS, Columns, Dictionary, kind_of
from workbench.features.columns.heads import heads_again
from workbench.features.columns.probes import probes_again
from workbench.features.columns.units import units_again

FILE = "columns.safetensors"
_AGAIN: dict[str, Any] = {UNITS: units_again, HEADS: heads_again, PROBES: probes_again}


def write_columns(columns: Columns, path: Path) -> None:
    """Write what `read_dictionary` needs into an index's folder."""
    save_tensors({name: value.contiguous() for name, value in columns.tensors.items()}, path / FILE)


def read_dictionary(path: str | Path) -> Dictionary:
    """The dictionary of an index of units, heads or probes, from the index's own folder.

    Raises `ArtifactError` where it is not there, is damaged, or is of a kind that is not known.
    """
    path = Path(path)
    config = Manifest.read(path).config
    kind = kind_of(config)
    if kind not in _AGAIN:
        raise ArtifactError(f"{path} is an index of {kind}: its folder holds no dictionary.")
    try:
        return _AGAIN[kind](config["hook_name"], **load_file(path / FILE))
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path / FILE} is missing or damaged: {str(error).splitlines()[0]}") from error
