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
from apps.words import words_of
from models.artifacts import ArtifactError
from workbench.activations import ActivationStore
from workbench.features.columns import LATENTS, kind_of
from workbench.features.naming.concepts import Concepts
from workbench.features.reading.units import unit_hooks
from workbench.features.spans.bounds import Bounds, bounds
from workbench.features.spans.labels import span_labels, statements
from workbench.features.spans.sources import IndexedCodes, RecordedUnits, SpanSource
from workbench.features.spans.spans import matching_spans, random_spans
from workbench.features.vocabulary import token_strings
from workbench.runs import Artifact, Run

CODES = "codes"
_AROUND = 14  # tokens on either side of a span that is shown


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


@dataclass(frozen=True)
class Asked:
    """What is searched for: what was found before is known by it.

    Attributes:
        bounds: the side, and the value or the quantile beyond which a unit is on.
        active: the columns that are on throughout the span.
        length: of the span, in tokens.
    """

    bounds: tuple[str, float | None, float | None]
    active: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Match:
    """A span that shares the set, with some of the text around it.

    Attributes:
        doc, start, stop, shared, jaccard: as `matching_spans` gives them.
        tokens: the span's, and some on either side.
        on: how many of the set are on at each.
        span: where it stands among the tokens: its first, and the one behind its last.
        text: the whole recorded sequence.
        as_it_was: whether the text's tokens are read again as they were recorded.
    """

    doc: str
    start: int
    stop: int
    shared: int
    jaccard: float
    tokens: list[str]
    on: np.ndarray
    span: tuple[int, int]
    text: str
    as_it_was: bool


def called(here: Place, hook: str) -> str:
    """What the page calls a hook, or the columns of the chosen index."""
    if hook != CODES or here.index is None:
        return hook
    config = here.index.manifest.config
    return f"{words_of(config).many} of the {'dictionary' if kind_of(config) == LATENTS else 'index'}"


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
    """The rows of a hook, or of the codes, opened once. `ValueError` where the hook was not recorded."""
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


def found(at: Searched, by: Bounds, asked: Asked) -> pd.DataFrame:
    """The spans that share the set; `by` is what the question's own bounds come to."""
    return _found(at.id, at.hook, asked, at, by)


def chance(at: Searched, by: Bounds, asked: Asked) -> pd.DataFrame:
    """What random sets find. `ValueError` where the set is too large for there to be others."""
    return _chance(at.id, at.hook, asked, at, by)


def matches(at: Searched, by: Bounds, asked: Asked, spans: pd.DataFrame, first: int, tokenizer: Any) -> list[Match]:
    """Some of the spans that were found, from the `first` on, with the text around them."""
    return _matches(at.id, at.hook, asked, first, len(spans), at, by, spans, tokenizer)


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
    at: Searched, known: Concepts, asked: Asked, spans: pd.DataFrame, random: pd.DataFrame | None
) -> pd.DataFrame:
    """What holds in the spans that were found."""
    return _labels(at.id, at.hook, asked, known, spans, random)


def _text_of(at: Searched, sequence: int, tokenizer: Any) -> tuple[str, bool]:
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


# Tables of spans are long, and nobody writes in them: they are not copied for every look.
@st.cache_resource(max_entries=32, show_spinner="Searching …")
def _found(source_id: str, hook: str, asked: Asked, _at: Searched, _by: Bounds) -> pd.DataFrame:
    return matching_spans(_at.source, _by, np.array(asked.active, np.int64), asked.length)


@st.cache_resource(max_entries=32, show_spinner="Searching for random sets …")
def _chance(source_id: str, hook: str, asked: Asked, _at: Searched, _by: Bounds) -> pd.DataFrame:
    return random_spans(_at.source, _by, np.array(asked.active, np.int64), asked.length)


@st.cache_resource(max_entries=64, show_spinner=False)
def _matches(
    source_id: str,
    hook: str,
    asked: Asked,
    first: int,
    n: int,
    _at: Searched,
    _by: Bounds,
    _spans: pd.DataFrame,
    _tokenizer: Any,
) -> list[Match]:
    active = np.array(asked.active, np.int64)
    return [_match(_at, _by, active, span, _tokenizer) for span in _spans.to_dict("records")]


def _match(at: Searched, by: Bounds, active: np.ndarray, span: dict[Any, Any], tokenizer: Any) -> Match:
    row, length = int(span["row"]), int(span["length"])
    rows = np.arange(max(0, row - _AROUND), min(len(at.source.seq), row + length + _AROUND))
    rows = rows[at.source.seq[rows] == at.source.seq[row]]
    lead = int(row - rows[0])
    text, as_it_was = _text_of(at, int(span["sequence"]), tokenizer)
    return Match(
        str(span["doc"]),
        int(span["start"]),
        int(span["stop"]),
        int(span["shared"]),
        float(span["jaccard"]),
        token_strings(tokenizer, at.token[rows].tolist()),
        at.source.at(by, rows, active).sum(1),
        (lead, lead + length),
        text,
        as_it_was,
    )


@st.cache_resource(max_entries=32, show_spinner="Comparing labels …")
def _labels(
    source_id: str, hook: str, asked: Asked, _known: Concepts, _spans: pd.DataFrame, _random: pd.DataFrame | None
) -> pd.DataFrame:
    return span_labels(_known, _spans, _random)


@st.cache_resource(max_entries=2, show_spinner="Reading labels …")
def _said(recording_id: str, _artifact: Artifact) -> Concepts | None:
    store = opened(_artifact, ActivationStore.open)
    if not store.labels:
        return None
    table: pa.Table = store.columns(*store.labels)
    return statements(table)
