"""A figure with what a reader takes along: its table, its picture, and the Python that makes it again."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from apps import layout
from apps.told import Told
from workbench.figures.exported import to_png, to_svg
from workbench.runs import Run

_ROWS = 2_000  # that a page shows of a table; the file has all


def figure(
    chart: Any, table: pd.DataFrame, *, name: str, python: str, as_drawn: bool = False, alt: str | None = None
) -> None:
    """Draw a chart and offer, folded away beneath it, its table, CSV, SVG, PNG and code.

    Args:
        chart: the Altair chart.
        table: the numbers that it draws.
        name: of the files, and the figure's key: no other figure of the page has it.
        python: code that, run anew, leaves the same chart in the variable `chart`; `opening` is its usual beginning.
        as_drawn: at the chart's own size: of squares, and of several charts side by side.
        alt: what it shows, in words, for who cannot see it; without it the name.
    """
    picture(chart, alt=alt or name.replace("-", " ").replace("_", " "), as_drawn=as_drawn)
    taken_along(chart, table, name=name, python=python)


def draw(chart: Told, table: Told, *, name: str, alt: str, as_drawn: bool = False) -> None:
    """`figure` of a chart that is told of: its code is what was done."""
    figure(chart.value, table.value, name=name, python=chart.python("chart"), as_drawn=as_drawn, alt=alt)


def picture(chart: Any, *, alt: str, as_drawn: bool = False) -> None:
    """The chart alone: of several that are taken along as one."""
    if as_drawn:
        layout.as_drawn(chart, alt)
    else:
        st.altair_chart(layout.roomy(chart), width="stretch", alt=alt)


def opening(run: Run) -> str:
    """The first lines of a figure's code that is written by hand: they open its run."""
    return f"from workbench.runs import Run\n\nrun = Run.open({str(run.path.resolve())!r})\n"


@st.fragment
def taken_along(chart: Any, table: pd.DataFrame, *, name: str, python: str) -> None:
    """What lies beneath a figure. Nothing is made while it is shut: pictures and tables are for those who ask."""
    # Not a popover: what it opens stands at the end of the page, and the keyboard would not find it.
    panel = st.expander("Table · CSV · SVG · PNG · Python", type="compact", on_change="rerun", key=f"take_{name}")
    if not panel.open:
        return
    files: tuple[tuple[str, str, Callable[[], str | bytes]], ...] = (
        ("CSV", "text/csv", lambda: table.to_csv(index=False)),
        ("SVG", "image/svg+xml", lambda: to_svg(chart)),
        ("PNG", "image/png", lambda: to_png(chart)),
    )
    with panel:
        with st.container(horizontal=True, gap="small"):
            for label, mime, made in files:
                ending = label.lower()
                st.download_button(
                    label,
                    made,
                    f"{name}.{ending}",
                    mime,
                    key=f"{ending}_{name}",
                    icon=":material/download:",
                    on_click="ignore",
                )
        st.code(f"{python.rstrip()}\n# chart.save({name + '.svg'!r}) writes it as a picture.", language="python")
        st.dataframe(table.head(_ROWS), hide_index=True, height="auto")
        if len(table) > _ROWS:
            st.caption(f"The first {_ROWS:,} of {len(table):,} rows: the CSV has all.")
