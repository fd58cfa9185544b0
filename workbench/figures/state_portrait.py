"""Where the states of a subject go: trajectories in two principal axes, fixed points, and the ways out of saddles."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.fixed_point_marks import kind_signs
from workbench.figures.palette import CATEGORIES, NEURONS, RULE, SEQUENTIAL, Layers, in_turn, require_columns

# Vermilion is the points'.
_HUES = [*(hue for hue in CATEGORIES if hue != NEURONS), RULE]
_BELOW, _ABOVE = "#b0569b", "#1a9e77"
# A label of more values than these is drawn as a number, if it is one.
MOST_VALUES = len(_HUES)
# With more saddles than these their numbers of unstable modes would lie over each other.
MOST_NUMBERS = 60
_FACTS = ["point", "kind", "n_unstable", "modulus", "time_constant", "q", "basin"]


def state_portrait(
    portrait: pd.DataFrame,
    points: pd.DataFrame | None = None,
    *,
    axes: tuple[str, str] = ("pc1", "pc2"),
    label: str | None = None,
    chosen: int | None = None,
    explained: Sequence[float] | None = None,
    height: int = 460,
) -> Layers:
    """Trajectories coloured by a label, fixed points and unstable manifolds over them.

    Full circles are stable, open ones saddles with the number of modes that grow in them; crosses still move.

    Args:
        portrait: tidy, of one subject, as `workbench dynamics` makes it: `what` (`trajectory`, `point` or `manifold`),
            `path`, `step`, `point`, `kind`, principal axes `pc1`, …, and a column a label; `token`, where states have
            words.
        points: facts of each point, shown where one points at it: `point`, `kind`, `n_unstable`, `modulus`,
            `time_constant`, `q` and `basin`.
        axes: that lie to the right and upwards.
        label: the column that colours the trajectories; none where None.
        chosen: a point that is ringed.
        explained: the share of the variance along each principal axis.
        height: in pixels.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(portrait, ["what", "path", "step", "point", "kind", *axes], "state_portrait")
    if label is not None:
        require_columns(portrait, [label], "state_portrait")
    shown = portrait.assign(x=portrait[axes[0]], y=portrait[axes[1]])
    scale = alt.Scale(zero=False, nice=False, padding=14)
    x, y = (
        alt.X("x:Q", title=_called(axes[0], explained), scale=scale, axis=alt.Axis(grid=False, tickCount=5)),
        alt.Y("y:Q", title=_called(axes[1], explained), scale=scale, axis=alt.Axis(grid=False, tickCount=5)),
    )
    place = {"x": x, "y": y}
    layers = [*_trajectories(shown[shown["what"] == "trajectory"], label, place)]
    layers.append(_manifolds(shown[shown["what"] == "manifold"], place))
    layers += _points(shown[shown["what"] == "point"], points, chosen, place)
    return (
        alt.layer(*layers)
        .resolve_scale(fill="independent", shape="independent", stroke="independent")
        .properties(height=height)
    )


def _called(axis: str, explained: Sequence[float] | None) -> str:
    name = axis.upper().replace("PC", "PC ")
    number = axis.removeprefix("pc")
    if explained is None or not number.isdecimal() or not 1 <= int(number) <= len(explained):
        return name
    return f"{name} ({explained[int(number) - 1]:.0%} of the variance)"


def _trajectories(paths: pd.DataFrame, label: str | None, place: dict[str, Any]) -> list[alt.Chart]:
    table = paths[["x", "y", "path", "step"]].astype({"path": "float", "step": "float"})
    table["value"], colour = _coloured(paths, label)
    if "token" in paths:
        table["token"] = paths["token"]
    kind = "Q" if label is not None and table["value"].dtype.kind == "f" else "N"
    tooltip = [
        *([alt.Tooltip("token:N")] if "token" in paths else []),
        *([alt.Tooltip(f"value:{kind}", title=label)] if label is not None else []),
        alt.Tooltip("path:Q", title="sequence", format="d"),
        alt.Tooltip("step:Q", format="d"),
    ]
    base = alt.Chart(table)
    return [
        base.mark_line(color=RULE, strokeWidth=0.6, opacity=0.2, tooltip=None).encode(
            detail="path:N", order="step:Q", **place
        ),
        base.mark_point(filled=True, size=12, opacity=0.7).encode(color=colour, tooltip=tooltip, **place),
    ]


def _coloured(paths: pd.DataFrame, label: str | None) -> tuple[pd.Series | None, Any]:
    """The label's values, as numbers or words, and their colours."""
    if label is None:
        return None, alt.value(_HUES[0])
    values = paths[label]
    legend = alt.Legend(orient="right", gradientLength=140, symbolOpacity=1, title=label, titleLimit=90, labelLimit=90)
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number and values.nunique() > MOST_VALUES:
        numbers = values.astype(float)
        return numbers, alt.Color("value:Q", legend=legend, scale=_numbers(numbers))
    words = values.map(lambda value: f"{value:g}" if is_number else str(value), na_action="ignore").astype(object)
    words = words.where(values.notna(), "(none)").astype(str)
    known = [f"{value:g}" for value in np.sort(values.dropna().unique())] if is_number else sorted(words.unique())
    names = [*known, *(["(none)"] if is_number and values.isna().any() else [])]
    scale = alt.Scale(domain=names, range=in_turn(_HUES, len(names)))
    return words, alt.Color("value:N", legend=legend, scale=scale, sort=names)


def _numbers(values: pd.Series) -> alt.Scale:
    """Purple below zero and green above where there are both, else one scale from the least on."""
    if values.min() < 0 < values.max():
        largest = float(values.abs().max())
        return alt.Scale(domain=[-largest, 0, largest], range=[_BELOW, RULE, _ABOVE], interpolate="rgb")
    return alt.Scale(scheme=SEQUENTIAL)


def _manifolds(branches: pd.DataFrame, place: dict[str, Any]) -> alt.Chart:
    table = branches[["x", "y", "path", "step", "point"]].astype({"path": "float", "step": "float", "point": "float"})
    tooltip = [alt.Tooltip("point:Q", title="leaves point", format="d"), alt.Tooltip("step:Q", format="d")]
    return (
        alt.Chart(table)
        .mark_line(color=NEURONS, strokeWidth=1.4, opacity=0.8)
        .encode(detail="path:N", order="step:Q", tooltip=tooltip, **place)
    )


def _points(
    found: pd.DataFrame, facts: pd.DataFrame | None, chosen: int | None, place: dict[str, Any]
) -> list[alt.Chart]:
    table = found[["x", "y", "point", "kind"]].astype({"point": "float"})
    if facts is not None:
        require_columns(facts, _FACTS, "state_portrait")
        table = table.merge(facts[[name for name in _FACTS if name != "kind"]].astype({"point": "float"}), on="point")
        # JSON has no infinity: a mode that stays has no time constant that could be drawn.
        table["time_constant"] = table["time_constant"].where(np.isfinite(table["time_constant"]))
        table["modes"] = table["n_unstable"].where(table["kind"] == "saddle").map(lambda n: f"{n:.0f}", "ignore")
    legend = alt.Legend(orient="top", direction="horizontal", symbolStrokeWidth=1.8, symbolSize=90)
    tooltip = [alt.Tooltip("point:Q", format="d"), alt.Tooltip("kind:N")]
    if facts is not None:
        tooltip += [
            alt.Tooltip("n_unstable:Q", format="d", title="modes that grow"),
            alt.Tooltip("modulus:Q", format=".4f", title="largest |λ|"),
            alt.Tooltip("time_constant:Q", format=".1f", title="its time constant (steps)"),
            alt.Tooltip("q:Q", format=".1e", title="speed q"),
            alt.Tooltip("basin:Q", format=",d", title="starts that led here"),
        ]
    base = alt.Chart(table)
    ringed = alt.Chart(table[table["point"] == chosen])
    layers = [
        base.mark_point(size=150, opacity=1, strokeWidth=1.8).encode(
            tooltip=tooltip, **kind_signs(table["kind"].unique().tolist(), legend), **place
        ),
        ringed.mark_point(size=480, opacity=1, stroke=RULE, strokeWidth=3, filled=False, tooltip=None).encode(**place),
    ]
    if facts is not None and 0 < table["modes"].notna().sum() <= MOST_NUMBERS:
        layers.append(
            alt.Chart(table[table["modes"].notna()])
            .mark_text(color=NEURONS, fontSize=10, fontWeight="bold", tooltip=None)
            .encode(text="modes:N", **place)
        )
    return layers
