"""How strongly a feature fires where it fires at all."""

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import RULE, TRAINED


def activation_histogram(
    edges: np.ndarray, counts: np.ndarray, marks: dict[str, float] | None = None, height: int = 150
) -> alt.LayerChart:
    """A histogram of non-zero activations on a logarithmic count axis.

    Args:
        edges: bin edges, one more than `counts`.
        counts: tokens in each bin.
        marks: values worth seeing on the axis (a threshold, a band's bounds), drawn as labelled rules.
        height: in pixels.

    Raises:
        ValueError: the edges do not fit the counts.
    """
    edges, counts = np.asarray(edges, float), np.asarray(counts)
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} counts need {len(counts) + 1} bin edges, not {len(edges)}.")
    # A logarithmic axis has no zero: an empty bin is left out, and a single token still shows as a sliver.
    bins = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "tokens": counts, "base": 0.7})
    bars = (
        alt.Chart(bins[bins["tokens"] > 0])
        .mark_bar(color=TRAINED, binSpacing=1)
        .encode(
            x=alt.X("low:Q", title="activation", axis=alt.Axis(grid=False)),
            x2="high:Q",
            y=alt.Y(
                "tokens:Q",
                title="tokens (log)",
                scale=alt.Scale(type="log", domainMin=0.7),
                axis=alt.Axis(tickCount=3, format="~s", grid=False),
            ),
            y2="base:Q",
            tooltip=[
                alt.Tooltip("low:Q", format=".3f", title="from"),
                alt.Tooltip("high:Q", format=".3f", title="to"),
                alt.Tooltip("tokens:Q", format=","),
            ],
        )
    )
    table = pd.DataFrame({"mark": list(marks or {}), "value": list((marks or {}).values())})
    rule = alt.Chart(table).mark_rule(color=RULE, strokeDash=[3, 2]).encode(x="value:Q", tooltip=["mark:N", "value:Q"])
    label = (
        alt.Chart(table)
        .mark_text(align="left", baseline="top", dx=3, color=RULE, fontSize=10)
        .encode(x="value:Q", y=alt.value(0), text="mark:N")
    )
    return alt.layer(bars, rule, label).properties(height=height)
