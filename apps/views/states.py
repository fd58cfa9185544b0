"""The page of recurrent states: what each unit holds, and what its gates let through, at every token of a text."""

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.link_table import Cell, Column, link_table, opened
from apps.components.token_strip import Hue, Note, Strip, token_strip
from apps.layout import halves
from apps.messages import no_subject, plain
from apps.place import Place
from apps.prompt_box import prompt_box, reads_text, words_of
from apps.text import escape_markdown, number, visible
from workbench.dynamics import StatesReading, gate_saturation, has_recurrence, is_gate, most_varying
from workbench.figures import gate_saturation as saturation_figure
from workbench.figures import state_heatmap
from workbench.figures.state_heatmap import Order

_LEAST_PANE = 340
_STRIP, _UNITS = "state_strip", "state_units"
_LISTED = 10  # units in the table
_COUNTS = (16, 32, 64, 128, 256)  # units in the heat map
_ORDERS: dict[str, Order] = {"where they peak": "peak", "most varying": "given"}
# What a value is called; `_backward` behind a name is the cell that runs from the end.
_NAMES = {
    "h": "hidden state h",
    "c": "cell state c",
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "g": "candidate g",
    "reset": "reset gate",
    "update": "update gate",
    "cand": "candidate",
}


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Recurrent states", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if not has_recurrence(subject):
        _no_recurrence(subject)
        return
    if not reads_text(subject):
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
    left, right = halves(_LEAST_PANE)
    with left:
        _text(reading, values, name, unit, token)
        _cell(reading, layer, unit, token)
    with right:
        _units(reading, values, name, unit, token)
    _heatmap(reading, values, name, unit, token)
    _saturation(reading, layer, unit)


def _no_recurrence(subject: object) -> None:
    known = serve.run_with_recurrence()
    instead = f" {escape_markdown(known)} is a run that has one: choose it in the side bar." if known else ""
    st.info(f"A {type(subject).__name__} has no recurrence: nothing in it goes from one step to the next.{instead}")


def _token_in_url(reading: StatesReading) -> int:
    token = place.integer("token")
    last = len(reading.tokens) - 1
    return token if token is not None and 0 <= token <= last else last


def _choose(reading: StatesReading) -> tuple[int, str]:
    """The layer and the value that are looked at."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        layers = list(range(len(reading.layers)))
        layer = st.segmented_control(
            "Layer", layers, default=0, required=True, key="layer", bind="query-params", width="content"
        )
        name = st.segmented_control(
            "Value",
            list(reading.layers[layer]),
            default="h",
            required=True,
            format_func=_called,
            key="value",
            bind="query-params",
            width="content",
        )
    return layer, name


def _called(name: str) -> str:
    forward = name.removesuffix("_backward")
    return _NAMES[forward] + (", backward" if name != forward else "")


def _unit_in_url(values: np.ndarray) -> int:
    """The unit that colours the text: the URL's, else the one that varies most."""
    unit = place.integer("unit")
    if unit is not None and 0 <= unit < values.shape[1]:
        return unit
    if "unit" in st.query_params:
        plain(ValueError(f"there is no such unit in this layer: they are numbered 0 to {values.shape[1] - 1}."))
    return int(most_varying(values, 1)[0])


def _text(reading: StatesReading, values: np.ndarray, name: str, unit: int, token: int) -> None:
    label = f"{_called(name)}, unit {unit}"
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


def _units(reading: StatesReading, values: np.ndarray, name: str, unit: int, token: int) -> None:
    st.subheader(f"Token {token}: {escape_markdown(visible(words_of(reading)[token]))}", anchor=False)
    strongest = "most open here" if is_gate(name) else "strongest here"
    by = st.segmented_control(
        "Units",
        ["here", "text"],
        default="here",
        required=True,
        format_func={"here": strongest, "text": "most varying over the text"}.__getitem__,
        key="units",
        bind="query-params",
        label_visibility="collapsed",
    )
    at = values[token]
    chosen = np.argsort(-np.abs(at), kind="stable")[:_LISTED] if by == "here" else most_varying(values, _LISTED)
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


def _cell(reading: StatesReading, layer: int, unit: int, token: int) -> None:
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
                Cell(_called(name)),
                Cell(number(value, 3), bar=abs(value) / largest, hue="" if value >= 0 else "neurons"),
                Cell(number(values[token - 1, unit], 3) if token else "–"),
                Cell(number(values[token].mean(), 3)),
            ]
        )
    st.subheader(f"Unit {unit} at this token", anchor=False)
    link_table(columns, rows, key="state_cell")


def _heatmap(reading: StatesReading, values: np.ndarray, name: str, unit: int, token: int) -> None:
    n_units = values.shape[1]
    st.subheader(f"The {_called(name)}, unit by unit", anchor=False)
    counts = [count for count in _COUNTS if count < n_units] + [n_units]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        count = st.select_slider(
            "Units shown", counts, counts[min(1, len(counts) - 1)], key="count", bind="query-params", width=240
        )
        order = st.segmented_control(
            "Ordered by", list(_ORDERS), default="where they peak", required=True, key="order", bind="query-params",
            width="content",
        )  # fmt: skip
    st.caption(
        f"All {n_units:,} units." if count == n_units else f"The {count:,} of {n_units:,} units that vary most here."
    )
    chosen = most_varying(values, count)
    words = [visible(word) for word in words_of(reading)]
    positions = np.arange(len(words))
    table = pd.DataFrame(
        {
            "position": np.repeat(positions, len(chosen)),
            "token": np.repeat(np.array(words, dtype=object), len(chosen)),
            "unit": np.tile(chosen, len(words)),
            "value": values[:, chosen].ravel(),
        }
    )
    chart = state_heatmap(table, gate=is_gate(name), order=_ORDERS[order], here=token, unit=unit)
    st.altair_chart(chart, width="stretch")


def _saturation(reading: StatesReading, layer: int, unit: int) -> None:
    table = gate_saturation(reading, layer)
    st.subheader("How often gates are shut, and how often open", anchor=False)
    if table.empty:
        st.caption("This cell has no gates.")
        return
    left, right = halves(_LEAST_PANE)
    with left:
        st.altair_chart(saturation_figure(table, unit), width="stretch")
    with right:
        columns = [
            Column("gate", "text"),
            Column("shut", "bar-number", "Units that are below 0.1 at nine tokens of ten or more."),
            Column("open", "bar-number", "Units that are above 0.9 at nine tokens of ten or more."),
            Column("neither", "bar-number", "Units that are never below 0.1 nor above 0.9."),
        ]
        rows = []
        for gate, units in table.groupby("gate", sort=False):
            shares = [
                (units["left"] >= 0.9).mean(),
                (units["right"] >= 0.9).mean(),
                ((units["left"] == 0) & (units["right"] == 0)).mean(),
            ]
            rows.append([Cell(_called(str(gate))), *(Cell(f"{share:.0%}", bar=share) for share in shares)])
        link_table(columns, rows, key="saturation")
        st.caption(
            f"Each point is a unit of layer {layer} over the {len(reading.tokens) - 1:,} tokens of this text; "
            f"the rings are unit {unit}. On the dashed line a gate is always either shut or open."
        )


def _lock() -> None:
    place.put("token", int(st.session_state[_STRIP].token))


def _follow() -> None:
    place.put("unit", opened(_UNITS)[0])


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
