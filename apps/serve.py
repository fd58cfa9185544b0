"""What the pages show, opened once and shared: runs, indexes, subjects, readings of prompts.

Caches are keyed by the artifact's id, so a replaced artifact is opened anew and nothing stale is shown.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
import torch

from apps.environment import root
from models.dataset import Dataset
from models.evaluation import evaluate
from models.saving import checkpoint_steps
from workbench.attention.random_heads import with_random_weights
from workbench.attention.streaming import pattern_hooks
from workbench.dynamics import StatesReading, read_states
from workbench.experiments.heads_moved import moved_in, rollouts_of, with_values
from workbench.features.columns import LATENTS, Dictionary, kind_of, read_dictionary
from workbench.features.index.feature_index import Example, FeatureIndex, FeatureRecord
from workbench.features.reading.prompt import PromptReading, read_prompt
from workbench.features.reading.text import predicts_next_token
from workbench.interventions import Edit
from workbench.interventions.steering import steer
from workbench.interventions.steering import steerable as steerable_hooks
from workbench.runs import Artifact, Run, list_runs
from workbench.sae import load_sae

# Sessions share one subject, and hooks that one session attaches fire in whatever forward pass comes by.
ONE_READER = threading.Lock()
STEERING_CONTROLS = 2  # random directions beside a steered text


def runs() -> dict[str, Run]:
    """Every run below the root whose name can be shown, by its path from there."""
    return {name: run for name, run in _all_runs().items() if _is_text(name)}


def unnamed_runs() -> list[str]:
    """The runs below the root whose names are not UTF-8, with escapes: no page can show them, and no link name them."""
    return [ascii(name)[1:-1] for name in _all_runs() if not _is_text(name)]


def dataset(run: Run) -> Dataset:
    """The run's data."""
    return _dataset(run.find("dataset").id, run)


def model(run: Run) -> Any:
    """The run's subject."""
    return _model(run.find("model").id, run)


def dictionary_of(run: Run, index: FeatureIndex) -> Dictionary:
    """What reads a prompt as an index's columns: the dictionary that it was made from, or its own of units or the like.

    Raises `ArtifactError` if it is gone or has been replaced.
    """
    if kind_of(index.config) != LATENTS:
        return _dictionary(index.id, index.path, read_dictionary)
    artifact = run.made_from(index, "sae")
    return _dictionary(artifact.id, artifact.path, load_sae)


def index(artifact: Artifact) -> FeatureIndex:
    """A feature index."""
    return _index(artifact.id, artifact.path)


def record(features: FeatureIndex, feature: int) -> FeatureRecord:
    """All about one feature."""
    return _record(features.id, feature, features)


def examples(features: FeatureIndex, feature: int, kind: str) -> list[Example]:
    """A feature's examples of one kind; bands from the strongest down."""
    return _examples(features.id, feature, kind, features)


def with_losses(features: FeatureIndex, shown: list[Example], run: Run) -> list[Example]:
    """The same examples with the subject's loss at each token, if the next token is what it learned to predict.

    Its time goes with their number: ask for those shown.
    """
    subject, data = model(run), dataset(run)
    given_alone = data.bos is not None and data.targets is None and data.source is None
    if not given_alone or not predicts_next_token(subject):
        return shown
    return _with_losses(features.id, tuple(example.row for example in shown), shown, features, subject)


def reading(
    subject: Any, dictionary: Dictionary | None, text: str, key: str, hooks: tuple[str, ...] = ()
) -> PromptReading:
    """A prompt as the subject and the dictionary read it; `key` names both. `ValueError` if it cannot be read."""
    return _reading(key, text, hooks, subject, dictionary)


def states(subject: Any, text: str, key: str) -> StatesReading:
    """A prompt as a recurrent subject reads it; `key` names the subject. `ValueError` if it cannot be read."""
    return _states(key, text, subject)


def run_with_recurrence() -> str | None:
    """The name of a run whose subject is recurrent and reads text; None where there is none."""
    for name, run in runs().items():
        recurrent = any(
            a.kind == "model" and a.manifest.config.get("architecture") == "recurrent" for a in run.artifacts()
        )
        if recurrent and (run.path_of("dataset") / "tokenizer.json").exists():
            return name
    return None


def moved(run: Run, ids: tuple[int, ...]) -> tuple[dict, dict]:
    """What attention moves in one text, and its rollouts beside the control's: `moved_in` and `rollouts_of`."""
    return _moved(run.find("model").id, ids, run)


def steerable(run: Run) -> dict[str, int]:
    """The hooks at which the run's subject can be steered, and how wide they are."""
    return _steerable(run.find("model").id, model(run))


def steered(subject: Any, text: str, edits: Mapping[str, Edit], hook: str, max_new: int, key: str) -> pd.DataFrame:
    """What a subject says under some edits, beside unsteered text and random directions.

    `key` names the subject and the edits. `ValueError` if it cannot be steered so.
    """
    return _steered(key, text, hook, max_new, subject, edits)


def loss_on(run: Run, data: Dataset, sequences: tuple[int, ...], key: str) -> float:
    """The loss of a run's subject on sequences of a data set, which `key` names."""
    return _loss_on(run.find("model").id, key, sequences, model(run), data)


@st.cache_data(max_entries=16, show_spinner=False)
def _moved(artifact_id: str, ids: tuple[int, ...], _run: Run) -> tuple[dict, dict]:
    subject, text = model(_run), Dataset(torch.tensor([ids]))
    control = _run.model(step=0) if 0 in checkpoint_steps(_run.path) else with_random_weights(subject, 0)
    hooks = pattern_hooks(subject)
    with ONE_READER:
        return moved_in(subject, text, with_values(subject, hooks)), rollouts_of(subject, control, text, hooks)


@st.cache_resource(max_entries=8, show_spinner="Opening the data …")
def _dataset(artifact_id: str, _run: Run) -> Dataset:
    return _run.dataset()


@st.cache_resource(max_entries=8, show_spinner="Loading the subject …")
def _model(artifact_id: str, _run: Run) -> Any:
    return _run.model()


@st.cache_resource(max_entries=8, show_spinner="Loading the dictionary …")
def _dictionary(artifact_id: str, _path: Path, _read: Callable[[Path], Dictionary]) -> Dictionary:
    return _read(_path)


@st.cache_resource(max_entries=8, show_spinner="Opening the index …")
def _index(artifact_id: str, _path: Path) -> FeatureIndex:
    opened = FeatureIndex.open(_path)
    # What every feature's page reads is read now, so that the first click waits no longer than the next.
    for shared in (opened.table, opened.rows, opened.vocabulary, opened.documents):
        len(shared)
    return opened


@st.cache_resource(max_entries=256, show_spinner=False)
def _record(index_id: str, feature: int, _index: FeatureIndex) -> FeatureRecord:
    return _index.feature(feature)


@st.cache_resource(max_entries=256, show_spinner=False)
def _examples(index_id: str, feature: int, kind: str, _index: FeatureIndex) -> list[Example]:
    return sorted(_index.examples(feature, kind), key=lambda example: (-(example.band or 0), example.rank))


@st.cache_resource(max_entries=256, show_spinner=False)
def _with_losses(
    index_id: str, rows: tuple[int, ...], _shown: list[Example], _index: FeatureIndex, _subject: Any
) -> list[Example]:
    with ONE_READER:
        return _index.with_losses(_shown, _subject)


@st.cache_resource(max_entries=16, show_spinner="Reading …")
def _reading(
    key: str, text: str, hooks: tuple[str, ...], _subject: Any, _dictionary: Dictionary | None
) -> PromptReading:
    with ONE_READER:
        return read_prompt(_subject, _dictionary, text, hooks=hooks)


@st.cache_resource(max_entries=64, show_spinner="Reading …")
def _states(key: str, text: str, _subject: Any) -> StatesReading:
    with ONE_READER:
        return read_states(_subject, text)


@st.cache_resource(max_entries=8, show_spinner=False)
def _steerable(model_id: str, _subject: Any) -> dict[str, int]:
    with ONE_READER:
        return steerable_hooks(_subject)


@st.cache_data(max_entries=64, show_spinner="Writing …")
def _steered(key: str, text: str, hook: str, max_new: int, _subject: Any, _edits: Mapping[str, Edit]) -> pd.DataFrame:
    with ONE_READER:
        return steer(_subject, [text], _edits, hook, max_new=max_new, n_controls=STEERING_CONTROLS)


@st.cache_data(max_entries=32, show_spinner="Reading held-out text …")
def _loss_on(model_id: str, data_id: str, sequences: tuple[int, ...], _subject: Any, _data: Dataset) -> float:
    with ONE_READER:
        return float(evaluate(_subject, _data.batch(torch.tensor(sequences)))["loss"])


def _name(run: Run, base: Path) -> str:
    return run.path.relative_to(base).as_posix() if run.path != base else run.name


def _all_runs() -> dict[str, Run]:
    base = root()
    return {_name(run, base): run for run in list_runs(base)} if base.is_dir() else {}


def _is_text(name: str) -> bool:
    """Whether it can be sent; Python reads a file's name that is not UTF-8 as halves of surrogate pairs."""
    try:
        name.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True
