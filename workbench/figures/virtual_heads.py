"""Virtual heads: how much each pair of heads composes, and whether what it makes copies; beside random pairs."""

import altair as alt
import pandas as pd

from workbench.figures.hook_names import head_names
from workbench.figures.palette import NEURONS, RANDOM, TRAINED, Layers, require_columns


def virtual_heads(pairs: pd.DataFrame, chosen: str | None = None, height: int = 260) -> Layers:
    """A dot a pair: its composition to the right, its copying upwards; grey lines, the 99th percentile of random pairs.

    Args:
        pairs: as `workbench.attention.virtual_heads` makes it: `from_layer`, `from_head`, `to_layer`, `to_head` (NA of
            single heads, which are left out), `share`, `composition`, `copying`, `random_copying_high`,
            `random_composition_high`.
        chosen: the name of a head (`layer.head`) whose pairs are vermilion.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or no line is a pair.
    """
    numbers = ["share", "composition", "copying", "random_copying_high", "random_composition_high"]
    require_columns(pairs, ["from_layer", "from_head", "to_layer", "to_head", *numbers], "virtual_heads")
    two = pairs[pairs["to_layer"].notna()]
    if two.empty:
        raise ValueError("virtual_heads has no pair to draw: every line is of a single head.")
    earlier, later = head_names(two, "from_layer", "from_head"), head_names(two, "to_layer", "to_head")
    table = two[numbers].assign(pair=earlier + " → " + later, own=(earlier == chosen) | (later == chosen))
    names = {True: f"with head {chosen}", False: "other pairs" if table["own"].any() else "pairs of heads"}
    table["of"] = table["own"].map(names)
    present = [names[own] for own in (True, False) if (table["own"] == own).any()]
    hues = {names[True]: NEURONS, names[False]: TRAINED}
    tooltip = [
        alt.Tooltip("pair:N"),
        alt.Tooltip("composition:Q", format=".3f"),
        alt.Tooltip("copying:Q", format="+.3f"),
        alt.Tooltip("share:Q", format=".2%", title="share of all paths"),
        alt.Tooltip("random_composition_high:Q", format=".3f", title="random composition, 99%"),
        alt.Tooltip("random_copying_high:Q", format=".3f", title="random copying, 99%"),
    ]
    dots = (
        alt.Chart(table)
        .mark_point(filled=True, size=60, opacity=0.9)
        .encode(
            x=alt.X(
                "composition:Q",
                title="V-composition (grey lines: random pairs' 99th percentile)",
                scale=alt.Scale(zero=False, padding=12),
            ),
            y=alt.Y("copying:Q", title="copying of the pair"),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=present, range=[hues[name] for name in present]),
                legend=alt.Legend(orient="top", direction="horizontal", symbolOpacity=1),
            ),
            tooltip=tooltip,
        )
    )
    lines = alt.Chart(table.iloc[:1])
    rule = lines.mark_rule(color=RANDOM, strokeWidth=1.5, strokeDash=[4, 3], tooltip=None)
    return alt.layer(
        rule.encode(x="random_composition_high:Q"),
        rule.encode(y="random_copying_high:Q"),
        dots,
    ).properties(height=height)
