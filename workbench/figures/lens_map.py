"""What the readout would say already, layer by layer: in words at every position, and as one number a layer."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from workbench.figures.hook_names import short_hooks
from workbench.figures.palette import CATEGORIES, RANDOM, Layers, in_turn, require_columns
from workbench.figures.panels import panels
from workbench.figures.words import position_labels, visible

_SHAPES = ["circle", "diamond", "triangle-up", "square", "cross", "triangle-down"]


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
    """A line a lens, from layer to layer, with its 95% interval; what counting alone gives is a dashed rule.

    Args:
        lens: as `workbench.interventions.logit_lens` makes it: `hook` (in the order of the subject; none of what was
            only counted), `variant`, `measure`, `value`, `low` and `high`. Of several draws the mean is drawn.
        measure: which.
        title: what it is.

    Raises:
        ValueError: a column is missing, or nothing was so measured.
    """
    require_columns(lens, ["hook", "variant", "measure", "value", "low", "high"], "lens_by_layer")
    own = lens[lens["measure"] == measure]
    if own.empty:
        raise ValueError(f"there is no line of {measure!r}: nothing was so measured.")
    short = short_hooks(own["hook"].dropna().unique().tolist())
    means = own.groupby(["hook", "variant"], sort=False, dropna=False, as_index=False)[["value", "low", "high"]].mean()
    table = means.assign(stage=means["hook"].map(short)).drop(columns="hook")
    variants, stages = table["variant"].unique().tolist(), list(short.values())
    hues = dict(zip(variants, in_turn(CATEGORIES, len(variants)), strict=True)) | {"untrained": RANDOM}
    marks = dict(zip(variants, in_turn(_SHAPES, len(variants)), strict=True))
    # In columns: side by side in one row, many names would be cut.
    legend = alt.Legend(orient="top", direction="horizontal", title=None, columns=3, symbolOpacity=1)

    def by_variant(kind: type[Any], signs: dict[str, str]) -> Any:
        scale = alt.Scale(domain=variants, range=[signs[name] for name in variants])
        return kind("variant:N", scale=scale, legend=legend, sort=variants)

    x = alt.X("stage:N", title=None, sort=stages, axis=alt.Axis(labelAngle=-30, labelLimit=150))
    y = alt.Y("value:Q", title=title or measure, scale=alt.Scale(zero=False))
    colour, shape = by_variant(alt.Color, hues), by_variant(alt.Shape, marks)
    tooltip = [
        alt.Tooltip("stage:N", title="hook"),
        alt.Tooltip("variant:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
    ]
    read = table[table["stage"].notna()]
    base = alt.Chart(read)
    band = (
        alt.Chart(read[read["low"].notna()])
        .mark_rule(strokeWidth=2, opacity=0.5)
        .encode(x=x, y="low:Q", y2="high:Q", color=colour)
    )
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=46, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tooltip
    )
    counted = (
        alt.Chart(table[table["stage"].isna()])
        .mark_rule(strokeDash=[4, 3], strokeWidth=1.5)
        .encode(y=y, color=colour, tooltip=tooltip)
    )
    return alt.layer(band, lines, points, counted).properties(height=310)


def likeliest(tokens: pd.DataFrame) -> pd.DataFrame:
    """What `lens_map` takes, of `lens_tokens`: the likeliest of each place and lens; of several draws the first."""
    best = tokens[tokens["place"] == 1].drop_duplicates(["variant", "hook", "position"])
    return best.assign(token=best["text"])[["hook", "position", "variant", "token", "probability"]]
