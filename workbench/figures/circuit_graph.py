"""A circuit as a graph: parts of a subject from its input up, and what passes between them, beside a control's."""

from collections.abc import Collection, Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns

Stages = Sequence[Sequence[str]]
Places = Mapping[str, tuple[float, float]]  # of each node in its panel
_WIDTH, _STAGE = 1.0, 62  # of a panel; pixels a stage
_GAP = 0.25
_MOST_NAMED = 16  # nodes side by side whose names lie flat


def circuit_graph(
    edges: pd.DataFrame,
    stages: Stages,
    *,
    most: int = 40,
    known: Collection[tuple[str, str]] = (),
    names: Mapping[str, str] | None = None,
) -> Layers:
    """The strongest edges between nodes: blue raises the metric, vermilion lowers it, as thick as it is strong.

    Every variant is a panel, the control beside the method, on one scale. Edges of a circuit that is known have a halo.

    Args:
        edges: `sender`, `receiver`, `score` and `variant`; one line of each. A `note` is told where the pointer is.
        stages: the nodes from the input up, those of one depth together; an empty name leaves a place free.
        most: edges of each variant.
        known: pairs (sender, receiver) that are truly there.
        names: what is written at a node, where that is not its name.

    Raises:
        ValueError: a column is missing, or an edge is of a node that no stage has.
    """
    require_columns(edges, ["sender", "receiver", "score", "variant"], "circuit_graph")
    places = {
        node: ((i + 0.5) / len(stage), float(depth))
        for depth, stage in enumerate(stages)
        for i, node in enumerate(stage)
        if node
    }
    if foreign := sorted({*edges["sender"], *edges["receiver"]} - set(places)):
        raise ValueError(f"the edge of {foreign[0]!r} has no place: no stage has that node.")
    variants = edges["variant"].unique().tolist()
    left = {variant: i * (_WIDTH + _GAP) for i, variant in enumerate(variants)}
    lines, nodes = _lines(edges, places, left, most, set(known)), _nodes(places, left, names or {})
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, len(variants) * (_WIDTH + _GAP) - _GAP], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.6, len(stages) - 0.2], nice=False))
    halo = (
        alt.Chart(lines[lines["known"]])
        .mark_rule(color=RULE, strokeWidth=9, opacity=0.25, tooltip=None)
        .encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
    )
    dots = alt.Chart(nodes).mark_point(filled=True, size=70, color=RULE, opacity=1).encode(x=x, y=y, tooltip="node:N")
    crowded = max(sum(map(bool, stage)) for stage in stages) * len(variants) > _MOST_NAMED
    # Edges come from below: what only receives them has its name above.
    ends_here = ~nodes["node"].isin(set(edges["sender"]))
    words = [
        alt.Chart(nodes[of])
        .mark_text(fontSize=10, dy=dy, color=RULE, angle=angle if crowded else 0, tooltip=None)
        .encode(x=x, y=y, text="name:N")
        for of, dy, angle in ((ends_here, -11, 340), (~ends_here, 13, 20))
    ]
    titles = (
        alt.Chart(pd.DataFrame({"variant": variants, "x": [left[v] for v in variants], "y": len(stages) - 0.4}))
        .mark_text(align="left", fontWeight="bold", color=RULE, tooltip=None)
        .encode(x=x, y=y, text="variant:N")
    )
    return alt.layer(halo, _drawn(lines, x, y), dots, *words, titles).properties(
        height=int(np.clip(_STAGE * len(stages), 240, 720))
    )


def _lines(
    edges: pd.DataFrame,
    places: Places,
    left: Mapping[str, float],
    most: int,
    known: Collection[tuple[str, str]],
) -> pd.DataFrame:
    """The strongest edges of each variant, and where they begin and end."""
    best = edges.assign(size=edges["score"].abs()).sort_values("size", ascending=False, kind="stable")
    shown = best[best["size"] > 0].groupby("variant", sort=False).head(most)

    def at(end: str) -> tuple[list[float], list[float]]:
        there = [(*places[node], left[variant]) for node, variant in zip(shown[end], shown["variant"], strict=True)]
        return [x + shift for x, _, shift in there], [y for _, y, _ in there]

    (x, y), (x2, y2) = at("sender"), at("receiver")
    pairs = zip(shown["sender"], shown["receiver"], strict=True)
    return shown.assign(x=x, y=y, x2=x2, y2=y2, known=[pair in known for pair in pairs])


def _nodes(places: Places, left: Mapping[str, float], names: Mapping[str, str]) -> pd.DataFrame:
    """Every node in every panel."""
    found = [
        {"node": node, "name": names.get(node, node), "variant": variant, "x": x + shift, "y": y}
        for variant, shift in left.items()
        for node, (x, y) in places.items()
    ]
    return pd.DataFrame(found)


def _drawn(lines: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """The edges by sign and strength."""
    top = max(float(lines["size"].max()) if len(lines) else 0.0, 1e-9)
    tooltip = [
        alt.Tooltip("sender:N"),
        alt.Tooltip("receiver:N"),
        alt.Tooltip("variant:N"),
        alt.Tooltip("score:Q", format="+.4f"),
        *([alt.Tooltip("note:N", title="as its")] if "note" in lines else []),
    ]
    return (
        alt.Chart(lines)
        .mark_rule()
        .encode(
            x=x,
            y=y,
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color(
                "score:Q",
                scale=alt.Scale(domain=[-top, -1e-12, 1e-12, top], range=[NEURONS, NEURONS, TRAINED, TRAINED]),
                legend=None,
            ),
            strokeWidth=alt.StrokeWidth("size:Q", scale=alt.Scale(domain=[0, top], range=[0.6, 5]), legend=None),
            opacity=alt.Opacity("size:Q", scale=alt.Scale(domain=[0, top], range=[0.4, 1]), legend=None),
            tooltip=tooltip,
        )
    )
