"""How much of the metric a circuit keeps, by how large it is, beside random circuits as large."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, NEURONS, RANDOM, RULE, Layers, in_turn, require_columns

AT_RANDOM = "random: "  # before the name of what is as large and drawn at random
_SHAPES = ["circle", "diamond", "triangle-up", "square"]
_SIZES = ("edges", "nodes")


def faithfulness(table: pd.DataFrame, title: str = "share of the metric") -> Layers:
    """The number of edges or nodes against the share of the metric that is left, with its interval.

    A colour each: of edges what they do alone and what is left without them, of nodes latents and neurons. Grey and
    dashed is the mean of random circuits as large, of the same shape; each of them is a small mark. The rules are every
    part ablated (0) and the whole subject (1).

    Args:
        table: of edges as `workbench.circuits.faithfulness` makes it: `edges` and `left`; of nodes as
            `workbench.circuits.feature_faithfulness` does: `nodes` and `errors`, with `dictionary` where there are
            several. Of both: `seed` (none of the circuit itself), `share`, `share_low` and `share_high`.
        title: what the share is of.

    Raises:
        ValueError: a column is missing, or there is nothing to draw.
    """
    size = next((name for name in _SIZES if name in table.columns), _SIZES[0])
    kind = "left" if size == "edges" else "errors"
    require_columns(table, [size, kind, "seed", "share", "share_low", "share_high"], "faithfulness")
    if table.empty:
        raise ValueError("there is nothing to draw: the table has no line.")
    shown = pd.DataFrame({"size": table[size], "seed": table["seed"], "share": table["share"]})
    shown = shown.assign(low=table["share_low"], high=table["share_high"], kind=_kinds(table, kind))
    random = shown["seed"].notna()
    shown["series"] = shown["kind"].where(~random, AT_RANDOM + shown["kind"])
    kinds = shown["kind"].unique().tolist()
    present = [*kinds, *(AT_RANDOM + name for name in kinds if (random & (shown["kind"] == name)).any())]
    means = shown.groupby(["series", "size"], as_index=False, sort=False)["share"].mean()
    means["random"] = means["series"].str.startswith(AT_RANDOM)
    legend = alt.Legend(orient="top", direction="horizontal", title=None, columns=2, symbolOpacity=1, labelLimit=220)
    others = [name for name in kinds if name != "neurons"]  # whose colour is the same in every figure
    hues = dict(zip(others, in_turn([hue for hue in CATEGORIES if hue != NEURONS], len(others)), strict=True))
    hues["neurons"] = NEURONS
    shapes = dict(zip(kinds, in_turn(_SHAPES, len(kinds)), strict=True))
    colours = alt.Scale(domain=present, range=[hues.get(name, RANDOM) for name in present])
    marks = alt.Scale(domain=present, range=[shapes[name.removeprefix(AT_RANDOM)] for name in present])
    colour = alt.Color("series:N", sort=present, scale=colours, legend=legend)
    shape = alt.Shape("series:N", sort=present, scale=marks, legend=legend)
    dash = alt.StrokeDash("random:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [4, 3]]), legend=None)
    x = alt.X(
        "size:Q",
        title=f"{size} of the circuit",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(format=",d", tickCount=5),
    )
    y = alt.Y("share:Q", title=title)
    tooltip = [
        alt.Tooltip("series:N", title="circuit"),
        alt.Tooltip("size:Q", title=size, format=","),
        alt.Tooltip("share:Q", format=".3f"),
    ]
    ends = alt.Chart(pd.DataFrame({"share": [0.0, 1.0]})).mark_rule(color=RULE, strokeDash=[2, 3], tooltip=None)
    return alt.layer(
        ends.encode(y=y),
        alt.Chart(shown[random]).mark_point(size=16, opacity=0.5).encode(x=x, y=y, color=colour, shape=shape),
        alt.Chart(shown[~random])
        .mark_rule(strokeWidth=2, opacity=0.5)
        .encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        alt.Chart(means).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
        alt.Chart(means)
        .mark_point(filled=True, size=50, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ).properties(height=280)


def _kinds(table: pd.DataFrame, kind: str) -> pd.Series:
    """What each line is of: of edges what is left; of nodes the dictionary, and whether its errors are kept too."""
    if kind == "left":
        return table["left"]
    of = table["dictionary"] if "dictionary" in table.columns else pd.Series("nodes", index=table.index)
    return of.where(table["errors"] != "kept", of + ", errors kept")
