"""The page of recurrent states: what each unit holds, and what its gates let through, at every token of a text."""

import numpy as np
import streamlit as st

from apps import place, serve
from apps.choices import segments
from apps.components.link_table import Cell, Column, link_table, opened
from apps.components.session_link import session_link
from apps.components.token_strip import Hue, Note, Strip, token_strip
from apps.layout import halves
from apps.messages import no_recurrence, no_subject, plain
from apps.place import Place
from apps.prompt_box import prompt_box, reads_text, words_of
from apps.text import escape_markdown, number, visible
from apps.views import states_gates, states_labels, states_portrait, states_spans
from apps.views.states_gates import called
from models.spiking import SpikingNetwork
from workbench.dynamics import StatesReading, has_recurrence, is_gate, most_varying

_LEAST_PANE = 340
_STRIP, _UNITS = "state_strip", "state_units"
_LISTED = 7  # units in the table
# The same name means opposite things in different cells.
_UPDATES = {
    "gru": "old state that is kept",
    "gru_textbook": "candidate that is written",
    "mingru": "candidate that is written",
}
_RANKS = ["most varying", "strongest here"]


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Recurrent states", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if not has_recurrence(subject) and not isinstance(subject, SpikingNetwork):
        no_recurrence(subject, place.STATES)
        if reads_text(subject, say=False):
            _spans_elsewhere(here)
        return
    if not reads_text(subject, say=here):
        return
    text = prompt_box(here.run)
    try:
        reading = serve.states(subject, text, here.run.find("model").id)
    except ValueError as error:
        plain(error)
        return
    token = _token_in_url(reading)
    layer, name = _choose(reading)
    values = reading.layers[layer][name]
    unit = _unit_in_url(values)
    states_labels.show(here, (layer, name, unit))
    left, right = halves(_LEAST_PANE)
    with left:
        _text(reading, values, name, unit, token)
        _cell(reading, layer, unit, token, subject.cfg.cell_name)
    with right:
        _units(reading, values, unit, token)
    states_gates.heatmap(here, reading, text, (layer, name, unit), token)
    states_spans.pane(here, subject, text, place.STATES, states_gates.hook_of(layer, name))
    states_portrait.show(here, subject, reading, text, (layer, name, unit))
    states_gates.saturation(here, reading, text, layer, unit)


def _spans_elsewhere(here: Place) -> None:
    asked = {"pane_spans": "true"}
    session_link(
        "Spans throughout which its neurons or features are on are compared in the prompt lab",
        here.href(place.LAB, **asked),
        lambda: place.jump(place.LAB, **asked),
        key="to_spans",
    )


def _token_in_url(reading: StatesReading) -> int:
    token = place.integer("token")
    last = len(reading.tokens) - 1
    return token if token is not None and 0 <= token <= last else last


def _choose(reading: StatesReading) -> tuple[int, str]:
    """The layer and the value that are looked at."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        layer = segments("Layer", list(range(len(reading.layers))), "layer", kept=False)
        name = segments("Value", list(reading.layers[layer]), "value", kept=False)
    return layer, name


def _unit_in_url(values: np.ndarray) -> int:
    """The unit that colours the text: the URL's, else the one that varies most."""
    unit = place.integer("unit")
    if unit is not None and 0 <= unit < values.shape[1]:
        return unit
    if "unit" in st.query_params:
        plain(ValueError(f"there is no such unit in this layer: they are numbered 0 to {values.shape[1] - 1}."))
    return int(most_varying(values, 1)[0])


def _text(reading: StatesReading, values: np.ndarray, name: str, unit: int, token: int) -> None:
    label = f"{called(name)}, unit {unit}"
    st.caption(f"{len(reading.tokens) - 1:,} tokens · coloured by the {label}{'' if is_gate(name) else _SIGNS}")
    gate = is_gate(name)
    shown = values[:, unit]
    # A gate's full colour is wide open; a state's is the most that this unit reaches, so that it can be read at all.
    scale = 1.0 if gate else float(np.abs(shown).max())
    strip = Strip(words_of(reading), shown, notes=[_notes(reading, i) for i in range(len(reading.tokens))])
    hue: Hue = "activation" if gate else "signed"
    token_strip([strip], key=_STRIP, label=label, scale=scale, hue=hue, chosen=token, on_token=_lock)


_SIGNS = ": blue above zero, orange below"


def _notes(reading: StatesReading, at: int) -> list[Note]:
    lines: list[Note] = [("loss", f"{number(reading.loss[at], 3)} nats")] if at else []
    expected = [(visible(word), f"{p:.1%}", "code") for word, p in reading.predictions[at][:3]]
    return lines + ([("expected next", "", "rule")] if expected else []) + expected


def _units(reading: StatesReading, values: np.ndarray, unit: int, token: int) -> None:
    st.subheader(f"Token {token}: {escape_markdown(visible(words_of(reading)[token]))}", anchor=False)
    rank = segments("Units", _RANKS, "rank", kept=False, visible=False)
    at = values[token]
    chosen = np.argsort(-np.abs(at), kind="stable")[:_LISTED] if rank == _RANKS[1] else most_varying(values, _LISTED)
    if unit not in chosen:
        chosen = np.append(chosen[:-1], unit)
    largest = max(float(np.abs(values).max()), 1e-9)
    spread = values[1:].std(0)
    widest = max(float(spread.max()), 1e-9)
    columns = [
        Column("unit"),
        Column("value here", "bar-number", "The bar is its size, orange below zero."),
        Column("before", help="At the token before."),
        Column("varies by", "bar-number", "Standard deviation over the tokens of this text, BOS left out."),
        Column(""),
    ]
    rows = [
        [
            Cell(f"{u}", href=f"?unit={u}"),
            Cell(number(at[u], 3), bar=abs(at[u]) / largest, hue="" if at[u] >= 0 else "neurons"),
            Cell(number(values[token - 1, u], 3) if token else "–"),
            Cell(number(spread[u], 3), bar=spread[u] / widest, hue="muted"),
            Cell("shown" if u == unit else "colour", href="" if u == unit else f"?unit={u}"),
        ]
        for u in chosen.tolist()
    ]
    link_table(columns, rows, key=_UNITS, ids=chosen.tolist(), on_open=_follow)


def _cell(reading: StatesReading, layer: int, unit: int, token: int, cell: str) -> None:
    """All that one unit's cell held at the locked token."""
    columns = [
        Column(f"unit {unit}", "text"),
        Column("here", "bar-number", "The bar is its size, orange below zero."),
        Column("before", help="At the token before."),
        Column("mean unit", help="The mean of all units here."),
    ]
    rows = []
    for name, values in reading.layers[layer].items():
        value = values[token, unit]
        largest = 1.0 if is_gate(name) else max(float(np.abs(values).max()), 1e-9)
        rows.append(
            [
                Cell(called(name)),
                Cell(number(value, 3), bar=abs(value) / largest, hue="" if value >= 0 else "neurons"),
                Cell(number(values[token - 1, unit], 3) if token else "–"),
                Cell(number(values[token].mean(), 3)),
            ]
        )
    st.subheader(f"Unit {unit} at token {token}", anchor=False)
    link_table(columns, rows, key="state_cell")
    if cell in _UPDATES:
        st.caption(f"The update gate is the share of the {_UPDATES[cell]}.")


def _lock() -> None:
    place.put("token", int(st.session_state[_STRIP].token))


def _follow() -> None:
    place.put("unit", opened(_UNITS)[0])


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
