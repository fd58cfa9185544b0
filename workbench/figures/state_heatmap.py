"""What the units of a recurrent layer hold as a text is read."""

from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns

Order = Literal["peak", "given"]
_STEP = 11  # pixels a unit, until there are so many that they are squeezed
_HEIGHTS = (150, 640)


def state_heatmap(
    states: pd.DataFrame, *, gate: bool = False, order: Order = "peak", here: int | None = None, unit: int | None = None
) -> Layers:
    """Units × positions. States: vermilion below zero, blue above, symmetric about it; gates: blue from 0 to 1.

    Args:
        states: tidy, columns `position`, `token` (its word), `unit` and `value`; every unit at every position.
        gate: the values are a gate's.
        order: of the units, from the top: by the position at which each is farthest from zero (a gate: most open), or
            as they are given.
        here: a position that is framed.
        unit: a unit that is framed.

    Raises:
        ValueError: a column is missing, or some unit has no value at some position.
    """
    require_columns(states, ["position", "token", "unit", "value"], "state_heatmap")
    wide = states.pivot_table(index="position", columns="unit", values="value", sort=False)
    if wide.isna().to_numpy().any() or wide.size != len(states):
        raise ValueError("state_heatmap needs one value of every unit at every position.")
    units = _ordered(wide, order)
    words = states.drop_duplicates("position").set_index("position")["token"]
    wide.columns = wide.columns.astype(str)
    table = wide.reset_index()
    # A word may stand at several positions: the number before it tells them apart, on the axis too.
    table["at"] = [f"{position}  {words[position]}" for position in table["position"]]
    x = alt.X(
        "at:N",
        sort=None,
        # By a domain: for an order by `sort` each cell is held against all the words, one by one.
        scale=alt.Scale(domain=table["at"].tolist()),
        title=None,
        axis=alt.Axis(labelAngle=-90, labelLimit=90, labelFontSize=10, labelOverlap=True, ticks=False, domain=False),
    )
    y = alt.Y(
        "unit:N",
        sort=None,
        scale=alt.Scale(domain=units),
        title="unit",
        axis=alt.Axis(labelFontSize=9, labelOverlap=True, ticks=False, domain=False),
    )
    # Sent as it is wide and unfolded by the reader's own machine: a tenth of the size.
    cells = (
        alt.Chart(table)
        .transform_fold([*units], as_=["unit", "value"])
        .mark_rect()
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "value:Q",
                scale=_colours(float(np.abs(wide.to_numpy()).max()), gate),
                legend=alt.Legend(title=None, orient="right", gradientLength=120, format=".2~f"),
            ),
            tooltip=[
                alt.Tooltip("at:N", title="token"),
                alt.Tooltip("unit:N"),
                alt.Tooltip("value:Q", format="+.3f" if not gate else ".3f"),
            ],
        )
    )
    frame = alt.MarkDef(type="rect", fillOpacity=0, stroke=RULE, strokeWidth=1.5, tooltip=None)
    at = table.loc[table["position"] == here, ["at"]]
    of = pd.DataFrame({"unit": [u for u in units if u == str(unit)]})
    column = alt.Chart(at, mark=frame).encode(x=x)
    row = alt.Chart(of, mark=frame).encode(y=y)
    low, high = _HEIGHTS
    return alt.layer(cells, column, row).properties(height=min(max(_STEP * len(units), low), high))


def _ordered(wide: pd.DataFrame, order: Order) -> list[str]:
    values = np.abs(wide.to_numpy())
    by = np.argsort(values.argmax(0), kind="stable") if order == "peak" else np.arange(values.shape[1])
    return [str(wide.columns[i]) for i in by]


def _colours(largest: float, gate: bool) -> alt.Scale:
    """Clear at zero, so that the page shows through, light or dark."""
    if gate:
        return alt.Scale(domain=[0, 1], range=[_clear(TRAINED), TRAINED])
    largest = max(largest, 1e-9)
    edge = largest * 1e-6
    hues = [NEURONS, _clear(NEURONS), _clear(TRAINED), TRAINED]
    return alt.Scale(domain=[-largest, -edge, edge, largest], range=hues)


def _clear(hue: str) -> str:
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0)"
