"""What heads look at: one score of every head, beside what heads without training give."""

import altair as alt
import pandas as pd

from workbench.figures.hook_names import head_names
from workbench.figures.palette import NEURONS, RANDOM, TRAINED, Layers, require_columns

_HUES = {"real": TRAINED, "random repeated": NEURONS}
_SHAPES = {"real": "circle", "random repeated": "diamond"}
MOST = 32  # heads in the figure
_STEP = 22  # pixels a head


def head_scores(scores: pd.DataFrame, score: str, chosen: str | None = None) -> Layers:
    """A row a head, best first: its score on each text, and as a grey bar what control heads give there.

    Of very many heads the best are drawn.

    Args:
        scores: as `workbench.attention.head_scores` makes it: `layer` (and `hook`), `head`, `text`, `score`, `value`,
            `control` with `control_low` and `control_high`; one line of each head, text and score.
        score: which.
        chosen: the name of a head (`layer.head`) whose row is framed.

    Raises:
        ValueError: a column is missing, or no head has that score.
    """
    needed = ["layer", "head", "text", "score", "value", "control", "control_low", "control_high"]
    require_columns(scores, needed, "head_scores")
    own = scores[(scores["score"] == score) & scores["value"].notna()]
    if own.empty:
        known = ", ".join(map(str, scores["score"].unique()))
        raise ValueError(f"no head has the score {score!r}: there are {known or 'none'}.")
    own = own.assign(name=head_names(own))
    order = own.groupby("name")["value"].max().sort_values(ascending=False, kind="stable").index[:MOST].tolist()
    table = own[own["name"].isin(order)]
    texts = [text for text in _HUES if text in set(table["text"])]
    texts += [text for text in table["text"].unique() if text not in texts]
    hues = [_HUES.get(text, RANDOM) for text in texts]
    y = alt.Y(
        "name:N",
        title="head",
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelOverlap=False, ticks=False, domain=False, grid=True, gridOpacity=0.3),
    )
    inside = alt.YOffset("text:N", scale=alt.Scale(domain=texts, paddingOuter=0.6))
    tooltip = [
        alt.Tooltip("name:N", title="head"),
        alt.Tooltip("text:N"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("control:Q", format=".3f"),
        alt.Tooltip("control_low:Q", format=".3f", title="control from"),
        alt.Tooltip("control_high:Q", format=".3f", title="control to"),
    ]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    base = alt.Chart(table)
    control = base.mark_bar(color=RANDOM, opacity=0.45, height=6).encode(
        x=alt.X("control_low:Q", title=f"{score.replace('_', ' ')} (grey: control heads)"),
        x2="control_high:Q",
        y=y,
        yOffset=inside,
        tooltip=tooltip,
    )
    middle = base.mark_tick(color=RANDOM, thickness=2, size=10).encode(
        x="control:Q", y=y, yOffset=inside, tooltip=tooltip
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x="value:Q",
        y=y,
        yOffset=inside,
        color=alt.Color("text:N", scale=alt.Scale(domain=texts, range=hues), legend=legend),
        shape=alt.Shape(
            "text:N",
            scale=alt.Scale(domain=texts, range=[_SHAPES.get(text, "square") for text in texts]),
            legend=legend,
        ),
        tooltip=tooltip,
    )
    framed = alt.Chart(pd.DataFrame({"name": [name for name in order if name == chosen]}))
    frame = framed.mark_rect(fillOpacity=0, stroke=RANDOM, strokeWidth=1.5, tooltip=None).encode(y=y)
    return alt.layer(control, middle, points, frame).properties(height={"step": _STEP, "for": "position"})
