"""The prompt lab's attention: all heads in small, one in large, and where it looks from the locked token."""

import streamlit as st

from apps.choices import segments
from apps.components.link_table import Cell, Column, link_table
from apps.components.pattern_grid import pattern_grid
from apps.place import put
from apps.prompt_box import words_of
from apps.text import number
from apps.views.lab_text import Lab
from workbench.dynamics import has_recurrence

_GRID, _TABLE = "patterns", "attended"
_LISTED = 8


def show(lab: Lab) -> None:
    """Draw the pane."""
    layers = sorted(lab.reading.patterns)
    if not layers:
        recurrent = has_recurrence(lab.subject)
        instead = " What it holds from step to step is on the page Recurrent states." if recurrent else ""
        st.caption(f"This subject has no attention.{instead}")
        return
    with st.expander("Attention", expanded=True, key="pane_attention", on_change="rerun", bind="query-params") as pane:
        if pane.open:
            _heads(lab, layers)


def _heads(lab: Lab, layers: list[int]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        layer = segments("Layer", layers, "layer", kept=False)
        head = segments("Head", list(range(len(lab.reading.patterns[layer]))), "head", kept=False)
    words = words_of(lab.reading)
    pattern_grid(
        words,
        lab.reading.patterns,
        key=_GRID,
        layer=layer,
        head=head,
        query=lab.token,
        on_head=_show_head,
        on_query=_lock_query,
    )
    weights = lab.reading.patterns[layer][head, lab.token, : lab.token + 1]
    best = weights.topk(min(_LISTED, len(weights)))
    columns = [Column("position"), Column("token", "token"), Column("weight", "bar-number")]
    rows = [
        [Cell(f"{at:,}"), Cell(words[at]), Cell(number(weight, 3), bar=weight)]
        for weight, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    of = f"{len(rows)} of {len(weights)} positions, the most looked at" if len(rows) < len(weights) else "all positions"
    link_table(columns, rows, key=_TABLE, caption=f"Where head {layer}.{head} looks from the locked token: {of}")


def _lock_query() -> None:
    put("token", int(st.session_state[_GRID].query))


def _show_head() -> None:
    st.session_state["layer"], st.session_state["head"] = (int(i) for i in st.session_state[_GRID].head)
