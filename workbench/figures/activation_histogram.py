"""How strongly a feature fires where it fires at all."""

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers


def activation_histogram(
    edges: np.ndarray,
    counts: np.ndarray,
    bands: dict[str, float] | None = None,
    threshold: float | None = None,
    height: int = 150,
) -> Layers:
    """A histogram of non-zero activations on a logarithmic count axis.

    Args:
        edges: bin edges, one more than `counts`.
        counts: tokens in each bin.
        bands: where bands of activation begin, drawn as labelled rules.
        threshold: from where the feature counts as a detector of its name, drawn as another rule.
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
            x=alt.X("low:Q", title="activation", axis=alt.Axis(grid=False), scale=alt.Scale(nice=False)),
            x2=alt.X2("high:Q"),
            y=alt.Y(
                "tokens:Q",
                title="tokens (log)",
                scale=alt.Scale(type="log", domainMin=0.7),
                axis=alt.Axis(tickCount=3, format="~s", grid=False),
            ),
            y2=alt.Y2("base:Q"),
            tooltip=[
                alt.Tooltip("low:Q", format=".3f", title="from"),
                alt.Tooltip("high:Q", format=".3f", title="to"),
                alt.Tooltip("tokens:Q", format=","),
            ],
        )
    )
    rules = _rules(bands or {}, RULE, -3)
    if threshold is not None:
        rules += _rules({"named from here": threshold}, NEURONS, -15)  # higher, where no band's label stands
    return alt.layer(bars, *rules).properties(height=height)


def _rules(values: dict[str, float], colour: str, label_y: int) -> list[alt.Chart]:
    base = alt.Chart(pd.DataFrame({"mark": list(values), "value": list(values.values())})).encode(
        x=alt.X("value:Q"), tooltip=[alt.Tooltip("mark:N"), alt.Tooltip("value:Q", format=".3f")]
    )
    return [
        base.mark_rule(color=colour, strokeDash=[3, 2]),
        base.mark_text(color=colour, fontSize=10, baseline="bottom").encode(
            y=alt.value(label_y), text=alt.Text("mark:N")
        ),
    ]
