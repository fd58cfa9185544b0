"""A figure with what a reader takes along: its table, its picture, and the Python that makes it again."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import layout
from workbench.figures.exported import to_png, to_svg

_ROWS = 2_000  # that a page shows of a table; the file has all


def figure(chart: Any, table: pd.DataFrame, *, name: str, python: str, as_drawn: bool = False) -> None:
    """Draw a chart and offer, folded away beneath it, its table, CSV, SVG, PNG and code.

    Args:
        chart: the Altair chart.
        table: the numbers that it draws.
        name: of the files, and the figure's key: no other figure of the page has it.
        python: code that, run anew, leaves the same chart in the variable `chart`; `opening` is its usual beginning.
        as_drawn: at the chart's own size: of squares, and of several charts side by side.
    """
    if as_drawn:
        layout.as_drawn(chart)
    else:
        st.altair_chart(chart, width="stretch")
    _taken_along(chart, table, name, python)


def opening(run: Any) -> str:
    """The first lines of a figure's code: they open its run."""
    return f"from workbench.runs import Run\n\nrun = Run.open({str(run.path)!r})\n"


@st.fragment
def _taken_along(chart: Any, table: pd.DataFrame, name: str, python: str) -> None:
    # A popover that is shut makes nothing: pictures are drawn, and tables sent, for those who ask.
    with st.popover(
        "Table, picture, Python", icon=":material/ios_share:", type="tertiary", on_change="rerun", key=f"take_{name}"
    ) as panel:
        if not panel.open:
            return
        with st.container(horizontal=True, gap="small"):
            files = (
                ("CSV", "csv", "text/csv", lambda: table.to_csv(index=False)),
                ("SVG", "svg", "image/svg+xml", lambda: to_svg(chart)),
                ("PNG", "png", "image/png", lambda: to_png(chart)),
            )
            for label, ending, mime, made in files:
                st.download_button(
                    label,
                    made,
                    f"{name}.{ending}",
                    mime,
                    key=f"{ending}_{name}",
                    icon=":material/download:",
                    on_click="ignore",
                )
        st.code(python, language="python")
        st.dataframe(table.head(_ROWS), hide_index=True, height="auto")
        if len(table) > _ROWS:
            st.caption(f"The first {_ROWS:,} of {len(table):,} rows: the CSV has all.")
