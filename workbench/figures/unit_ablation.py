"""What it costs to hold a unit still: the rise of the loss where its label holds and where not, beside random units."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, RULE, TRAINED, Layers, require_columns

_HUES = {"unit": TRAINED, "random unit": RANDOM}
_SHAPES = {"where it holds": "circle", "elsewhere": "diamond"}
_ROW = 30  # pixels a label


def unit_ablation(ablation: pd.DataFrame, units: dict[str, int]) -> Layers:
    """A row a label: how much the loss rises when its unit is clamped to its mean, and when random units are.

    Args:
        ablation: as `workbench dynamics` makes it: `unit`, `variant` (`unit` or `random unit`), `label`, `rise_on`
            (where the label holds) and `rise_off`, in the loss's own unit.
        units: the unit that was chosen for each label that is shown, in their order.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(ablation, ["unit", "variant", "label", "rise_on", "rise_off"], "unit_ablation")
    shown = ablation[ablation["label"].isin(units)]
    own = (shown["variant"] == "unit") & (shown["unit"] == shown["label"].map(units))
    shown = shown[own | (shown["variant"] == "random unit")]
    names = {f"rise_{end}": where for end, where in zip(("on", "off"), _SHAPES, strict=True)}
    table = shown.melt(["unit", "variant", "label"], list(names), "where", "rise").replace({"where": names})
    table = table.dropna(subset="rise").assign(
        row=[f"{n} (unit {units[n]})" for n in table.dropna(subset="rise")["label"]]
    )
    table = table.sort_values("variant", kind="stable")  # a label's own unit over the random ones
    present = [name for name in _HUES if name in set(table["variant"])]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    zero = alt.Chart(pd.DataFrame({"rise": [0.0]})).mark_rule(color=RULE, strokeDash=[3, 3], tooltip=None)
    x = alt.X("rise:Q", title="rise of the loss", scale=alt.Scale(padding=8), axis=alt.Axis(tickCount=5))
    marks = alt.Chart(table).mark_point(filled=True, size=70, opacity=0.9)
    return alt.layer(
        zero.encode(x=x),
        marks.encode(
            x=x,
            y=alt.Y(
                "row:N",
                title=None,
                scale=alt.Scale(domain=[f"{name} (unit {unit})" for name, unit in units.items()]),
                axis=alt.Axis(labelLimit=200, labelOverlap=False, ticks=False, domain=False),
            ),
            yOffset=alt.YOffset("where:N", scale=alt.Scale(domain=list(_SHAPES))),
            color=alt.Color(
                "variant:N",
                title=None,
                sort=present,
                scale=alt.Scale(domain=present, range=[_HUES[name] for name in present]),
                legend=legend,
            ),
            shape=alt.Shape(
                "where:N",
                title=None,
                sort=list(_SHAPES),
                scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())),
                legend=alt.Legend(orient="bottom", direction="horizontal", title=None, symbolFillColor=RULE),
            ),
            tooltip=[
                alt.Tooltip("label:N"),
                alt.Tooltip("variant:N", title="clamped"),
                alt.Tooltip("unit:Q", format="d"),
                alt.Tooltip("where:N"),
                alt.Tooltip("rise:Q", format="+.4f", title="rise of the loss"),
            ],
        ),
    ).properties(height={"step": _ROW, "for": "position"})
