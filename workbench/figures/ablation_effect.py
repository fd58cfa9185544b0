"""What taking a feature out does to the loss at the following tokens, beside as large a change along nothing."""

import altair as alt
import pandas as pd

from workbench.figures.palette import NEURONS, RANDOM, RULE, TRAINED, Layers, require_columns

LINES = {
    ("feature", "where it fires"): "feature, where it fires",
    ("random direction", "where it fires"): "random direction, there",
    ("feature", "where it does not"): "feature, where it does not fire",
}
_HUES, _DASHES = [TRAINED, RANDOM, NEURONS], [[1, 0], [4, 3], [1, 3]]


def ablation_effect(effects: pd.DataFrame, height: int = 300) -> Layers:
    """The mean change of the loss against how many tokens ahead it is, a standard error to either side.

    Args:
        effects: of one feature, as `workbench.features.on_demand.ablation_effects` gives them: variant, where, measure,
            ahead, n, before, change, error.
        height: in pixels.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(effects, ["variant", "where", "measure", "ahead", "n", "change", "error"], "ablation_effect")
    shown = effects[effects["measure"] == "loss"]
    words = [LINES.get(pair) for pair in zip(shown["variant"], shown["where"], strict=True)]
    shown = shown.assign(what=words).dropna(subset="what")
    shown = shown.assign(low=shown["change"] - shown["error"], high=shown["change"] + shown["error"])
    names = list(LINES.values())
    legend = alt.Legend(orient="top", direction="horizontal", columns=2, labelLimit=260, symbolType="stroke")
    colour = alt.Color("what:N", title=None, scale=alt.Scale(domain=names, range=_HUES), legend=legend)
    dash = alt.StrokeDash("what:N", title=None, scale=alt.Scale(domain=names, range=_DASHES), legend=legend)
    x = alt.X(
        "ahead:Q",
        title="tokens ahead (1: the next)",
        axis=alt.Axis(tickMinStep=1, format="d", grid=False),
        scale=alt.Scale(zero=False, nice=False, padding=10),
    )
    base = alt.Chart(shown.drop(columns=["feature", "token"], errors="ignore"))
    zero = alt.Chart(pd.DataFrame({"change": [0.0]})).mark_rule(color=RULE, strokeDash=[2, 3]).encode(y="change:Q")
    spread = base.mark_errorbar().encode(
        x=x, y=alt.Y("low:Q", title="change of the loss (nats)"), y2="high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=40)).encode(
        x=x,
        y=alt.Y("change:Q", title="change of the loss (nats)"),
        color=colour,
        strokeDash=dash,
        tooltip=[
            alt.Tooltip("what:N", title="taken out"),
            alt.Tooltip("ahead:Q", title="tokens ahead"),
            alt.Tooltip("change:Q", format="+.4f", title="change (nats)"),
            alt.Tooltip("error:Q", format=".4f", title="standard error"),
            alt.Tooltip("before:Q", format=".3f", title="loss with it in"),
            alt.Tooltip("n:Q", title="places"),
        ],
    )
    return alt.layer(zero, spread, line).properties(height=height)
