"""What each part of a subject adds to a logit, beside what it adds to random answers."""

import altair as alt
import pandas as pd

from workbench.figures.palette import NEURONS, RANDOM, RULE, TRAINED, Layers, require_columns

MOST = 24  # bars
REST = "all others"
_INTERVAL = "#5b6673"  # stands out from bars, and from a page light or dark
_STEP = 20  # pixels a bar


def component_bars(parts: pd.DataFrame, title: str = "added to the logit difference") -> Layers:
    """A bar a part, in the order given; the largest of very many, and what is left over as one bar.

    Blue raises the answer, vermilion lowers it. Grey: from the 2.5th to the 97.5th percentile of what the part adds for
    random answers instead.

    Args:
        parts: `part` (its name) and `value`; `control_low` and `control_high`, NaN where there are none; `low` and
            `high`, the value's 95% interval, where there is one. One line a part.
        title: what the numbers are.

    Raises:
        ValueError: a column is missing, or a part has two lines.
    """
    require_columns(parts, ["part", "value", "control_low", "control_high"], "component_bars")
    if parts["part"].duplicated().any():
        raise ValueError("component_bars needs one line of every part: choose among the others, or take their mean.")
    table = _largest(parts.reset_index(drop=True)).assign(
        sign=lambda t: ["raises the answer" if v >= 0 else "lowers it" for v in t["value"]]
    )
    order = table["part"].tolist()
    y = alt.Y(
        "part:N",
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelLimit=170, labelOverlap=False, ticks=False, domain=False),
    )
    hues = {"raises the answer": TRAINED, "lowers it": NEURONS}
    tooltip = [
        alt.Tooltip("part:N"),
        alt.Tooltip("value:Q", format="+.3f"),
        alt.Tooltip("control_low:Q", format="+.3f", title="random answers from"),
        alt.Tooltip("control_high:Q", format="+.3f", title="random answers to"),
    ]
    base = alt.Chart(table)
    bars = base.mark_bar(height={"band": 0.66}).encode(
        x=alt.X("value:Q", title=f"{title} (grey: to random answers)"),
        y=y,
        color=alt.Color(
            "sign:N",
            scale=alt.Scale(domain=list(hues), range=list(hues.values())),
            legend=alt.Legend(orient="top", direction="horizontal", title=None),
        ),
        tooltip=tooltip,
    )
    control = (
        alt.Chart(table[table["control_low"].notna()])
        .mark_rule(color=RANDOM, strokeWidth=4, opacity=0.85)
        .encode(x="control_low:Q", x2="control_high:Q", y=y, tooltip=tooltip)
    )
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=RULE, tooltip=None).encode(x="value:Q")
    layers = [bars, control, zero]
    if "low" in table and table["low"].notna().any():
        known = alt.Chart(table[table["low"].notna()])
        layers.append(known.mark_rule(color=_INTERVAL, strokeWidth=1.4).encode(x="low:Q", x2="high:Q", y=y))
    return alt.layer(*layers).properties(height=alt.Step(_STEP))


def _largest(parts: pd.DataFrame) -> pd.DataFrame:
    """The largest parts in the order in which they came, and the sum of the others."""
    if len(parts) <= MOST:
        return parts
    kept = parts["value"].abs().nlargest(MOST - 1).index.sort_values()
    rest = {"part": f"{REST} ({len(parts) - len(kept)})", "value": parts.drop(kept)["value"].sum()}
    return pd.concat([parts.loc[kept], pd.DataFrame([rest])], ignore_index=True)
