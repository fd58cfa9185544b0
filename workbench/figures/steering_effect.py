"""What steering does at each strength, beside pushes as large along random directions."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, RANDOM, RULE, TRAINED, Layers, in_turn, require_columns

UNSTEERED, STEERED, CONTROL = "unsteered", "steered", "random direction"


def steering_effect(
    steering: pd.DataFrame, measure: str, title: str | None = None, *, by: str | None = None, strength: str = "strength"
) -> Layers:
    """Strength against a measure of the text: means over prompts, and for random directions over seeds too.

    Crosses in grey are random directions, each seed a small mark; the dashed rule is the unsteered text.

    Args:
        steering: as `workbench.interventions.steer` makes it: `edit`, `strength`, `variant` (`unsteered`, `steered` or
            `random direction`), `seed`, and the measure.
        measure: the column that is drawn, such as `loss` or `score`.
        title: what it is.
        by: the column that tells edits along several directions apart: a line and a colour each.
        strength: what the strength is called, with its unit.

    Raises:
        ValueError: a column is missing, or several edits have one strength and nothing tells them apart.
    """
    columns = ["strength", "variant", "seed", measure]
    require_columns(steering, ["edit", *columns, *([by] if by else [])], "steering_effect")
    steered = steering[steering["variant"] == STEERED]
    edits = steered.groupby("strength")["edit"].nunique()
    if by is None and (edits > 1).any():
        raise ValueError(
            f"{edits.max()} edits have the strength {edits.idxmax():g}: name by, the column that tells their "
            "directions apart, such as edit."
        )
    table = steering[columns].set_axis(["strength", "variant", "seed", "value"], axis=1)
    table["series"] = (steering[by].astype(str) if by else table["variant"]).where(table["variant"] != CONTROL, CONTROL)
    moved = table[table["variant"] != UNSTEERED]
    means = moved.groupby(["series", "strength"], as_index=False, sort=False)["value"].mean()
    controls = moved[moved["variant"] == CONTROL]
    each = controls.groupby(["series", "strength", "seed"], as_index=False)["value"].mean()
    ours = [name for name in means["series"].unique() if name != CONTROL]
    present = [*ours, *([CONTROL] if len(controls) else [])]
    hues = ([TRAINED] if by is None else in_turn(CATEGORIES, len(ours))) + [RANDOM]
    shapes = ["circle"] * len(ours) + ["cross"]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    x = alt.X("strength:Q", title=strength)
    y = alt.Y("value:Q", title=title or measure, scale=alt.Scale(zero=False))
    colour = alt.Color(
        "series:N", sort=present, scale=alt.Scale(domain=present, range=hues[: len(present)]), legend=legend
    )
    shape = alt.Shape(
        "series:N", sort=present, scale=alt.Scale(domain=present, range=shapes[: len(present)]), legend=legend
    )
    tooltip = [alt.Tooltip("series:N"), alt.Tooltip("strength:Q"), alt.Tooltip("value:Q", format=".3f")]
    still = alt.Chart(pd.DataFrame({"value": [table.loc[table["variant"] == UNSTEERED, "value"].mean()]}).dropna())
    return alt.layer(
        still.mark_rule(color=RULE, strokeDash=[4, 3]).encode(y=y),
        alt.Chart(each).mark_point(size=22, opacity=0.5).encode(x=x, y=y, color=colour),
        alt.Chart(means).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        alt.Chart(means)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ).properties(height=300)
