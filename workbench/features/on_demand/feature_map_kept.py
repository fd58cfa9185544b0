"""Where the map of an index's features is kept, and that it is made where it is wanted.

In the run, as an analysis of the index. A run that may only be read has it in the reader's cache instead, under the
index's id: an index made anew has no map there.
"""

from collections.abc import Callable
from pathlib import Path

from models.artifacts import MANIFEST, ArtifactError, Manifest, check_replaceable, publishing
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.on_demand.feature_map import LEAST, PERPLEXITY, RESULT, VERB, feature_map
from workbench.runs import Artifact, Run, cache_folder, may_be_written
from workbench.sae import load_sae


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
    return run.made_from(index, "sae")


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


def keep_map(
    run: Run, index: Artifact, *, seed: int = 0, replace: bool = False, say: Callable[[str], None] | None = None
) -> Path:
    """Lay the live features of an index out (see `feature_map`), and keep the map where `kept_map` finds it.

    Args:
        run: the run of the index.
        index: the index, of a dictionary's latents.
        seed: of the layout.
        replace: also over an analysis of the map's name that another verb made.
        say: is told what is being done.

    Returns:
        Where the map is kept.

    Raises:
        ArtifactError: see `mapped_dictionary` and `refuse_foreign`.
        ValueError: fewer than `LEAST` features fire.
    """
    path = run.path_of("analysis", map_name(index)) if may_be_written(run) else _cached(index)
    if not replace:
        refuse_foreign(path, VERB)
    dictionary = mapped_dictionary(run, index)
    table = FeatureIndex.open(index.path).table
    live = table.loc[~table["dead"].astype(bool), "feature"].tolist()
    if len(live) < LEAST:
        raise ValueError(f"a map needs {LEAST} features that fire or more: {len(live)} of {index.name} do.")
    inputs = run.inputs(index, dictionary)
    with publishing(path, "analysis", inputs=inputs, config=map_settings(seed), seed=seed) as draft:
        found = feature_map(load_sae(dictionary.path).W_dec, live, seed=seed, say=say)
        found.to_parquet(draft.path / RESULT, index=False)
    return path


def refuse_foreign(path: Path, verb: str) -> None:
    """`ArtifactError` where what stands at `path` is no analysis, or another verb's: that is somebody's work."""
    check_replaceable(path, "analysis")
    if not (path / MANIFEST).exists():
        return
    made_by = Manifest.read(path).config.get("verb")
    if made_by != verb:
        by = f"`workbench {made_by}`" if made_by else "something else"
        raise ArtifactError(
            f"{path} was made by {by}: move it away, or write over it with `workbench {verb} --replace`."
        )


def _cached(index: Artifact) -> Path:
    return cache_folder() / "maps" / index.id
