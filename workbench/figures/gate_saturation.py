"""How often each gate of a recurrent layer is shut, and how often wide open."""

import altair as alt
import pandas as pd

from workbench.figures.palette import NEURONS, PCA, RULE, TRAINED, Layers, require_columns

_HUES = [TRAINED, NEURONS, PCA]
_SHAPES = ["circle", "diamond", "triangle-up", "square", "cross", "triangle-down"]


def gate_saturation(saturation: pd.DataFrame, unit: int | None = None, height: int = 300) -> Layers:
    """One point a unit and gate: the share of tokens at which it is shut against that at which it is open.

    As figure 4 of Karpathy et al. 2015 (arXiv 1506.02078). Below the line x + y = 1 the gate also stands in between.

    Args:
        saturation: columns `gate`, `unit`, `left` and `right`; at most six gates, as a bidirectional LSTM has.
        unit: a unit whose points are ringed.
        height: in pixels.
    """
    require_columns(saturation, ["gate", "unit", "left", "right"], "gate_saturation")
    gates = saturation["gate"].unique().tolist()
    # The gates of a backward cell have the colours of the forward one, and shapes of their own.
    hues, shapes = [_HUES[i % len(_HUES)] for i in range(len(gates))], _SHAPES[: len(gates)]
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format=".0%", tickCount=5)
    x = alt.X("left:Q", title="tokens at which it is shut (below 0.1)", scale=scale, axis=axis)
    y = alt.Y("right:Q", title="at which it is open (above 0.9)", scale=scale, axis=axis)
    legend = alt.Legend(orient="top", direction="horizontal", title=None)
    points = (
        alt.Chart(saturation)
        .mark_point(filled=True, size=42, opacity=0.65)
        .encode(
            x=x,
            y=y,
            color=alt.Color("gate:N", scale=alt.Scale(domain=gates, range=hues), legend=legend),
            shape=alt.Shape("gate:N", scale=alt.Scale(domain=gates, range=shapes), legend=legend),
            tooltip=[
                alt.Tooltip("gate:N"),
                alt.Tooltip("unit:Q", format="d"),
                alt.Tooltip("left:Q", format=".1%", title="shut"),
                alt.Tooltip("right:Q", format=".1%", title="open"),
            ],
        )
    )
    chosen = saturation.loc[saturation["unit"] == unit]
    ring = alt.Chart(chosen).mark_point(size=150, color=RULE, strokeWidth=2, tooltip=None).encode(x=x, y=y)
    limit = (
        alt.Chart(pd.DataFrame({"left": [0, 1], "right": [1, 0]}))
        .mark_line(color=RULE, strokeDash=[3, 3], strokeWidth=1)
        .encode(x=x, y=y)
    )
    return alt.layer(limit, points, ring).properties(height=height)


def gates_of(gates: pd.DataFrame, layer: str) -> pd.DataFrame:
    """One layer's lines of the gates' statistics, with the name of each `gate`."""
    own = gates[gates["hook"].str.startswith(f"{layer}.")]
    return own.assign(gate=own["hook"].str.rpartition("hook_")[2])
