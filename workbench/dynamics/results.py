"""What an analysis of a subject's dynamics left in its folder, and the reader of it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from workbench.dynamics.points import TABLE, FixedPoints

VERB = "dynamics"
UNTRAINED, TRAINED = "untrained", "trained"
PORTRAIT, ATTRACTORS, GATES = "portrait.parquet", "attractors.parquet", "gates.parquet"
UNITS, ABLATION = "units.parquet", "ablation.parquet"
_NEEDED = {
    TABLE: ("variant", "point", "kind", "n_unstable", "basin", "modulus"),
    PORTRAIT: ("variant", "what", "path", "step", "point", "kind", "pc1"),
    ATTRACTORS: ("variant", "test", "label"),
    GATES: ("variant", "hook", "unit", "label", "value", "mean", "left", "right"),
    UNITS: ("variant", "hook", "label", "measure", "unit", "held_out", "chosen", "shuffled"),
    ABLATION: ("variant", "label", "unit", "rise_on", "rise_off"),
}


@dataclass(frozen=True)
class Dynamics:
    """An analysis as it was read; tables have a column `variant`, `trained` or `untrained`.

    Attributes:
        points: of the subject.
        untrained: of the subject before its training; None where that was not kept.
        table: one row a point (`FixedPoints.table`).
        portrait: one row a place in principal axes `pc1` …: `what` is `trajectory` (with `path`, its sequence, `step`
            and labels), `point` (with `point` and `kind`) or `manifold` (with `path`, its branch, `point`, `step`).
        attractors: the line and ring tests, a row a test and label.
        gates: statistics of the gates; None where the subject has none.
        units: units against labels; None where there are no labels.
        ablation: losses under clamped units; None where there are none.
        explained: the share of the variance along each principal axis, by variant.
    """

    points: FixedPoints
    untrained: FixedPoints | None
    table: pd.DataFrame
    portrait: pd.DataFrame
    attractors: pd.DataFrame
    gates: pd.DataFrame | None
    units: pd.DataFrame | None
    ablation: pd.DataFrame | None
    explained: dict[str, list[float]]


def read_dynamics(path: str | Path) -> Dynamics:
    """Read what `workbench dynamics` made. Raises `ArtifactError` where the folder is no such analysis."""
    folder = Path(path)
    manifest = Manifest.read(folder)
    if manifest.config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no analysis of dynamics: `workbench dynamics` makes one.")
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    table, portrait, attractors = (tables[name] for name in (TABLE, PORTRAIT, ATTRACTORS))
    if table is None or portrait is None or attractors is None:
        raise ArtifactError(f"{folder} is not whole: it lacks one of {TABLE}, {PORTRAIT} and {ATTRACTORS}.")
    return Dynamics(
        points=FixedPoints.load(folder),
        untrained=FixedPoints.load(folder / UNTRAINED) if (folder / UNTRAINED).is_dir() else None,
        table=table,
        portrait=portrait,
        attractors=attractors,
        gates=tables[GATES],
        units=tables[UNITS],
        ablation=tables[ABLATION],
        explained=manifest.config["results"]["explained"],
    )
