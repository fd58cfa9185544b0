"""What `workbench patch --method rotation` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from workbench.interventions.subspace import Subspace

VERB = "patch --method rotation"
RESULT, LOSSES, PAIRS, DIRECTIONS = "result.parquet", "losses.parquet", "pairs.parquet", "directions.safetensors"
SCORES = ("said", "said_low", "said_high", "value", "effect", "effect_low", "effect_high", "loss", "pairs")
# The learned directions, and what they are held against; as `fit_rotation` calls them.
VARIANTS = (
    *("learned", "principal axes", "untrained subject", "random frame"),
    *("nothing swapped", "everything swapped"),
)
COLUMNS = ("hook", "k", "place", "variant", "seed", *SCORES)
_NEEDED = {
    RESULT: COLUMNS,
    LOSSES: ("hook", "k", "start", "step", "loss"),
    PAIRS: ("pair", "clean_text", "corrupt_text", "answer", "wrong", "clean", "corrupt", "held_out"),
}


@dataclass(frozen=True)
class Rotations:
    """The directions that were learned at some hooks, and what swapping along them does on held-out pairs.

    Attributes:
        place: at which positions the clean prompts' coordinates became the corrupt ones': `last` or `differ`.
        table: for each hook and number of directions `k` a line of the `learned` ones and one of each control.
            `said` is the share of held-out pairs in which the corrupt prompt's answer is then the likeliest of all (the
            interchange-intervention accuracy); `value` the mean logit difference, clean over corrupt, and `effect` how
            far that has come from the clean runs', 0, to the corrupt runs', 1, which an untrained subject has not;
            `loss` is of the corrupt answers, in nats.
        losses: of each search: `start`, `step` and `loss`.
        pairs: each pair's texts, answers and metric of both runs, and whether it was held out.
        subspaces: the learned directions, by hook and `k`.
    """

    place: str
    table: pd.DataFrame
    losses: pd.DataFrame
    pairs: pd.DataFrame
    subspaces: Mapping[tuple[str, int], Subspace]


def read_rotations(path: str | Path) -> Rotations:
    """What `workbench patch --method rotation` left in a folder.

    Raises:
        ArtifactError: nothing is there, or it is damaged.
    """
    folder = Path(path)
    config = Manifest.read(folder).config
    if config.get("verb") != VERB:
        raise ArtifactError(f"{folder} holds no learned directions: `workbench {VERB}` makes some.")
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    table, losses, pairs = (tables[name] for name in (RESULT, LOSSES, PAIRS))
    if table is None or losses is None or pairs is None:
        missing = next(name for name in _NEEDED if tables[name] is None)
        raise ArtifactError(f"{folder} is damaged: it lacks {missing}.")
    return Rotations(config["at"], table, losses, pairs, read_directions(folder / DIRECTIONS))


def named_directions(subspaces: Mapping[tuple[str, int], Subspace]) -> dict[str, Tensor]:
    """Orthonormal directions as a file keeps them, under `HOOK|K`."""
    return {f"{hook}|{k}": subspace.write for (hook, k), subspace in subspaces.items()}


def read_directions(path: Path) -> dict[tuple[str, int], Subspace]:
    """The directions that a file keeps. Raises `ArtifactError` where it is missing or damaged."""
    try:
        tensors = load_file(path)
        named = {name.rpartition("|")[::2]: Subspace.along(vectors) for name, vectors in tensors.items()}
        return {(hook, int(k)): subspace for (hook, k), subspace in named.items()}
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from error
