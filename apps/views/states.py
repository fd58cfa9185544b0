"""The page of recurrent states: what each unit holds, and what its gates let through, at every token of a text."""

from typing import Any

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
_LISTED = 7  # units in the table
_COUNTS = (16, 32, 64, 128)  # units in the heat map
_ORDERS: dict[str, Order] = {"peak": "peak", "variance": "given"}
_MOSTLY = 0.9  # of the tokens
# The same name means opposite things in different cells.
_UPDATES = {
    "gru": "old state that is kept",
    "gru_textbook": "candidate that is written",
    "mingru": "candidate that is written",
}
_RANKS = ["most varying", "strongest here"]
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
    layer, name, count, order = _choose(reading)
    values = reading.layers[layer][name]
    chosen = most_varying(values, count)
    unit = _unit_in_url(values)
    left, right = halves(_LEAST_PANE)
    with left:
        _text(reading, values, name, unit, token)
        _cell(reading, layer, unit, token, subject.cfg.cell_name)
    with right:
        _units(reading, values, unit, token)
    _heatmap(reading, values, name, chosen, order, unit, token)
    _saturation(reading, layer, unit)


def _no_recurrence(subject: object) -> None:
    known = serve.run_with_recurrence()
    instead = f" The run {escape_markdown(known)} has one: choose it in the side bar." if known else ""
    st.info(f"A {type(subject).__name__} has no recurrence: nothing in it goes from one step to the next.{instead}")


def _token_in_url(reading: StatesReading) -> int:
    token = place.integer("token")
    last = len(reading.tokens) - 1
    return token if token is not None and 0 <= token <= last else last


def _choose(reading: StatesReading) -> tuple[int, str, int, Order]:
    """The layer and the value that are looked at; how many units the heat map shows, and their order."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        layer = _segments("Layer", list(range(len(reading.layers))), "layer")
        name = _segments("Value", list(reading.layers[layer]), "value")
        n_units = reading.layers[layer][name].shape[1]
        counts = [count for count in _COUNTS if count < n_units] + [n_units]
        count = _segments("Units in the heat map", counts, "count", counts[min(1, len(counts) - 1)])
        order = _segments("Ordered by", list(_ORDERS), "order")
    return layer, name, count, _ORDERS[order]


def _segments(label: str, options: list[Any], key: str, default: Any = None, **how: Any) -> Any:
    """A choice of one whose options are shown, and stand in the URL, as they are."""
    return st.segmented_control(
        label,
        options,
        default=options[0] if default is None else default,
        required=True,
        key=key,
        bind="query-params",
        width="content",
        **how,
    )


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


def _units(reading: StatesReading, values: np.ndarray, unit: int, token: int) -> None:
    st.subheader(f"Token {token}: {escape_markdown(visible(words_of(reading)[token]))}", anchor=False)
    rank = _segments("Units", _RANKS, "rank", label_visibility="collapsed")
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
                Cell(_called(name)),
                Cell(number(value, 3), bar=abs(value) / largest, hue="" if value >= 0 else "neurons"),
                Cell(number(values[token - 1, unit], 3) if token else "–"),
                Cell(number(values[token].mean(), 3)),
            ]
        )
    st.subheader(f"Unit {unit} at token {token}", anchor=False)
    link_table(columns, rows, key="state_cell")
    if cell in _UPDATES:
        st.caption(f"The update gate is the share of the {_UPDATES[cell]}.")


def _heatmap(
    reading: StatesReading,
    values: np.ndarray,
    name: str,
    chosen: np.ndarray,
    order: Order,
    unit: int,
    token: int,
) -> None:
    n_units = values.shape[1]
    st.subheader(f"The {_called(name)}, unit by unit", anchor=False)
    which = f"All {n_units:,} units" if len(chosen) == n_units else f"The {len(chosen):,} of {n_units:,} that vary most"
    ordered = "by where they are farthest from zero" if order == "peak" else "by how much they vary"
    st.caption(f"{which} over this text, ordered {ordered}. Framed: the locked token, and unit {unit} if it is here.")
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
    chart = state_heatmap(table, gate=is_gate(name), order=order, here=token, unit=unit)
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
        ]
        rows = [
            [Cell(_called(str(gate))), *(_share((units[side] >= _MOSTLY).mean()) for side in ("left", "right"))]
            for gate, units in table.groupby("gate", sort=False)
        ]
        link_table(columns, rows, key="saturation", caption="units that are nearly always")
        st.caption(
            f"Each point is a unit of layer {layer} over the {len(reading.tokens) - 1:,} tokens of this text; "
            f"unit {unit} is ringed. On the dashed line a gate is always either shut or open."
        )


def _share(share: float) -> Cell:
    return Cell(f"{share:.0%}", bar=share)


def _lock() -> None:
    place.put("token", int(st.session_state[_STRIP].token))


def _follow() -> None:
    place.put("unit", opened(_UNITS)[0])


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
