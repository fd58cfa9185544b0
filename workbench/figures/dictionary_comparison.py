"""A trained dictionary's health beside what PCA, chance and the neurons themselves reach."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from workbench.figures.palette import DICTIONARIES, Layers, dictionary_colour, require_columns

_SHARES = {
    "explained_variance": "explained variance",
    "loss_recovered_zero": "loss recovered (zero)",
    "loss_recovered_mean": "loss recovered (mean)",
}


def dictionary_comparison(metrics: pd.DataFrame) -> Layers:
    """Grouped bars: for each metric one bar a dictionary, all on one axis of shares.

    Args:
        metrics: tidy, columns `dictionary`, `metric` and `value`, a share of one that is better large (explained
            variance, loss recovered); metrics are drawn in the order they come. A value below zero
            is worse than what the share is counted from.
    """
    require_columns(metrics, ["dictionary", "metric", "value"], "dictionary_comparison")
    present = metrics["dictionary"].unique().tolist()
    base = alt.Chart(metrics).encode(
        y=alt.Y(
            "metric:N",
            sort=metrics["metric"].unique().tolist(),
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=180),
        ),
        yOffset=alt.YOffset("dictionary:N", sort=list(DICTIONARIES)),
        x=alt.X("value:Q", title=None, axis=alt.Axis(format=".0%", tickCount=6)),
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=dictionary_colour(present).legend(orient="top", direction="horizontal"),
        tooltip=[alt.Tooltip("metric:N"), alt.Tooltip("dictionary:N"), alt.Tooltip("value:Q", format=".2%")],
    )
    return alt.layer(bars).properties(height=alt.Step(11))


def shares_of(metrics: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What `dictionary_comparison` takes, of a dictionary's `metrics.json`; what was not measured is left out."""
    return pd.DataFrame(
        [
            {"dictionary": line["dictionary"], "metric": title, "value": line[key]}
            for key, title in _SHARES.items()
            for line in metrics
            if line.get(key) is not None
        ],
        columns=["dictionary", "metric", "value"],
    )
