"""Where the exact effects of an index's features are kept: those of all that were measured, in one table.

In the run, as an analysis of the index; a run that may only be read has it in the reader's cache, under the index's id.
Every few features the table is published anew with what was there: of a job that is killed, these need not be measured
again, and two that measure at once lose nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from models.artifacts import ArtifactError, Manifest, publishing
from models.dataset import Dataset
from models.table_files import read_table
from workbench.features.columns import LATENTS, kind_of, read_dictionary
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.on_demand.ablation_effects import COLUMNS, ablation_effects
from workbench.features.on_demand.feature_map_kept import mapped_dictionary, refuse_foreign
from workbench.runs import Artifact, Run, cache_folder, may_be_written
from workbench.sae import load_sae

VERB, RESULT = "index --effects", "effects.parquet"
SEED = 0
AT_ONCE = 8  # features between two publications


def effects_name(index: Artifact) -> str:
    """The name of the analysis that holds the effects of an index's features."""
    return f"{index.name}-effects"


def kept_effects(run: Run, index: Artifact, feature: int | None = None) -> pd.DataFrame | None:
    """The effects of a feature of this very index as `ablation_effects` gives them, or of all that were measured.

    None where the feature, or any, was not measured. Raises `ArtifactError` for a damaged table.
    """
    for path in _places(run, index):
        found = _read(path, index)
        if found is not None and feature is not None:
            found = found[found["feature"] == feature].reset_index(drop=True)
        if found is not None and len(found):
            return found
    return None


def keep_effects(
    run: Run,
    index: Artifact,
    features: Sequence[int],
    *,
    replace: bool = False,
    say: Callable[[int, int], None] | None = None,
) -> Path:
    """Measure what taking features out does, but for those that were measured, and keep it.

    Args:
        run: the run of the index.
        index: the index, of latents, units or probes.
        features: which features.
        replace: also over an analysis of the table's name that another verb made.
        say: is told how many are done of how many.

    Returns:
        Where the table is kept.

    Raises:
        ArtifactError: the dictionary, the subject or the data is gone or was replaced; somebody else writes there; see
            `refuse_foreign`.
        ValueError: see `ablation_effects`.
    """
    path = _places(run, index)[0 if may_be_written(run) else 1]
    if not replace:
        refuse_foreign(path, VERB)
    known = _read(path, index)
    done = set() if known is None else set(known["feature"])
    wanted = [feature for feature in dict.fromkeys(int(f) for f in features) if feature not in done]
    if not wanted:
        return path
    model, dataset = run.find("model"), run.find("dataset")
    of_latents = kind_of(index.manifest.config) == LATENTS
    made_from = [mapped_dictionary(run, index)] if of_latents else []
    dictionary: Any = load_sae(made_from[0].path) if of_latents else read_dictionary(index.path)
    inputs = run.inputs(index, *made_from, model, dataset)
    subject, data, opened = run.model(), recorded_data(run, index), FeatureIndex.open(index.path)
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        found = ablation_effects(subject, dictionary, opened, part, data, seed=SEED)
        with publishing(path, "analysis", inputs=inputs, config={"verb": VERB, "seed": SEED}, seed=SEED) as draft:
            before = _read(path, index)  # another may have measured others meanwhile
            if before is not None:
                found = pd.concat([before[~before["feature"].isin(part)], found])
            found = found.sort_values("feature", kind="stable", ignore_index=True)
            found.to_parquet(draft.path / RESULT, index=False)
            draft.results = {"n_features": int(found["feature"].nunique())}
        if say is not None:
            say(start + len(part), len(wanted))
    return path


def recorded_data(run: Run, index: Artifact) -> Dataset:
    """The sequences that an index's rows are of: the run's data, or the sample of it that was recorded.

    Raises `ArtifactError` where the recording is gone or was replaced.
    """
    sample = run.made_from(index, "activations").manifest.config.get("sample")
    data: Dataset = run.dataset(with_labels=False)
    return data.sample(**sample) if sample else data


def best_named(index: FeatureIndex, n: int) -> list[int]:
    """The features that fire and whose names hold best: where to begin when not all can be measured."""
    table = index.table[~index.table["dead"].astype(bool)]
    return table.sort_values("f1_low", ascending=False, kind="stable")["feature"].head(n).astype(int).tolist()


def _places(run: Run, index: Artifact) -> list[Path]:
    return [run.path_of("analysis", effects_name(index)), cache_folder() / "effects" / index.id]


def _read(path: Path, index: Artifact) -> pd.DataFrame | None:
    """The table in a folder; None where there is none, or it is of an index that was replaced."""
    try:
        manifest = Manifest.read(path)
    except (ArtifactError, OSError):
        return None
    if manifest.config.get("verb") != VERB or index.id not in manifest.inputs.values():
        return None
    found = read_table(path / RESULT, COLUMNS)
    if found is None:
        raise ArtifactError(f"{path} is damaged: it lacks {RESULT}.")
    return found
