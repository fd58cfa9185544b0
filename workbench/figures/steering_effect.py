"""What steering does at each strength, beside pushes as large along random directions."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, RULE, TRAINED, Layers, require_columns

_HUES = {"steered": TRAINED, "random direction": RANDOM}
_SHAPES = {"steered": "circle", "random direction": "cross"}
UNSTEERED = "unsteered"


def steering_effect(steering: pd.DataFrame, measure: str, title: str | None = None) -> Layers:
    """Strength against a measure of the text: means over prompts, and for random directions over seeds too.

    The dashed rule is the unsteered text.

    Args:
        steering: as `workbench.interventions.steer` makes it: `strength`, `variant` (`unsteered`, `steered` or `random
            direction`), `seed`, and the measure.
        measure: the column that is drawn, such as `loss` or `score`.
        title: what it is.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(steering, ["strength", "variant", "seed", measure], "steering_effect")
    table = steering.rename(columns={measure: "value"})[["strength", "variant", "seed", "value"]]
    moved = table[table["variant"].isin(_HUES)]
    means = moved.groupby(["variant", "strength"], as_index=False)["value"].mean()
    each = moved.groupby(["variant", "strength", "seed"], as_index=False, dropna=False)["value"].mean()
    present = [name for name in _HUES if name in set(means["variant"])]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    x = alt.X("strength:Q")
    y = alt.Y("value:Q", title=title or measure, scale=alt.Scale(zero=False))
    colour = alt.Color(
        "variant:N", sort=present, scale=alt.Scale(domain=present, range=[_HUES[n] for n in present]), legend=legend
    )
    shape = alt.Shape(
        "variant:N", sort=present, scale=alt.Scale(domain=present, range=[_SHAPES[n] for n in present]), legend=legend
    )
    tooltip = [alt.Tooltip("variant:N"), alt.Tooltip("strength:Q"), alt.Tooltip("value:Q", format=".3f")]
    still = alt.Chart(pd.DataFrame({"value": [table.loc[table["variant"] == UNSTEERED, "value"].mean()]}).dropna())
    return alt.layer(
        still.mark_rule(color=RULE, strokeDash=[4, 3]).encode(y=y),
        alt.Chart(each[each["variant"] != "steered"]).mark_point(size=22, opacity=0.5).encode(x=x, y=y, color=colour),
        alt.Chart(means).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        alt.Chart(means)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ).properties(height=300)
