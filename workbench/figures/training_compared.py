"""How several subjects learned: held-out loss against step, one line each."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, in_turn, require_columns

_DASHES = [[1, 0], [5, 3], [2, 2], [8, 3, 2, 3]]


def training_compared(losses: pd.DataFrame, height: int = 280, unit: str = "nats a token") -> alt.Chart:
    """One line a run.

    Args:
        losses: columns run, step, split and loss; the held-out ones are drawn, and those of training where a run has no
            others.
        height: in pixels.
        unit: what the loss is counted in.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(losses, ["run", "step", "split", "loss"], "training_compared")
    held_out = losses[losses["split"] == "held out"]
    without = ~losses["run"].isin(held_out["run"])
    shown = pd.concat([held_out, losses[without]])
    names = list(dict.fromkeys(losses["run"]))
    legend = alt.Legend(orient="top", direction="horizontal", title=None, labelLimit=300)
    return (
        alt.Chart(shown)
        .mark_line(strokeWidth=2, interpolate="monotone")
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format=",d", grid=False)),
            y=alt.Y("loss:Q", title=f"loss ({unit})", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "run:N", scale=alt.Scale(domain=names, range=in_turn(CATEGORIES, len(names))), legend=legend
            ),
            strokeDash=alt.StrokeDash(
                "run:N", scale=alt.Scale(domain=names, range=in_turn(_DASHES, len(names))), legend=legend
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("split:N"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("loss:Q", format=".3f", title=f"loss ({unit})"),
            ],
        )
        .properties(height=height)
    )
