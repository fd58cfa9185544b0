"""Which waves learned positions are made of, beside the same positions in a random order."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, TRAINED, Layers, require_columns


def position_spectrum(spectrum: pd.DataFrame, height: int = 220) -> Layers:
    """A bar a frequency: its share of the power; grey, what shuffled positions give: their mean, up to their 99%.

    Args:
        spectrum: as `workbench.attention.position_spectrum` makes it: `frequency`, `period`, `value`, `random_mean`,
            `random_high`.
        height: in pixels.

    Raises:
        ValueError: a column is missing.
    """
    columns = ["frequency", "period", "value", "random_mean", "random_high"]
    require_columns(spectrum, columns, "position_spectrum")
    base = alt.Chart(spectrum[columns])
    longest = float(spectrum["frequency"].max())
    x = alt.X(
        "frequency:Q",
        title="cycles in the context (grey: positions shuffled, up to their 99th percentile)",
        scale=alt.Scale(domain=[0.4, longest + 0.6], nice=False),
        axis=alt.Axis(grid=False),
    )
    tooltip = [
        alt.Tooltip("frequency:Q", format="d"),
        alt.Tooltip("period:Q", format=".3~g", title="period, positions"),
        alt.Tooltip("value:Q", format=".2%", title="share of the power"),
        alt.Tooltip("random_mean:Q", format=".2%", title="shuffled, mean"),
        alt.Tooltip("random_high:Q", format=".2%", title="shuffled, 99%"),
    ]
    bars = base.mark_bar(color=TRAINED, width={"band": 0.8}, binSpacing=0).encode(
        x=x,
        y=alt.Y("value:Q", title="share of the power", axis=alt.Axis(format="%", tickCount=5)),
        tooltip=tooltip,
    )
    chance = base.mark_area(color=RANDOM, opacity=0.5, interpolate="step", tooltip=None).encode(x=x, y="random_high:Q")
    middle = base.mark_line(color=RANDOM, strokeWidth=1.5, interpolate="step", tooltip=None).encode(
        x=x, y="random_mean:Q"
    )
    return alt.layer(bars, chance, middle).properties(height=height)
