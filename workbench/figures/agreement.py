"""What was found against what was told beforehand: points beside the line on which both are the same."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, RANDOM, RULE, Layers, in_turn, require_columns

# The first is meant; what is held against it is paler.
_SHAPES = ["circle", "cross", "triangle-up"]


def agreement(
    pairs: pd.DataFrame, told: str, found: str, *, x_title: str, y_title: str, control: str = "", height: int = 320
) -> Layers:
    """A point a pair, in the colour of what it is `of`, over the diagonal; the first of these lies on top.

    Args:
        pairs: tidy: a column told, a column found, and `of`, what is compared.
        told: the column that is told beforehand.
        found: the column that is held against it.
        x_title: of the former.
        y_title: of the latter.
        control: which of these is what chance gives: it is grey.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or there is no pair.
    """
    require_columns(pairs, [told, found, "of"], "agreement")
    if not len(pairs):
        raise ValueError("agreement has no pair to draw: the table is empty.")
    names = pairs["of"].unique().tolist()
    ends = [float(pairs[[told, found]].min().min()), float(pairs[[told, found]].max().max())]
    scale = alt.Scale(domain=ends, nice=False, padding=8)
    legend = alt.Legend(orient="top", direction="horizontal", symbolOpacity=1, labelLimit=300)
    hues = in_turn(CATEGORIES, len(names))
    hues = [RANDOM if name == control else hue for name, hue in zip(names, hues, strict=True)]
    colours = alt.Scale(domain=names, range=hues)
    shapes = alt.Scale(domain=names, range=in_turn(_SHAPES, len(names)))
    x, y = alt.X(f"{told}:Q", title=x_title, scale=scale), alt.Y(f"{found}:Q", title=y_title, scale=scale)
    base = alt.Chart(pairs[[told, found, "of"]].iloc[::-1])
    tooltip = [alt.Tooltip("of:N"), *(alt.Tooltip(f"{name}:Q", format=".5~g") for name in (told, found))]
    return alt.layer(
        base.mark_point(filled=True, size=16, opacity=0.5).encode(
            x=x,
            y=y,
            color=alt.Color("of:N", title=None, sort=names, scale=colours, legend=legend),
            shape=alt.Shape("of:N", title=None, sort=names, scale=shapes, legend=legend),
            tooltip=tooltip,
        ),
        alt.Chart(pd.DataFrame({told: ends, found: ends}))
        .mark_line(color=RULE, strokeDash=[6, 3], strokeWidth=1.5, tooltip=None)
        .encode(x=x, y=y),
    ).properties(height=height)
