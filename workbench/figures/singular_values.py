"""A head's singular values, beside those of random matrices of the same rank and norm."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, TRAINED, Layers, require_columns


def singular_values(values: pd.DataFrame, height: int = 200) -> Layers:
    """A dot a direction, the largest first; grey, random matrices of the head's norm: their mean, and up to their 99%.

    Args:
        values: as `workbench.attention.singular_values` makes it, of one head and circuit: `circuit`, `direction` (from
            0), `value`, `share`, `random_mean`, `random_high`.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or a direction has two lines.
    """
    columns = ["circuit", "direction", "value", "share", "random_mean", "random_high"]
    require_columns(values, columns, "singular_values")
    if values["direction"].duplicated().any():
        raise ValueError("singular_values draws one head's one circuit: choose it in the table.")
    base = alt.Chart(values[columns])
    x = alt.X(
        "direction:Q",
        title="direction (grey: random matrices of the same norm)",
        axis=alt.Axis(grid=False, format="d", tickMinStep=1),
        scale=alt.Scale(nice=False, padding=6),
    )
    y = alt.Y("value:Q", title="singular value", axis=alt.Axis(tickCount=4))
    tooltip = [
        alt.Tooltip("circuit:N"),
        alt.Tooltip("direction:Q", format="d"),
        alt.Tooltip("value:Q", format=".3f", title="singular value"),
        alt.Tooltip("share:Q", format=".1%", title="share of the squares"),
        alt.Tooltip("random_mean:Q", format=".3f", title="random, mean"),
        alt.Tooltip("random_high:Q", format=".3f", title="random, 99%"),
    ]
    band = base.mark_area(color=RANDOM, opacity=0.4, tooltip=None).encode(x=x, y="random_mean:Q", y2="random_high:Q")
    middle = base.mark_line(color=RANDOM, strokeWidth=1.5, tooltip=None).encode(x=x, y="random_mean:Q")
    dots = base.mark_point(filled=True, size=34, color=TRAINED, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    return alt.layer(band, middle, dots).properties(height=height)
