"""Where the map of an index's features is kept, and that it is made where it is wanted.

In the run, as an analysis of the index. A run that may only be read has it in the reader's cache instead, under the
index's id: an index made anew has no map there.
"""

import os
from collections.abc import Callable
from pathlib import Path

from models.artifacts import ArtifactError, Manifest, publishing
from workbench.features.feature_map import LEAST, PERPLEXITY, RESULT, VERB, feature_map
from workbench.features.index import FeatureIndex
from workbench.runs import Artifact, Run
from workbench.sae import load_sae


def cache_folder() -> Path:
    """Where this system keeps what can be made again: `workbench/` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench"


def map_settings(seed: int = 0) -> dict[str, object]:
    """What the manifest of a map says."""
    return {"verb": VERB, "perplexity": PERPLEXITY, "seed": seed}


def map_name(index: Artifact) -> str:
    """The name of the analysis that holds an index's map."""
    return f"{index.name}-map"


def mapped_dictionary(run: Run, index: Artifact) -> Artifact:
    """The dictionary whose directions are laid out.

    Raises:
        ArtifactError: the index is not of a dictionary's latents, or its dictionary is gone or has been replaced.
    """
    if index.manifest.config.get("columns", "latents") != "latents":
        raise ArtifactError(
            f"{index.path} is no index of a dictionary's latents: its columns are axes, and have no map."
        )
    known = set(index.manifest.inputs.values())
    for artifact in run.artifacts():
        if artifact.kind == "sae" and artifact.id in known:
            return artifact
    raise ArtifactError(
        f"the dictionary that {index.name} was made from is no longer in this run: "
        f"`workbench index --run {run.path}` makes the index anew."
    )


def kept_map(run: Run, index: Artifact) -> Path | None:
    """The folder with the map of this very index: in the run, else in the cache; None where there is none."""
    for path in (run.path_of("analysis", map_name(index)), _cached(index)):
        try:
            manifest = Manifest.read(path)
        except (ArtifactError, OSError):
            continue
        if manifest.config.get("verb") == VERB and index.id in manifest.inputs.values():
            return path
    return None


def keep_map(run: Run, index: Artifact, *, seed: int = 0, say: Callable[[str], None] | None = None) -> Path:
    """Lay the live features of an index out (see `feature_map`), and keep the map where `kept_map` finds it.

    Raises:
        ArtifactError: see `mapped_dictionary`; or something else stands in the map's place.
        ValueError: fewer than `LEAST` features fire.
    """
    dictionary = mapped_dictionary(run, index)
    table = FeatureIndex.open(index.path).table
    live = table.loc[~table["dead"].astype(bool), "feature"].tolist()
    if len(live) < LEAST:
        raise ValueError(f"a map needs {LEAST} features that fire or more: {len(live)} of {index.name} do.")
    path = run.path_of("analysis", map_name(index)) if may_be_written(run) else _cached(index)
    inputs = run.inputs(index, dictionary)
    with publishing(path, "analysis", inputs=inputs, config=map_settings(seed), seed=seed) as draft:
        found = feature_map(load_sae(dictionary.path).W_dec, live, seed=seed, say=say)
        found.to_parquet(draft.path / RESULT, index=False)
    return path


def _cached(index: Artifact) -> Path:
    return cache_folder() / "maps" / index.id


def may_be_written(run: Run) -> bool:
    """Whether an analysis can be made in a run, which is not so of one that may only be read."""
    folders = (run.path, run.path / ".work", run.path / "analyses")
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in folders if folder.exists())
