"""What each path restores when it alone is patched, beside moves as large along random directions."""

import altair as alt
import pandas as pd

from workbench.experiments.circuit_results import part_name, read_as
from workbench.figures.palette import RANDOM, RULE, TRAINED, Layers, require_columns

PATCH, CONTROL = "patch", "random direction"
_HUES = {PATCH: TRAINED, CONTROL: RANDOM}
_SHAPES = {PATCH: "circle", CONTROL: "cross"}
_LANE, _ROW_LIMIT = 14, 220  # pixels a variant; of a row's label


def path_effects(paths: pd.DataFrame, title: str = "share of the gap that is restored") -> Layers:
    """A row a path; in it a lane of the patch and one of random directions, each seed a mark with its interval.

    Args:
        paths: as `workbench.interventions.path_patching` makes it: `sender`, `receiver`, `norm`, `variant` (`patch` or
            `random direction`), `seed`, `effect`, `effect_low` and `effect_high`.
        title: what the effect is.

    Raises:
        ValueError: a column is missing, or a variant is unknown.
    """
    columns = ["sender", "receiver", "norm", "variant", "seed", "effect", "effect_low", "effect_high"]
    require_columns(paths, columns, "path_effects")
    if other := sorted(set(paths["variant"]) - set(_HUES)):
        raise ValueError(f"path_effects knows no variant {other[0]!r}: there are {', '.join(_HUES)}.")
    several = len(set(paths["norm"])) > 1
    rows = [
        f"{part_name(line.sender)} → {part_name(line.receiver)} {read_as(line.receiver)}".strip()
        + (f", norms {line.norm}" if several else "")
        for line in paths.itertuples()
    ]
    shown = paths[["variant", "effect", "effect_low", "effect_high"]].set_axis(
        ["variant", "effect", "low", "high"], axis=1
    )
    shown = shown.assign(path=rows)
    present = [name for name in _HUES if name in set(shown["variant"])]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    x = alt.X("effect:Q", title=title, scale=alt.Scale(zero=True, padding=8), axis=alt.Axis(tickCount=6))
    y = alt.Y(
        "path:N",
        title=None,
        scale=alt.Scale(domain=list(dict.fromkeys(rows)), paddingInner=0.25),
        axis=alt.Axis(labelLimit=_ROW_LIMIT, labelOverlap=False, ticks=False, domain=False),
    )
    lane = alt.YOffset("variant:N", scale=alt.Scale(domain=present))
    hues = alt.Scale(domain=present, range=[_HUES[name] for name in present])
    shapes = alt.Scale(domain=present, range=[_SHAPES[name] for name in present])
    colour = alt.Color("variant:N", sort=present, scale=hues, legend=legend)
    tooltip = [
        alt.Tooltip("path:N"),
        alt.Tooltip("variant:N", title="patched"),
        alt.Tooltip("effect:Q", format="+.3f"),
        alt.Tooltip("low:Q", format="+.3f", title="at least (95%)"),
        alt.Tooltip("high:Q", format="+.3f", title="at most (95%)"),
    ]
    zero = alt.Chart(pd.DataFrame({"effect": [0.0]})).mark_rule(color=RULE, tooltip=None).encode(x=x)
    base = alt.Chart(shown)
    ends = base.mark_rule(strokeWidth=2, opacity=0.45).encode(
        x=alt.X("low:Q"), x2="high:Q", y=y, yOffset=lane, color=colour
    )
    points = base.mark_point(filled=True, size=52, opacity=1).encode(
        x=x,
        y=y,
        yOffset=lane,
        color=colour,
        shape=alt.Shape("variant:N", sort=present, scale=shapes, legend=legend),
        tooltip=tooltip,
    )
    return alt.layer(zero, ends, points).properties(height={"step": _LANE, "for": "offset"})
