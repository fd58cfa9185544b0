"""What the readout would say already, layer by layer: in words at every position, and as one number a layer."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.hook_names import short_hooks
from workbench.figures.palette import CATEGORIES, RANDOM, Layers, in_turn, require_columns
from workbench.figures.panels import panels
from workbench.figures.words import position_labels, visible

_SHAPES = ["circle", "diamond", "triangle-up", "square"]


def lens_map(reading: pd.DataFrame, tokens: Sequence[str]) -> Layers:
    """Hooks × positions: the likeliest next token in words, its probability as colour; the control's map below.

    Args:
        reading: `hook` (in the order of the subject), `position`, `variant` (such as `logit lens` and `untrained`),
            `token` (the likeliest) and `probability`; one line of each.
        tokens: the words at positions from 0.

    Raises:
        ValueError: a column is missing, or a place has two lines.
    """
    require_columns(reading, ["hook", "position", "variant", "token", "probability"], "lens_map")
    short, words = short_hooks(reading["hook"].unique().tolist()), position_labels(tokens)
    at = reading["position"].astype(int)
    cells = pd.DataFrame(
        {
            "panel": reading["variant"],
            "row": reading["hook"].map(short),
            "column": at.map(dict(enumerate(words))),
            "value": reading["probability"],
            "word": reading["token"].map(visible),
        }
    )
    return panels(
        cells,
        rows=list(short.values())[::-1],
        columns=[words[i] for i in sorted(at.unique())],
        stack="below",
        title="probability of the likeliest token",
        signed=False,
        largest=1.0,
        words=True,
        tooltip=[alt.Tooltip("word:N", title="likeliest")],
        step=18,
    )


def lens_by_layer(lens: pd.DataFrame, measure: str, title: str | None = None) -> Layers:
    """A line a lens, from layer to layer, with its 95% interval; the controls' lines are grey or dashed.

    Args:
        lens: tidy: `hook` (in the order of the subject), `variant`, and the measure with `_low` and `_high` where
            it has an interval.
        measure: the column that is drawn.
        title: what it is.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(lens, ["hook", "variant", measure], "lens_by_layer")
    short = short_hooks(lens["hook"].unique().tolist())
    low, high = (
        lens[f"{measure}_{end}"] if f"{measure}_{end}" in lens else pd.Series(np.nan, lens.index)
        for end in ("low", "high")
    )
    table = pd.DataFrame(
        {
            "stage": lens["hook"].map(short),
            "variant": lens["variant"],
            "value": lens[measure],
            "low": low,
            "high": high,
        }
    )
    variants, stages = table["variant"].unique().tolist(), list(short.values())
    hues = dict(zip(variants, in_turn(CATEGORIES, len(variants)), strict=True)) | {"untrained": RANDOM}
    signs: dict[str, Any] = {
        "scale": alt.Scale(domain=variants, range=[hues[name] for name in variants]),
        "legend": alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1),
        "sort": variants,
    }
    x = alt.X("stage:N", title=None, sort=stages, axis=alt.Axis(labelAngle=-30, labelLimit=150))
    y = alt.Y("value:Q", title=title or measure, scale=alt.Scale(zero=False))
    colour = alt.Color("variant:N", **signs)
    shape = alt.Shape(
        "variant:N", **(signs | {"scale": alt.Scale(domain=variants, range=in_turn(_SHAPES, len(variants)))})
    )
    tooltip = [
        alt.Tooltip("stage:N", title="hook"),
        alt.Tooltip("variant:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
    ]
    base = alt.Chart(table)
    known = alt.Chart(table[table["low"].notna()])
    band = known.mark_rule(strokeWidth=2, opacity=0.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=46, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tooltip
    )
    return alt.layer(band, lines, points).properties(height=310)
