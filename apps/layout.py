"""Two panes side by side where there is room, one below the other where there is not; charts as drawn; downloads."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st


def halves(least_width: int = 430) -> tuple[Any, Any]:
    """Two equal panes of at least so many pixels; use each as a context."""
    grid = st.grid(2, min_column_width=least_width, gap=("medium", "large"))
    return grid.cell(), grid.cell()


def as_drawn(chart: alt.LayerChart | alt.FacetChart | alt.ConcatChart, words: str | None = None) -> None:
    """Show a chart at its own size, axes and legend around it: Streamlit would fit all of it in, and skew a square."""
    st.altair_chart(roomy(chart).properties(autosize=alt.AutoSizeParams(type="pad")), width="content", alt=words)


def roomy(chart: Any) -> Any:
    """A chart with room for the label of the last tick, which would be cut, and every row's label at its row.

    Streamlit moves the first and the last label of an axis inwards: of rows these then stand beside no mark.
    """
    return chart.configure_axisY(labelFlush=False).properties(padding={"left": 0, "top": 0, "right": 14, "bottom": 8})


def download(table: pd.DataFrame, label: str, name: str) -> None:
    """A button that gives a table as CSV."""
    st.download_button(
        label,
        lambda: table.to_csv(index=False),
        f"{name}.csv",
        "text/csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )
