"""Rows with a lane for every variant in them: each a mark with its interval, beside a rule at zero."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from workbench.figures.palette import RULE, Layers


def in_lanes(
    shown: pd.DataFrame,
    number: str,
    x: alt.X,
    y: alt.Y,
    hues: Mapping[str, str],
    shapes: Mapping[str, str],
    legend: alt.Legend,
    tooltip: Sequence[alt.Tooltip],
    lane: int,
) -> Layers:
    """The variants of each row below each other, in the order of `hues`; of these only what is there.

    Args:
        shown: `variant`, `low` and `high`, and what `x`, `y` and `tooltip` name.
        number: the column that is drawn.
        x: its axis.
        y: the row.
        hues: a colour a variant.
        shapes: a mark a variant.
        legend: of the variants.
        tooltip: of a mark.
        lane: a variant's height, in pixels.
    """
    present = [name for name in hues if name in set(shown["variant"])]
    offset = alt.YOffset("variant:N", scale=alt.Scale(domain=present))
    colours = alt.Scale(domain=present, range=[hues[name] for name in present])
    colour = alt.Color("variant:N", sort=present, scale=colours, legend=legend)
    marks = alt.Scale(domain=present, range=[shapes[name] for name in present])
    zero = alt.Chart(pd.DataFrame({number: [0.0]})).mark_rule(color=RULE, tooltip=None).encode(x=x)
    base = alt.Chart(shown)
    ends = base.mark_rule(strokeWidth=2, opacity=0.45).encode(
        x=alt.X("low:Q"), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    points = base.mark_point(filled=True, size=52, opacity=1).encode(
        x=x,
        y=y,
        yOffset=offset,
        color=colour,
        shape=alt.Shape("variant:N", sort=present, scale=marks, legend=legend),
        tooltip=list(tooltip),
    )
    return alt.layer(zero, ends, points).properties(height={"step": lane, "for": "offset"})
