"""What swapping along learned directions does, hook by hook, beside everything that it is held against."""

import altair as alt
import pandas as pd

from workbench.experiments.rotation_results import VARIANTS
from workbench.figures.hook_names import short_hooks
from workbench.figures.lanes import in_lanes
from workbench.figures.palette import NEURONS, PCA, RANDOM, TRAINED, Layers, require_columns

SCORES = {"said": "share of pairs that say the corrupt answer", "effect": "share of the way to the corrupt runs"}
_HUES = dict(zip(VARIANTS, (TRAINED, PCA, "#a9713a", RANDOM, "#d99a00", NEURONS), strict=True))
_SHAPES = dict(zip(VARIANTS, ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross"), strict=True))
_LANE = 11  # pixels a variant
_ROW_LIMIT = 200


def rotation_scores(table: pd.DataFrame, score: str = "said") -> Layers:
    """A row a hook and number of directions; in it a lane of the learned ones and of each control, with its interval.

    Args:
        table: as `workbench patch --method rotation` makes it: `hook`, `k`, `variant`, `seed`, and the score with its
            `_low` and `_high`. Every random frame is a point.
        score: `said` or `effect`.

    Raises:
        ValueError: the score or a variant is unknown, or a column is missing.
    """
    if score not in SCORES:
        raise ValueError(f"rotation_scores draws no {score!r}: it draws {' or '.join(SCORES)}.")
    require_columns(table, ["hook", "k", "variant", "seed", score, f"{score}_low", f"{score}_high"], "rotation_scores")
    if other := sorted(set(table["variant"]) - set(_HUES)):
        raise ValueError(f"rotation_scores knows no variant {other[0]!r}: there are {', '.join(_HUES)}.")
    short = short_hooks(table["hook"].unique().tolist())
    several = len(set(table["k"])) > 1
    rows = [f"{short[h]}, {k}" if several else short[h] for h, k in zip(table["hook"], table["k"], strict=True)]
    shown = pd.DataFrame({"row": rows, "k": table["k"], "hook": table["hook"], "variant": table["variant"]})
    for name, column in (("score", score), ("low", f"{score}_low"), ("high", f"{score}_high")):
        shown[name] = table[column].to_numpy()
    shown = shown.dropna(subset="score")
    legend = alt.Legend(orient="top", direction="horizontal", title=None, columns=3, symbolOpacity=1)
    x = alt.X("score:Q", title=SCORES[score], scale=alt.Scale(zero=True, padding=8), axis=alt.Axis(tickCount=6))
    y = alt.Y(
        "row:N",
        title="hook, directions" if several else None,
        scale=alt.Scale(domain=list(dict.fromkeys(rows)), paddingInner=0.25),
        axis=alt.Axis(labelLimit=_ROW_LIMIT, labelOverlap=False, ticks=False, domain=False),
    )
    tooltip = [
        alt.Tooltip("hook:N"),
        alt.Tooltip("k:Q", title="directions", format="d"),
        alt.Tooltip("variant:N", title="swapped"),
        alt.Tooltip("score:Q", format="+.3f"),
        alt.Tooltip("low:Q", format="+.3f", title="at least (95%)"),
        alt.Tooltip("high:Q", format="+.3f", title="at most (95%)"),
    ]
    return in_lanes(shown, "score", x, y, _HUES, _SHAPES, legend, tooltip, _LANE)
