"""The prompt lab: type text; read it token by token."""

import math
from functools import partial

import numpy as np
import streamlit as st

from apps import place, serve
from apps.components.link_table import Cell, Column, link_table, opened
from apps.components.pattern_grid import pattern_grid
from apps.components.session_link import session_link
from apps.components.token_strip import Hue, Note, Strip, token_strip
from apps.layout import halves
from apps.messages import no_feature, no_subject, plain
from apps.place import Place
from apps.prompt_box import prompt_box, reads_text, words_of
from apps.text import escape_markdown, number, percent, visible
from workbench.dynamics import has_recurrence
from workbench.features.index import FeatureIndex
from workbench.features.prompt import PromptReading
from workbench.features.text_reading import TextReading

_LEAST_PANE = 340  # text and what is read from it stand side by side even on a small screen
_FULL_LOSS = 6.0  # nats that get the full colour, so that texts can be compared by eye
_STRIP, _ACTIVE, _GRID, _GRID_TABLE = "prompt_strip", "active_features", "patterns", "attended"


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Prompt lab", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if not reads_text(subject):
        return
    index = serve.index(here.index) if here.index else None
    dictionary = serve.dictionary_of(here.run, index) if index else None
    text = prompt_box(here.run)
    key = f"{here.run.find('model').id} {index.id if index else ''}"
    try:
        reading = serve.reading(subject, dictionary, text, key)
    except ValueError as error:
        plain(error)
        return
    feature = _feature_in_url(index)
    token = _token_in_url(reading, feature)
    left, right = halves(_LEAST_PANE)
    with left:
        _text(here, reading, index, feature, token)
        head = _attention(reading, token, has_recurrence(subject))
    with right:
        _locked(here, reading, index, token)
        if head is not None:
            _attended(reading, *head, token)


def _feature_in_url(index: FeatureIndex | None) -> int | None:
    """The feature that colours the text, where the URL names one that exists."""
    feature = place.integer("f")
    if feature is None or index is None:
        return None
    if not 0 <= feature < index.n_features:
        no_feature(str(feature), index)
        return None
    return feature


def _token_in_url(reading: PromptReading, feature: int | None) -> int:
    """The locked token: the URL's, else where the chosen feature is strongest, else the last."""
    token = place.integer("token")
    if token is not None and 0 <= token < len(reading.tokens):
        return token
    if feature is not None and (values := _values_of(reading, feature)).max() > 0:
        return int(values.argmax())
    return len(reading.tokens) - 1


def _values_of(reading: PromptReading, feature: int) -> np.ndarray:
    """What one feature holds at each token."""
    return np.array(
        [float(v[f == feature].sum()) for f, v in zip(reading.features, reading.values, strict=True)], dtype=float
    )


def _text(here: Place, reading: PromptReading, index: FeatureIndex | None, feature: int | None, token: int) -> None:
    n = len(reading.tokens) - 1
    mean = float(reading.loss[1:].mean()) if n else math.nan
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        facts = f"{n:,} tokens · mean loss {number(mean)} nats · coloured by"
        if feature is None or index is None:
            st.caption(f"{facts} loss", width="content")
        else:
            st.caption(facts, width="content")
            session_link(
                f"feature {feature}: {index.table['name'].iloc[feature]}",
                here.href(place.FEATURES, feature=feature),
                partial(place.jump, place.FEATURES, feature=feature),
                key="to_page",
            )
            st.button("loss instead", icon=":material/close:", type="tertiary", on_click=place.put, args=("f", None))
    hue: Hue = "loss"
    if feature is None or index is None:
        shown, label = reading.loss, "loss, nats"
        scale = max(_FULL_LOSS, float(np.nanmax(shown, initial=0.0)))
    else:
        shown, label, hue = _values_of(reading, feature), f"feature {feature}", "activation"
        scale = max(float(index.table["max"].iloc[feature]), float(shown.max()))
        if shown.max() <= 0:
            st.caption("It does not fire anywhere in this text.")
    strip = Strip(words_of(reading), shown, notes=[_notes(reading, i, hue != "loss") for i in range(n + 1)])
    token_strip([strip], key=_STRIP, label=label, scale=scale, hue=hue, chosen=token, on_token=_lock)


def _notes(reading: PromptReading, at: int, with_loss: bool) -> list[Note]:
    """A token's hover note: its loss, unless that is what colours it, and what was expected after it."""
    lines: list[Note] = [("loss", f"{number(reading.loss[at], 3)} nats")] if with_loss else []
    if reading.predictions[at]:
        lines.append(("expected next", "", "rule"))
    return lines + [(visible(word), f"{p:.1%}", "code") for word, p in reading.predictions[at]]


def _locked(here: Place, reading: PromptReading, index: FeatureIndex | None, token: int) -> None:
    words = words_of(reading)
    st.subheader(f"Token {token}: {escape_markdown(visible(words[token]))}", anchor=False)
    _predictions(reading, token)
    if index is None:
        st.caption(
            f"No dictionary has been indexed: `workbench index --run {here.run.path}` makes its features browsable."
        )
        return
    features, values = reading.features[token], reading.values[token]
    st.subheader("Features that fire here", anchor=False)
    if not len(features):
        st.caption("None: no dictionary is trained on the start of a sequence." if token == 0 else "None.")
        return
    names = index.table["name"]
    tops = index.table["max"]
    columns = [
        Column("#"),
        Column("name", "text"),
        Column("value", "bar-number", "The bar is its share of the feature's maximum."),
        Column(""),
    ]
    rows = [
        [
            Cell(str(f), href=here.href(place.FEATURES, feature=int(f))),
            Cell(names.iloc[f], href=here.href(place.FEATURES, feature=int(f))),
            Cell(number(v), bar=v / max(tops.iloc[f], 1e-9)),
            Cell("colour", href=here.href(place.LAB, prompt=st.session_state["prompt"], f=int(f), token=token)),
        ]
        for f, v in zip(features, values, strict=True)
    ]
    link_table(columns, rows, key=_ACTIVE, ids=features.tolist(), on_open=_follow)


def _predictions(reading: TextReading, token: int) -> None:
    if not reading.predictions[token]:
        st.caption("This subject does not predict the next token, so nothing was expected here.")
        return
    if token > 0:
        st.caption(
            f"Loss {number(reading.loss[token], 3)} nats: before it was seen, its probability was "
            f"{percent(math.exp(-reading.loss[token]))}."
        )
    actual = reading.tokens[token + 1] if token + 1 < len(reading.tokens) else None
    columns = [Column("expected next", "token"), Column("probability", "bar-number"), Column("")]
    rows = [
        [Cell(word), Cell(f"{p:.1%}", bar=p), Cell("comes next" if word == actual else "")]
        for word, p in reading.predictions[token]
    ]
    link_table(columns, rows, key="predictions")


def _attention(reading: PromptReading, token: int, recurrent: bool) -> tuple[int, int] | None:
    """The patterns of all heads; gives the layer and head that are looked at."""
    st.subheader("Attention", anchor=False)
    layers = sorted(reading.patterns)
    if not layers:
        instead = " What it holds from step to step is on the page Recurrent states." if recurrent else ""
        st.caption(f"This subject has no attention.{instead}")
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        layer = st.segmented_control(
            "Layer", layers, default=layers[0], required=True, key="layer", bind="query-params", width="content"
        )
        heads = list(range(len(reading.patterns[layer])))
        head = st.segmented_control(
            "Head", heads, default=0, required=True, key="head", bind="query-params", width="content"
        )
    pattern_grid(
        words_of(reading),
        reading.patterns,
        key=_GRID,
        layer=layer,
        head=head,
        query=token,
        on_head=_show_head,
        on_query=_lock_query,
    )
    return layer, head


def _attended(reading: PromptReading, layer: int, head: int, token: int) -> None:
    """The picture's locked row as a table."""
    st.subheader(f"Where head {layer}.{head} looks", anchor=False)
    words = words_of(reading)
    weights = reading.patterns[layer][head, token, : token + 1]
    best = weights.topk(min(8, len(weights)))
    columns = [Column("position"), Column("token", "token"), Column("weight", "bar-number")]
    rows = [
        [Cell(f"{at:,}"), Cell(words[at]), Cell(number(weight, 3), bar=weight)]
        for weight, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    link_table(columns, rows, key=_GRID_TABLE)


def _lock() -> None:
    place.put("token", int(st.session_state[_STRIP].token))


def _lock_query() -> None:
    place.put("token", int(st.session_state[_GRID].query))


def _show_head() -> None:
    st.session_state["layer"], st.session_state["head"] = (int(i) for i in st.session_state[_GRID].head)


def _follow() -> None:
    """Either to a feature's page, or to the same text coloured by it."""
    feature, column = opened(_ACTIVE)
    if column == 3:
        place.put("f", feature)
    else:
        place.jump(place.FEATURES, feature=feature)


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
