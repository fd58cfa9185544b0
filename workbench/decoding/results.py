"""What `workbench decode` leaves behind, and its reader."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from safetensors.torch import load_file

from models.artifacts import ArtifactError, Manifest
from models.tensor_files import save_tensors
from probes.tuning import TuningCurves

RESULT, DECODED, TUNING, MAPS = "result.parquet", "decoded.parquet", "tuning.parquet", "maps.safetensors"
VERB = "decode"
_NEEDED = {
    RESULT: ("hook", "decoder", "output", "variant", "r2", "note"),
    DECODED: ("hook", "decoder", "output", "doc", "pos", "true", "decoded", "std"),
    TUNING: ("hook", "variables", "unit"),
}


@dataclass(frozen=True)
class Decoding:
    """One analysis of a population.

    Attributes:
        results: a line a hook, decoder, output and variant (`decoder`, `random subject`, `shuffled`, `mean`): `r2`,
            `rho`, `error` with `_low` and `_high` (95%), what `measure` the error is, `p_value`, `coverage`, `bound`,
            `bins`, `blocks`, `note`.
        decoded: some held-out bins: `hook`, `decoder`, `output`, `doc`, `pos`, `true`, `decoded`, `std`.
        tuning: a line a hook, variables and unit, with its scores.
        curves: by hook and variables, the units' tuning.
    """

    results: pd.DataFrame
    decoded: pd.DataFrame
    tuning: pd.DataFrame
    curves: dict[tuple[str, str], TuningCurves]


def write_decoding(folder: Path, found: Decoding) -> None:
    """Put an analysis into the folder of its artifact."""
    for name, table in ((RESULT, found.results), (DECODED, found.decoded), (TUNING, found.tuning)):
        table.to_parquet(folder / name, index=False)
    tensors: dict[str, torch.Tensor] = {}
    for (hook, variables), curves in found.curves.items():
        tensors |= {f"{hook}|{variables}|{part}": value for part, value in _tensors(curves).items()}
    save_tensors(tensors, folder / MAPS)


def read_decoding(path: str | Path) -> Decoding:
    """The analysis in a folder. Raises `ArtifactError` where none is, or it is damaged."""
    path = Path(path)
    if Manifest.read(path).config.get("verb") != VERB:
        raise ArtifactError(f"{path} is no analysis of a population: `workbench decode` makes one.")
    return read_part(path)


def write_part(folder: Path, found: Decoding) -> None:
    """What is ready of an unfinished analysis, whole or not at all."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_decoding(unfinished, found)
    unfinished.rename(folder)


def read_part(path: Path) -> Decoding:
    """The tables and maps in a folder."""
    tables = {}
    for name, needed in _NEEDED.items():
        if not (path / name).exists():
            raise ArtifactError(f"{path} is damaged: {name} is missing.")
        tables[name] = pd.read_parquet(path / name)
        if missing := [column for column in needed if column not in tables[name].columns]:
            raise ArtifactError(f"{path / name} is damaged: it lacks {', '.join(missing)}.")
    return Decoding(tables[RESULT], tables[DECODED], tables[TUNING], _read_curves(path / MAPS))


def _tensors(curves: TuningCurves) -> dict[str, torch.Tensor]:
    named: dict[str, Any] = {"rates": curves.rates.astype(np.float32), "occupancy": curves.occupancy}
    named |= {f"edges{axis}": edge for axis, edge in enumerate(curves.edges)}
    named["period"] = np.array([np.nan if one is None else one for one in curves.period])
    named["dt"] = np.array([curves.dt])
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in named.items()}


def _read_curves(path: Path) -> dict[tuple[str, str], TuningCurves]:
    try:
        tensors = load_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from error
    parts: dict[tuple[str, str], dict[str, Float[np.ndarray, "*shape"]]] = {}
    for name, value in tensors.items():
        hook, variables, part = name.split("|")
        parts.setdefault((hook, variables), {})[part] = value.numpy()
    return {key: _curves(part) for key, part in parts.items()}


def _curves(part: dict[str, Float[np.ndarray, "*shape"]]) -> TuningCurves:
    edges = tuple(part[f"edges{axis}"] for axis in range(part["occupancy"].ndim))
    period = tuple(None if np.isnan(one) else float(one) for one in part["period"])
    return TuningCurves(part["rates"].astype(np.float64), part["occupancy"], edges, period, float(part["dt"][0]))
