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
    st.altair_chart(chart.properties(autosize=alt.AutoSizeParams(type="pad")), width="content", alt=words)


def download(table: pd.DataFrame, label: str, name: str) -> None:
    """A button that gives a table as CSV."""
    st.download_button(
        label,
        lambda: table.to_csv(index=False),
        f"{name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
