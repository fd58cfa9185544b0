"""How well one label is read, hook after hook, and what every control reaches there."""

from typing import Any

import altair as alt
import pandas as pd

from workbench.figures.palette import PROBE_VARIANTS, Layers, require_columns
from workbench.figures.probe_scores import SCORES, Score, measured, reasons

_SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down"]
_DASHES = [[1, 0], [6, 3], [4, 2], [1, 0], [2, 2], [1, 4]]
# The probe's own interval is seen first.
_BAND, _CONTROLS_BAND = 0.25, 0.09
# Of bands too: the signs would be as faint as these otherwise.
_LEGEND = alt.Legend(orient="top", direction="horizontal", symbolStrokeWidth=2, symbolOpacity=1)


def probe_by_hook(results: pd.DataFrame, score: Score = "balanced_accuracy", height: int = 300) -> Layers:
    """A line a variant over the hooks in the order in which they come, each within the interval of its score.

    Args:
        results: tidy, of one label and one estimator, as `workbench probe` makes it: `hook`, `variant`, `note`, and
            the score with `_low` and `_high` where it has an interval.
        score: which.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or there are two lines of one hook and variant.
    """
    require_columns(results, ["hook", "variant", "note", score], "probe_by_hook")
    if results.duplicated(["hook", "variant"]).any():
        raise ValueError("probe_by_hook needs one line of every hook and variant: choose a label and an estimator.")
    hooks, present = results["hook"].unique().tolist(), measured(results, score)
    shown = results[results[score].notna()]
    lines = pd.DataFrame({"hook": shown["hook"], "variant": shown["variant"], "value": shown[score]})
    lines["why"] = reasons(shown, score)
    for end in ("low", "high"):
        lines[end] = shown.get(f"{score}_{end}")
    x = alt.X(
        "hook:N",
        title=None,
        scale=alt.Scale(domain=hooks),
        axis=alt.Axis(labelAngle=-30, labelLimit=170, labelOverlap=False, grid=True, gridOpacity=0.3),
    )
    y = alt.Y("value:Q", title=SCORES[score], scale=alt.Scale(zero=False, padding=6), axis=alt.Axis(tickCount=6))
    return alt.layer(*_intervals(lines, x, present), *_lines(lines, x, y, present)).properties(height=height)


def _lines(lines: pd.DataFrame, x: alt.X, y: alt.Y, present: list[str]) -> list[alt.Chart]:
    at = [list(PROBE_VARIANTS).index(name) for name in present]
    how: dict[str, Any] = {"title": None, "sort": present, "legend": _LEGEND}
    dash = alt.StrokeDash("variant:N", scale=alt.Scale(domain=present, range=[_DASHES[i] for i in at]), **how)
    shape = alt.Shape("variant:N", scale=alt.Scale(domain=present, range=[_SHAPES[i] for i in at]), **how)
    tooltip = [
        alt.Tooltip("variant:N", title="of"),
        alt.Tooltip("hook:N"),
        alt.Tooltip("value:Q", format=".3f", title="score"),
        alt.Tooltip("low:Q", format=".3f", title="at least (95%)"),
        alt.Tooltip("high:Q", format=".3f", title="at most (95%)"),
        alt.Tooltip("why:N", title="note"),
    ]
    base = alt.Chart(lines).encode(x=x, y=y, color=_colour(present))
    return [
        base.mark_line(strokeWidth=2).encode(strokeDash=dash),
        base.mark_point(filled=True, size=55, opacity=1).encode(shape=shape, tooltip=tooltip),
    ]


def _intervals(lines: pd.DataFrame, x: alt.X, present: list[str]) -> list[alt.Chart]:
    """Bands, or, where there is one hook only and a band has no width, upright strokes."""
    known = lines[lines["low"].notna()]
    if known.empty:
        return []
    single = len(set(lines["hook"])) == 1
    drawn = []
    for part, opacity in ((known["variant"] == "probe", _BAND), (known["variant"] != "probe", _CONTROLS_BAND)):
        chart = alt.Chart(known[part])
        marked = chart.mark_rule(strokeWidth=2) if single else chart.mark_area(opacity=opacity, tooltip=None)
        drawn.append(marked.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=_colour(present)))
    return drawn[::-1]


def _colour(present: list[str]) -> alt.Color:
    scale = alt.Scale(domain=present, range=[PROBE_VARIANTS[name] for name in present])
    return alt.Color("variant:N", title=None, sort=present, scale=scale, legend=_LEGEND)
