"""A feature's value against its best neuron's, row by row: which of the two tells the concept apart."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, TRAINED, require_columns

_HOLDS = {True: "concept holds", False: "does not"}


def feature_against_neuron(rows: pd.DataFrame, height: int = 260) -> alt.Chart:
    """A point a recorded row, coloured by whether the concept holds there, where that is known.

    Args:
        rows: columns feature and neuron (values), token, fires; and `holds` where the concept is known of each row.
        height: in pixels.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(rows, ["feature", "neuron", "token", "fires"], "feature_against_neuron")
    by = "holds" if "holds" in rows else "fires"
    words = _HOLDS if by == "holds" else {True: "the feature fires", False: "it does not"}
    shown = rows.assign(what=rows[by].map(words)).sort_values(by, kind="stable")
    scale = alt.Scale(domain=list(words.values()), range=[TRAINED, RANDOM])
    shape = alt.Scale(domain=list(words.values()), range=["circle", "cross"])
    legend = alt.Legend(orient="top", direction="horizontal", title=None)
    return (
        alt.Chart(shown[["feature", "neuron", "token", "what"]])
        .mark_point(filled=True, size=26, opacity=0.55)
        .encode(
            x=alt.X("neuron:Q", title="the neuron"),
            y=alt.Y("feature:Q", title="the feature"),
            color=alt.Color("what:N", scale=scale, legend=legend),
            shape=alt.Shape("what:N", scale=shape, legend=legend),
            tooltip=[
                alt.Tooltip("token:N"),
                alt.Tooltip("feature:Q", format=".3f"),
                alt.Tooltip("neuron:Q", format=".3f"),
                alt.Tooltip("what:N", title="there"),
            ],
        )
        .properties(height=height)
    )
