"""Values as time goes by, in one panel for each thing that they are compared over."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, Layers, in_turn, require_columns


def time_courses(
    courses: pd.DataFrame, panel: str, *, x_title: str = "time (s)", y_title: str = "value", height: int = 110
) -> Layers:
    """A line a variable, panels one below the other on the same axes.

    Args:
        courses: tidy: `time`, `value`, `of` (the variable) and the column of panels, in their order.
        panel: the column that parts the panels.
        x_title: what time counts, with its unit.
        y_title: what the values are.
        height: of a panel, in pixels.

    Raises:
        ValueError: a column is missing, or there is no value.
    """
    require_columns(courses, ["time", "value", "of", panel], "time_courses")
    if not len(courses):
        raise ValueError("time_courses has no value to draw: the table is empty.")
    names, panels = courses["of"].unique().tolist(), courses[panel].unique().tolist()
    legend = alt.Legend(orient="top", direction="horizontal", symbolType="stroke")
    colours = alt.Scale(domain=names, range=in_turn(CATEGORIES, len(names)))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold", title=None)
    return (
        alt.Chart(courses[["time", "value", "of", panel]])
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("time:Q", title=x_title, scale=alt.Scale(nice=False), axis=alt.Axis(grid=False)),
            y=alt.Y("value:Q", title=y_title, axis=alt.Axis(tickCount=3)),
            color=alt.Color("of:N", title=None, sort=names, scale=colours, legend=legend),
            tooltip=[alt.Tooltip("of:N"), alt.Tooltip("time:Q"), alt.Tooltip("value:Q", format=".4~g")],
        )
        .properties(height=height, width=480)
        .facet(row=alt.Row(f"{panel}:N", sort=panels, header=header), spacing=8)
    )
