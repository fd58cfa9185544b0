"""All units of a layer over the text, page by page, and how often its gates are shut or open."""

import numpy as np
import streamlit as st

from apps import place
from apps.choices import segments
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.place import Place
from apps.prompt_box import words_of
from apps.shown import figure, opening
from apps.text import visible
from workbench.dynamics import StatesReading, gate_saturation, is_gate, most_varying, states_table
from workbench.figures import gate_saturation as saturation_figure
from workbench.figures import state_heatmap
from workbench.figures.state_heatmap import Order

_LEAST_PANE = 340
_COUNTS = (16, 32, 64, 128)  # units a page
_ORDERS: dict[str, Order] = {"peak": "peak", "variance": "given"}
_MOSTLY = 0.9  # of the tokens
_BACKWARD = "_backward"
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


def called(name: str) -> str:
    """What a value of a cell is, in words."""
    forward = name.removesuffix(_BACKWARD)
    return _NAMES[forward] + (", backward" if name != forward else "")


def hook_of(layer: int, name: str) -> str:
    """The hook that a layer's value is read from."""
    cell = "rnn_reverse" if name.endswith(_BACKWARD) else "rnn"
    return f"blocks.{layer}.{cell}.hook_{name.removesuffix(_BACKWARD)}"


def heatmap(here: Place, reading: StatesReading, text: str, shown: tuple[int, str, int], token: int) -> None:
    """A page of units over the text; `shown` is the layer, the value and the unit."""
    with st.expander(
        f"The {called(shown[1])}, unit by unit",
        expanded=True,
        key="pane_heatmap",
        on_change="rerun",
        bind="query-params",
    ) as pane:
        if pane.open:
            _heatmap(here, reading, text, shown, token)


def _heatmap(here: Place, reading: StatesReading, text: str, shown: tuple[int, str, int], token: int) -> None:
    layer, name, unit = shown
    values = reading.layers[layer][name]
    n_units = values.shape[1]
    sizes = [*[count for count in _COUNTS if count < n_units], n_units]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        size = segments("Units a page", sizes, "count", default=sizes[min(1, len(sizes) - 1)], kept=False)
        order = segments("Ordered by", list(_ORDERS), "order")
        n_pages = -(-n_units // size)
        page = min(max(place.integer("units") or 1, 1), n_pages)
        if n_pages > 1:
            st.button(
                "More varying", icon=":material/chevron_left:", disabled=page == 1, on_click=_turn, args=(page - 1,)
            )
            st.button(
                "Less varying",
                icon=":material/chevron_right:",
                disabled=page == n_pages,
                on_click=_turn,
                args=(page + 1,),
            )
    first = (page - 1) * size
    chosen = most_varying(values, n_units)[first : first + size]
    which = f"All {n_units:,} units" if n_pages == 1 else f"Units {first + 1:,}–{first + len(chosen):,} of {n_units:,}"
    rank = "" if n_pages == 1 else ", those that vary most" if page == 1 else ", by how much they vary"
    ordered = "by where they are farthest from zero" if order == "peak" else "by how much they vary"
    st.caption(
        f"{which}{rank} over this text; ordered {ordered}. Framed: the locked token, and unit {unit} if it is here."
    )
    words = [visible(word) for word in words_of(reading)]
    table = states_table(values, chosen, words)
    gate = is_gate(name)
    chart = state_heatmap(table, gate=gate, order=_ORDERS[order], here=token, unit=unit)
    python = _reading(here, text) + (
        "from workbench.dynamics import most_varying, states_table\n"
        "from workbench.figures import state_heatmap\n\n"
        f"values = reading.layers[{layer}][{name!r}]\n"
        f"units = most_varying(values, {n_units})[{first}:{first + size}]\n"
        f"words = {words!r}\n"
        f"chart = state_heatmap(states_table(values, units, words), gate={gate}, order={_ORDERS[order]!r}, "
        f"here={token}, unit={unit})\n"
    )
    figure(chart, table, name="states", python=python)


def saturation(here: Place, reading: StatesReading, text: str, layer: int, unit: int) -> None:
    """How often each gate of a layer is shut, and how often open."""
    with st.expander(
        "How often gates are shut, and how often open", key="pane_gates", on_change="rerun", bind="query-params"
    ) as pane:
        if pane.open:
            _saturation(here, reading, text, layer, unit)


def _saturation(here: Place, reading: StatesReading, text: str, layer: int, unit: int) -> None:
    table = gate_saturation(reading, layer)
    if table.empty:
        st.caption("This cell has no gates.")
        return
    left, right = halves(_LEAST_PANE)
    with left:
        python = _reading(here, text) + (
            "from workbench.dynamics import gate_saturation\n"
            "from workbench.figures import gate_saturation as drawn\n\n"
            f"chart = drawn(gate_saturation(reading, {layer}), {unit})\n"
        )
        figure(saturation_figure(table, unit), table, name="gate-saturation", python=python)
    with right:
        columns = [
            Column("gate", "text"),
            Column("shut", "bar-number", "Units that are below 0.1 at nine tokens of ten or more."),
            Column("open", "bar-number", "Units that are above 0.9 at nine tokens of ten or more."),
        ]
        rows = [
            [Cell(called(str(gate))), *(_share((units[side] >= _MOSTLY).mean()) for side in ("left", "right"))]
            for gate, units in table.groupby("gate", sort=False)
        ]
        link_table(columns, rows, key="saturation", caption="Units that are nearly always")
        st.caption(
            f"Each point is a unit of layer {layer} over the {len(reading.tokens) - 1:,} tokens of this text; "
            f"unit {unit} is ringed. On the dashed line a gate is always either shut or open."
        )


def _reading(here: Place, text: str) -> str:
    return opening(here.run) + (
        f"from workbench.dynamics import read_states\n\nreading = read_states(run.model(), {text!r})\n"
    )


def _share(share: float | np.floating) -> Cell:
    return Cell(f"{share:.0%}", bar=float(share))


def _turn(page: int) -> None:
    place.put("units", page)
