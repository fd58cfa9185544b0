"""The prompt lab's locked token: what the subject expects after it, and which features, or units, fire."""

import math

import streamlit as st

from apps import place
from apps.components.link_table import Cell, Column, link_table, opened
from apps.components.session_link import session_link
from apps.text import escape_markdown, number, percent, shell, visible
from apps.views.lab_text import Lab
from apps.words import short, words_of
from workbench.features.reading.text import TextReading

_ACTIVE = "active_features"
_COLOUR = 3  # the column of the links that colour the text


def show(lab: Lab) -> None:
    """Draw the token's name, the predictions and the features."""
    st.subheader(f"Token {lab.token}: {escape_markdown(visible(lab.word))}", anchor=False)
    _predictions(lab.reading, lab.token)
    if lab.index is None:
        if lab.here.index is None:
            command = f"workbench index --run {shell(lab.here.run.path)}"
            st.caption(f"No dictionary has been indexed: {escape_markdown(command)} makes its features browsable.")
        return
    _features(lab)


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


def _features(lab: Lab) -> None:
    assert lab.index is not None
    features, values = lab.reading.features[lab.token], lab.reading.values[lab.token]
    words = words_of(lab.index.config)
    many = words.many.capitalize()
    st.subheader(f"{many} that fire here", anchor=False)
    if not len(features):
        st.caption("None: the start of a sequence is in no recording." if lab.token == 0 else "None.")
    else:
        names, tops = lab.index.table["name"], lab.index.table["max"]
        columns = [
            Column("#"),
            Column("name", "text"),
            Column("value", "bar-number", f"The bar is its share of the {words.one}'s maximum."),
            Column(""),
        ]
        rows = [
            [
                Cell(short(lab.index, f), href=lab.here.href(place.FEATURES, feature=int(f))),
                Cell(names.iloc[f], href=lab.here.href(place.FEATURES, feature=int(f))),
                Cell(number(v), bar=v / max(tops.iloc[f], 1e-9)),
                Cell("colour", href=lab.here.href(place.LAB, **lab.texts, f=int(f), token=lab.token)),
            ]
            for f, v in zip(features, values, strict=True)
        ]
        link_table(columns, rows, key=_ACTIVE, ids=features.tolist(), on_open=_follow)
    if lab.token and (word := lab.word.strip()):
        session_link(
            f"{many} that fire most on “{visible(word)}”",
            lab.here.href(place.FEATURES, q=word),
            lambda: place.jump(place.FEATURES, q=word),
            key="firing_on_it",
        )


def _follow() -> None:
    """Either to a feature's page, or to the same text coloured by it."""
    feature, column = opened(_ACTIVE)
    if column == _COLOUR:
        place.put("f", feature)
    else:
        place.jump(place.FEATURES, feature=feature)
