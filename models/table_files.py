"""Tables of an analysis as Parquet files: each written whole, so that a killed job goes on from the next; and read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from models.errors import ArtifactError


def read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame | None:
    """A table with the columns that it must have; None where there is none. `ArtifactError` for a damaged one."""
    if not path.exists():
        return None
    try:
        found = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    if missing := [column for column in needed if column not in found.columns]:
        raise ArtifactError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    return found


def kept_table(path: Path, make: Callable[[], pd.DataFrame]) -> None:
    """Make a table and write it whole, unless it is there: a killed analysis goes on from the next."""
    if path.exists():
        return
    unfinished = path.with_name(path.name + ".part")
    make().to_parquet(unfinished, index=False)
    unfinished.replace(path)
