"""How well each way of searching finds a known circuit's edges, by what stands in for a cut edge."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, RANDOM, RULE, Layers, in_turn, require_columns

_SHAPES = ["circle", "diamond", "triangle-up", "square"]


def edge_recovery(table: pd.DataFrame) -> Layers:
    """A row an ablation, a mark a method: the area under its ROC curve within its range, chance as a stroke at ½.

    Args:
        table: tidy, `ablation`, `method`, `auc`, `low`, `high`, one line of each; the method `random scores` is the
            control, and grey.

    Raises:
        ValueError: a column is missing, or some ablation and method have two lines.
    """
    require_columns(table, ["ablation", "method", "auc", "low", "high"], "edge_recovery")
    if table.duplicated(["ablation", "method"]).any():
        raise ValueError("edge_recovery needs one line of every ablation and method: sum up over seeds first.")
    methods = table["method"].unique().tolist()
    ours = [name for name in methods if name != "random scores"]
    colours = dict(zip(ours, in_turn(CATEGORIES, len(ours)), strict=True)) | {"random scores": RANDOM}
    shapes = dict(zip(ours, in_turn(_SHAPES, len(ours)), strict=True)) | {"random scores": "cross"}
    legend = alt.Legend(orient="top", direction="horizontal", columns=3, symbolOpacity=1, labelLimit=260)
    colour = alt.Color(
        "method:N", title=None, sort=methods, legend=legend, scale=_scale(methods, [colours[m] for m in methods])
    )
    shape = alt.Shape(
        "method:N", title=None, sort=methods, legend=legend, scale=_scale(methods, [shapes[m] for m in methods])
    )
    scale = alt.Scale(domain=[0, 1], nice=False, padding=8)
    place = {
        "y": alt.Y(
            "ablation:N",
            title=None,
            sort=table["ablation"].unique().tolist(),
            axis=alt.Axis(ticks=False, domain=False, grid=True, gridOpacity=0.3, bandPosition=1),
        ),
        "yOffset": alt.YOffset("method:N", sort=methods),
    }
    base = alt.Chart(table)
    tooltip = [
        alt.Tooltip("ablation:N"),
        alt.Tooltip("method:N"),
        alt.Tooltip("auc:Q", format=".3f", title="area under the ROC curve"),
        alt.Tooltip("low:Q", format=".3f", title="lowest"),
        alt.Tooltip("high:Q", format=".3f", title="highest"),
    ]
    return alt.layer(
        alt.Chart(pd.DataFrame({"chance": [0.5]})).mark_rule(color=RULE, strokeDash=[3, 3]).encode(x="chance:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.6).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=colour, **place
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("auc:Q", title="area under the ROC curve", scale=scale, axis=alt.Axis(tickCount=6)),
            color=colour,
            shape=shape,
            tooltip=tooltip,
            **place,
        ),
    ).properties(height={"step": 15 * len(methods), "for": "position"})


def _scale(methods: list[str], signs: list[str]) -> alt.Scale:
    return alt.Scale(domain=methods, range=signs)
