"""Where spans with one active set are looked for, and what was found, kept by the recording's id like `apps.serve`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import streamlit as st

from apps import serve, serve_lab
from apps.place import Place
from apps.serve_results import opened
from models.artifacts import ArtifactError
from workbench.activations import ActivationStore
from workbench.features.naming.concepts import Concepts
from workbench.features.reading.units import unit_hooks
from workbench.features.spans.bounds import Bounds, bounds
from workbench.features.spans.labels import span_labels, statements
from workbench.features.spans.sources import IndexedCodes, RecordedUnits, SpanSource
from workbench.features.spans.spans import matching_spans, random_spans
from workbench.runs import Artifact, Run

CODES = "features of the dictionary"


@dataclass(frozen=True)
class Searched:
    """What spans are looked for in.

    Attributes:
        id: of the recording or the index.
        hook: of the recording, or `CODES`.
        source: its rows.
        token: what stands at each row.
    """

    id: str
    hook: str
    source: SpanSource
    token: np.ndarray


def hooks(here: Place, subject: Any) -> list[str]:
    """What spans of a text can be compared in: recorded units, and the codes of the chosen index."""
    recorded = [hook for hook in unit_hooks(subject) if serve_lab.recording_of(here.run, hook) is not None]
    return recorded + ([CODES] if here.index is not None and not without_codes(here) else [])


def without_codes(here: Place) -> str:
    """Why the codes of the chosen index cannot be compared; empty where they can, or none is chosen."""
    try:
        _dictionary(here)
    except ArtifactError as error:
        return str(error)
    return ""


def searched(here: Place, hook: str) -> Searched:
    """The rows of a hook, or of the codes, opened once."""
    if hook == CODES:
        index = here.index
        assert index is not None  # `hooks` names the codes only where there are some
        return _of_index(index.id, index)
    recording = serve_lab.recording_of(here.run, hook)
    if recording is None:
        raise ValueError(f"{hook} was not recorded.")
    return _of_recording(recording.id, hook, recording, here.run)


def held(here: Place, subject: Any, hook: str, text: str) -> tuple[list[str], np.ndarray]:
    """A text's tokens, and what a hook or the codes hold at each, `[pos, unit]`. `ValueError` if it cannot be read."""
    key = f"{here.run.find('model').id} {hook} {here.index.id if hook == CODES and here.index else ''}"
    return _held(key, text, subject, hook, here)


def limits(at: Searched, value: float | None, quantile: float | None, side: str) -> Bounds:
    """When each unit is on."""
    return _limits(at.id, at.hook, value, quantile, side, at)


def found(at: Searched, by: Bounds, active: tuple[int, ...], length: int, key: tuple) -> pd.DataFrame:
    """The spans that share the set; `key` says how `by` came about."""
    return _found(at.id, at.hook, key, active, length, at, by)


def chance(at: Searched, by: Bounds, active: tuple[int, ...], length: int, key: tuple) -> pd.DataFrame:
    """What random sets find. `ValueError` where the set is too large for there to be others."""
    return _chance(at.id, at.hook, key, active, length, at, by)


def said(here: Place, at: Searched) -> Concepts | None:
    """What the labels say of each row; None where there are none.

    Raises `ArtifactError` where the recording that an index's rows are of is gone.
    """
    if at.hook == CODES and here.index is not None:
        recording: Artifact | None = here.run.made_from(here.index, "activations")
    else:
        recording = serve_lab.recording_of(here.run, at.hook)
    return None if recording is None else _said(recording.id, recording)


def labels(
    at: Searched, known: Concepts, asked: tuple, spans: pd.DataFrame, random: pd.DataFrame | None
) -> pd.DataFrame:
    """What holds in spans; `asked` says which these are."""
    return _labels(at.id, at.hook, asked, known, spans, random)


def text_of(at: Searched, sequence: int, tokenizer: Any) -> tuple[str, bool]:
    """A recorded sequence as a text, and whether its tokens are read again as they were."""
    first, last = np.searchsorted(at.source.seq, [sequence, sequence + 1])
    ids = at.token[first:last].tolist()
    text = tokenizer.decode(ids, skip_special_tokens=False)
    starts_whole = bool(at.source.pos[first] == 1)
    return text, starts_whole and tokenizer.encode(text, add_special_tokens=False).ids == ids


@st.cache_resource(max_entries=4, show_spinner="Opening the recording …")
def _of_recording(artifact_id: str, hook: str, _artifact: Artifact, _run: Run) -> Searched:
    store = opened(_artifact, ActivationStore.open)
    names = serve.dataset(_run).doc_table["name"].to_pylist()
    return Searched(artifact_id, hook, RecordedUnits(store, hook, names), store.columns("token")["token"].to_numpy())


@st.cache_resource(max_entries=4, show_spinner=False)
def _of_index(index_id: str, _index: Artifact) -> Searched:
    index = serve.index(_index)
    return Searched(index_id, CODES, IndexedCodes(index), index.rows["token"])


@st.cache_resource(max_entries=16, show_spinner="Reading …")
def _held(key: str, text: str, _subject: Any, hook: str, _here: Place) -> tuple[list[str], np.ndarray]:
    dictionary = _dictionary(_here) if hook == CODES else None
    read = serve.reading(_subject, dictionary, text, key, hooks=() if hook == CODES else (hook,))
    if hook != CODES:
        return read.tokens, read.held[hook].numpy()
    assert dictionary is not None
    values = np.zeros((len(read.tokens), dictionary.cfg.d_sae), np.float32)
    for row, which, strength in zip(values, read.features, read.values, strict=True):
        row[which] = strength
    return read.tokens, values


def _dictionary(here: Place) -> Any:
    return serve.dictionary_of(here.run, serve.index(here.index)) if here.index is not None else None


@st.cache_resource(max_entries=16, show_spinner="Reading thresholds …")
def _limits(source_id: str, hook: str, value: float | None, quantile: float | None, side: str, _at: Searched) -> Bounds:
    return bounds(_at.source, value=value, quantile=quantile, side=side)


@st.cache_data(max_entries=32, show_spinner="Searching …")
def _found(
    source_id: str, hook: str, key: tuple, active: tuple[int, ...], length: int, _at: Searched, _by: Bounds
) -> pd.DataFrame:
    return matching_spans(_at.source, _by, np.array(active, np.int64), length)


@st.cache_data(max_entries=32, show_spinner="Searching for random sets …")
def _chance(
    source_id: str, hook: str, key: tuple, active: tuple[int, ...], length: int, _at: Searched, _by: Bounds
) -> pd.DataFrame:
    return random_spans(_at.source, _by, np.array(active, np.int64), length)


@st.cache_data(max_entries=32, show_spinner="Comparing labels …")
def _labels(
    source_id: str, hook: str, asked: tuple, _known: Concepts, _spans: pd.DataFrame, _random: pd.DataFrame | None
) -> pd.DataFrame:
    return span_labels(_known, _spans, _random)


@st.cache_resource(max_entries=2, show_spinner="Reading labels …")
def _said(recording_id: str, _artifact: Artifact) -> Concepts | None:
    store = opened(_artifact, ActivationStore.open)
    if not store.labels:
        return None
    table: pa.Table = store.columns(*store.labels)
    return statements(table)
