"""Two panes side by side where there is room for both, one below the other where there is not."""

from typing import Any

import streamlit as st


def halves(least_width: int = 430) -> tuple[Any, Any]:
    """Two equal panes of at least so many pixels; use each as a context."""
    grid = st.grid(2, min_column_width=least_width, gap=("medium", "large"))
    return grid.cell(), grid.cell()
