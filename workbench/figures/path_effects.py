"""What each path restores when it alone is patched, beside moves as large along random directions."""

import altair as alt
import pandas as pd

from workbench.experiments.circuit_results import part_name, read_as
from workbench.figures.lanes import in_lanes
from workbench.figures.palette import RANDOM, TRAINED, Layers, require_columns

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
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    x = alt.X("effect:Q", title=title, scale=alt.Scale(zero=True, padding=8), axis=alt.Axis(tickCount=6))
    y = alt.Y(
        "path:N",
        title=None,
        scale=alt.Scale(domain=list(dict.fromkeys(rows)), paddingInner=0.25),
        axis=alt.Axis(labelLimit=_ROW_LIMIT, labelOverlap=False, ticks=False, domain=False),
    )
    tooltip = [
        alt.Tooltip("path:N"),
        alt.Tooltip("variant:N", title="patched"),
        alt.Tooltip("effect:Q", format="+.3f"),
        alt.Tooltip("low:Q", format="+.3f", title="at least (95%)"),
        alt.Tooltip("high:Q", format="+.3f", title="at most (95%)"),
    ]
    return in_lanes(shown, "effect", x, y, _HUES, _SHAPES, legend, tooltip, _LANE)
