"""Heat maps of the same rows and columns with their control's: on one scale of colours, side by side or stacked."""

from collections.abc import Sequence
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, SEQUENTIAL, TRAINED, UNKNOWN, ZERO, Layers

Stack = Literal["beside", "below"]
_LABEL_LIMIT = 150
_DARK, _LIGHT = "#101418", "#f4f6f8"
# Of a sequential colour scale: from here on a number is dark. On a signed one it always is.
_TURNS = 0.55
_MOST_NAMED = 80  # rows
_MOST_WITH_NUMBERS = 18  # columns; with more a number would not fit into its cell
_MOST_UPRIGHT = 80  # letters under all columns together: with more, columns' names stand on end


def panels(
    cells: pd.DataFrame,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    stack: Stack,
    title: str,
    signed: bool,
    tooltip: Sequence[alt.Tooltip] = (),
    largest: float | None = None,
    words: bool = False,
    row_title: str | None = None,
    column_title: str | None = None,
    step: int = 16,
) -> Layers:
    """Rows × columns of every panel; a cell that has no value is grey.

    All panels share one pair of axes, a free row or column between two: such a chart, unlike several, is as wide as
    its page.

    Args:
        cells: a line a cell: `panel`, `row`, `column`, `value`, what the tooltip reads and, with `words`, `word`; where
            there is a column `marked`, cells that are so have a dot.
        rows: from the top.
        columns: from the left.
        stack: whether a panel stands beside the one before it or below it.
        title: of the colours.
        signed: vermilion below zero, blue above, symmetric about it; else from 0.
        tooltip: what is told of a cell besides its panel, row, column and value.
        largest: the value of the full colour; the largest there is where None.
        words: whether each cell shows its `word` instead of its number.
        row_title: of the axis.
        column_title: of the axis.
        step: pixels a row.

    Raises:
        ValueError: there are two lines of one cell, or none at all.
    """
    if cells.empty:
        raise ValueError("there is nothing to draw: the table has no lines of what this figure shows.")
    if cells.duplicated(["panel", "row", "column"]).any():
        raise ValueError("this figure needs one line of every cell: choose among the others, or take their mean.")
    names = cells["panel"].unique().tolist()
    table = _placed(cells, names, stack)
    across, down = (len(names), 1) if stack == "beside" else (1, len(names))
    known = table["value"].dropna().to_numpy(float)
    top = max(float(np.abs(known).max(initial=0)) if largest is None else largest, 1e-9)
    scale = (
        alt.Scale(domain=[-top, 0, top], range=[NEURONS, ZERO, TRAINED], interpolate="rgb", clamp=True)
        if signed
        else alt.Scale(domain=[0, top], scheme=SEQUENTIAL, clamp=True)
    )
    n_columns, longest = len(columns) * across, max(map(len, columns), default=0)
    label = "slice(datum.label, 0, 1) == '-' ? '' : slice(datum.label, 2)"
    x = alt.X(
        "_column:N",
        title=column_title,
        scale=alt.Scale(domain=_keys(columns, across), paddingInner=0.04, paddingOuter=0),
        axis=alt.Axis(
            orient="bottom",
            labelExpr=label,
            labelAngle=-90 if longest > 3 and n_columns * longest > _MOST_UPRIGHT else 0,
            labelLimit=_LABEL_LIMIT,
            labelFontSize=10,
            labelOverlap=True,
            ticks=False,
            domain=False,
        ),
    )
    y = alt.Y(
        "_row:N",
        title=row_title,
        scale=alt.Scale(domain=_keys(rows, down), paddingInner=0.06, paddingOuter=0),
        axis=alt.Axis(
            labelExpr=label,
            labelLimit=_LABEL_LIMIT,
            labelFontSize=10,
            labelOverlap=len(rows) > _MOST_NAMED,
            labelFlush=False,
            ticks=False,
            domain=False,
        ),
    )
    told = [
        alt.Tooltip("row:N", title=row_title or "row"),
        alt.Tooltip("column:N", title=column_title or "column"),
        alt.Tooltip("panel:N", title="of"),
        alt.Tooltip("value:Q", title=title, format="+.3f" if signed else ".3f"),
        *tooltip,
    ]
    legend = alt.Legend(
        title=title,
        orient="bottom",
        gradientLength=200,
        gradientThickness=10,
        format=".2~g",
        labelExpr="datum.value == 0 ? '0' : format(datum.value, '+.2~g')" if signed else alt.Undefined,
        titleLimit=320,
    )
    full, empty = table[table["value"].notna()], table[table["value"].isna()]
    layers = [
        alt.Chart(empty).mark_rect(color=UNKNOWN).encode(x=x, y=y, tooltip=told),
        alt.Chart(full)
        .mark_rect()
        .encode(x=x, y=y, color=alt.Color("value:Q", scale=scale, legend=legend), tooltip=told),
        _titles(names, rows, columns, stack, x, y),
    ]
    if words or (n_columns <= _MOST_WITH_NUMBERS and "marked" not in table):
        layers.append(_inside(full, x, y, told, top, signed, words))
    if "marked" in table:
        dots = alt.Chart(table[table["marked"].astype(bool)])
        ring = dots.mark_point(filled=True, size=34, color=_LIGHT, stroke=_DARK, strokeWidth=1, opacity=1)
        layers.append(ring.encode(x=x, y=y, tooltip=told))
    return alt.layer(*layers).properties(height=alt.Step(step))


def _placed(cells: pd.DataFrame, names: list[str], stack: Stack) -> pd.DataFrame:
    """The cells with their keys on the shared axes: `_row` and `_column`, of which one says which panel it is."""
    along, across = ("column", "row") if stack == "beside" else ("row", "column")
    number = cells["panel"].map({name: str(i) for i, name in enumerate(names)})
    keys = {f"_{along}": number + " " + cells[along].astype(str), f"_{across}": "0 " + cells[across].astype(str)}
    return cells.assign(**keys)


def _keys(values: Sequence[str], n_panels: int) -> list[str]:
    """What stands on an axis in order: the values panel by panel, a free key between two."""
    blocks = [[*(f"{i} {value}" for value in values), f"- {i}"] for i in range(n_panels)]
    return [key for block in blocks for key in block][:-1]


def _titles(
    names: list[str], rows: Sequence[str], columns: Sequence[str], stack: Stack, x: alt.X, y: alt.Y
) -> alt.Chart:
    """Above the first cell of each panel its name."""
    firsts = [
        {"panel": name, "_row": f"{i if stack == 'below' else 0} {rows[0]}",
         "_column": f"{i if stack == 'beside' else 0} {columns[0]}"}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return (
        alt.Chart(pd.DataFrame(firsts))
        .mark_text(align="left", baseline="bottom", fontWeight="bold", color=RULE, tooltip=None, dy=-3)
        .encode(x=x.bandPosition(0), y=y.bandPosition(0), text=alt.Text("panel:N"))
    )


def _inside(
    full: pd.DataFrame, x: alt.X, y: alt.Y, told: list[alt.Tooltip], top: float, signed: bool, words: bool
) -> alt.Chart:
    """Each cell's number, or its word, in an ink that stands out from its colour."""
    shown = full.assign(_dark=signed | (full["value"] / top > _TURNS))
    if not words:
        shown["word"] = [_number(value, signed) for value in full["value"]]
    return (
        alt.Chart(shown)
        .mark_text(fontSize=9, limit=64)
        .encode(
            x=x,
            y=y,
            text="word:N",
            color=alt.condition(alt.datum._dark, alt.value(_DARK), alt.value(_LIGHT)),
            tooltip=told,
        )
    )


def _number(value: float, signed: bool) -> str:
    """With two decimals; a plain 0 where these would be zeros, whose sign says nothing."""
    if abs(value) < 0.005:
        return "0"
    return f"{value:{'+' if signed else ''}.2f}".replace("-", "−")
