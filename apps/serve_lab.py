"""What the prompt lab reads beside texts, opened or fitted once and shared; keyed like `apps.serve`."""

from typing import Any

import pandas as pd
import streamlit as st

from apps.serve import ONE_READER
from apps.serve_results import opened
from workbench.activations import ActivationStore
from workbench.activations.recorder import axis_of
from workbench.features.reading.layers import layers_at, stream_hooks
from workbench.features.reading.prompt import PromptReading
from workbench.features.reading.state_change import state_change
from workbench.features.reading.units import ElsewhereHeld, unit_hooks
from workbench.interventions import TunedLens
from workbench.probing.table_probes import RefittedProbes, refit
from workbench.runs import Artifact, Run


def kept_hooks(run: Run, subject: Any) -> tuple[str, ...]:
    """All hooks whose values any pane of the lab shows, so that a text is run once: units, the stream, what was probed.

    Of tables of probes those count that have not gone stale.
    """
    hooks = [*unit_hooks(subject), *stream_hooks(subject)]
    for artifact in probe_tables(run).values():
        hooks += [name for name in artifact.manifest.config.get("hooks") or () if name in subject.hook_dict]
    return tuple(name for name in dict.fromkeys(hooks) if axis_of(subject, name) == "target")


def probe_tables(run: Run) -> dict[str, Artifact]:
    """The run's tables of probes that have not gone stale, by name."""
    return {a.name: a for a in run.artifacts() if a.kind == "probes" and not a.stale}


def recording_of(run: Run, hook: str) -> Artifact | None:
    """The run's recording with most tokens of a hook; None where it was not recorded, or what was has gone stale."""
    found = [
        artifact
        for artifact in run.artifacts()
        if artifact.kind == "activations" and not artifact.stale and hook in artifact.manifest.config["hooks"]
    ]
    return max(found, key=lambda artifact: sum(artifact.manifest.config["n_rows"].values()), default=None)


def elsewhere(recording: Artifact, hook: str) -> ElsewhereHeld:
    """What each unit of a hook holds in a recording."""
    return _elsewhere(recording.id, hook, recording)


def refitted(run: Run, table: Artifact, estimator: str, hook: str, labels: tuple[str, ...]) -> RefittedProbes:
    """The probes of a table at one hook, fitted again. `ValueError` where that cannot be done."""
    return _refitted(table.id, estimator, hook, labels, run, table)


def tuned_lens(lens: Artifact) -> TunedLens:
    """The lens that `workbench lens --tuned` fitted."""
    return opened(lens, TunedLens.load)


def layers(subject: Any, reading: PromptReading, position: int, lens: TunedLens | None, key: str) -> pd.DataFrame:
    """What each layer says at a token; `key` names the subject, the text and the lens. `ValueError` as `layers_at`."""
    return _layers(key, position, subject, reading, lens)


def moved(
    subject: Any, first: PromptReading, second: PromptReading, position: int, hooks: tuple[str, ...], key: str
) -> pd.DataFrame:
    """How far an edit moves each layer; `key` names the subject and both texts. `ValueError` as `state_change`."""
    return _moved(key, position, hooks, subject, first, second)


@st.cache_resource(max_entries=8, show_spinner="Reading what the units hold elsewhere …")
def _elsewhere(recording_id: str, hook: str, _recording: Artifact) -> ElsewhereHeld:
    return ElsewhereHeld.of_recording(opened(_recording, ActivationStore.open), hook)


@st.cache_resource(max_entries=64, show_spinner="Fitting the probes again …")
def _refitted(
    table_id: str, estimator: str, hook: str, labels: tuple[str, ...], _run: Run, _table: Artifact
) -> RefittedProbes:
    store = opened(_run.made_from(_table, "activations"), ActivationStore.open)
    return refit(store, _table.manifest.config, estimator, hook, list(labels))


@st.cache_data(max_entries=64, show_spinner=False)
def _layers(key: str, position: int, _subject: Any, _reading: PromptReading, _lens: TunedLens | None) -> pd.DataFrame:
    with ONE_READER:  # the read-out has hooks, too
        return layers_at(_subject, _reading, position, lens=_lens)


@st.cache_data(max_entries=64, show_spinner=False)
def _moved(
    key: str,
    position: int,
    hooks: tuple[str, ...],
    _subject: Any,
    _first: PromptReading,
    _second: PromptReading,
) -> pd.DataFrame:
    with ONE_READER:
        return state_change(_subject, _first, _second, position, hooks=hooks)
