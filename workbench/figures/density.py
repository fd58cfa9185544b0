"""How often the features of a dictionary fire."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RULE, TRAINED, Layers, require_columns


def density_histogram(features: pd.DataFrame, here: float | None = None, height: int = 170) -> Layers:
    """Live features by density: the share of tokens on which each fires, on a logarithmic axis.

    Args:
        features: one row a feature, columns `density` and `dead`; dead ones are left out.
        here: one feature's density, marked by a rule.
        height: in pixels.
    """
    require_columns(features, ["density", "dead"], "density_histogram")
    live = features.loc[~features["dead"].astype(bool) & (features["density"] > 0), ["density"]]
    bars = (
        alt.Chart(live)
        .transform_calculate(log_density="log(datum.density) / LN10")
        .transform_bin(["low", "high"], "log_density", bin=alt.Bin(maxbins=40))
        .transform_aggregate(features="count()", groupby=["low", "high"])
        .transform_calculate(from_="pow(10, datum.low)", to="pow(10, datum.high)")
        .mark_bar(color=TRAINED, binSpacing=1)
        .encode(
            x=alt.X("low:Q", title="share of tokens on which a feature fires", axis=_percent_axis()),
            x2=alt.X2("high:Q"),
            y=alt.Y("features:Q", title="features", axis=alt.Axis(tickCount=4)),
            tooltip=[
                alt.Tooltip("from_:Q", format=".3%", title="from"),
                alt.Tooltip("to:Q", format=".3%", title="to"),
                alt.Tooltip("features:Q", format=","),
            ],
        )
    )
    marked = pd.DataFrame({"density": [here] if here else []})
    rule = (
        alt.Chart(marked)
        .transform_calculate(log_density="log(datum.density) / LN10")
        .mark_rule(color=RULE, strokeWidth=2)
        .encode(x=alt.X("log_density:Q"), tooltip=[alt.Tooltip("density:Q", format=".3%", title="this feature")])
    )
    return alt.layer(bars, rule).properties(height=height)


def _percent_axis() -> alt.Axis:
    return alt.Axis(labelExpr="format(pow(10, datum.value), '~%')", values=[-6, -5, -4, -3, -2, -1, 0], grid=False)
