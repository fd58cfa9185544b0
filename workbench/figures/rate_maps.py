"""What each unit's rate depends on: maps of places, curves, and roses of directions, one small picture a unit."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.figures.palette import NEURONS, RULE, SEQUENTIAL, TRAINED, UNKNOWN, ZERO, Layers, require_columns

LARGE = 200  # pixels; from here on a picture has axes and a scale
_RIM = 6  # pixels around a rose


def rate_maps(
    maps: pd.DataFrame,
    *,
    period: float | None = None,
    names: Sequence[str] = ("x", "y"),
    value: str = "Hz",
    columns: int = 6,
    size: int = 110,
) -> Layers | alt.ConcatChart:
    """A picture a unit: of two variables a map, of one a curve, of a direction a rose, each up to its own peak.

    Bins that were never visited are grey: a rate of zero is the scale's darkest colour, and no hole. What falls below
    zero somewhere, as activations do, is vermilion below and blue above, symmetric about it, and of one variable a
    curve, whatever the variable.

    Args:
        maps: tidy, one row a unit and bin, as `maps_table` makes it: `unit`; `x` and `x2`, the bin's edges; `y` and
            `y2` of two variables; `rate`, NaN where unvisited; `title`, which stands over the picture.
        period: of one circular variable; 0 lies to the right and angles run anticlockwise.
        names: of the variables.
        value: what a rate is counted in.
        columns: pictures a row.
        size: of each, in pixels. One from `LARGE` on has axes, and a map its scale.

    Raises:
        ValueError: a column is missing, or the table has no unit.
    """
    require_columns(maps, ["unit", "x", "x2", "rate", "title"], "rate_maps")
    if maps.empty:
        raise ValueError("rate_maps needs at least one unit: the table is empty.")
    words = (*names, value)
    pictures = [_picture(own, period, words, size) for _, own in maps.groupby("unit", sort=False)]
    if len(pictures) == 1:
        return pictures[0]
    return alt.concat(*pictures, columns=columns, spacing=10).resolve_scale(
        color="independent", x="independent", y="independent", theta="independent", radius="independent"
    )


def maps_table(
    rates: Float[np.ndarray, " unit *bins"],
    edges: Sequence[Float[np.ndarray, " _"]],
    units: Sequence[int],
    titles: Sequence[str],
) -> pd.DataFrame:
    """What `rate_maps` takes, of some units.

    Args:
        rates: of every unit in every bin.
        edges: of the bins, for each variable; one or two.
        units: which, in the order in which they are drawn.
        titles: of each picture.

    Raises:
        ValueError: there are more than two variables, or edges of other bins.
    """
    shape = tuple(len(of) - 1 for of in edges)
    if not 1 <= len(edges) <= 2 or rates.shape[1:] != shape:
        raise ValueError(
            f"rates over {rates.shape[1:]} bins and edges of {shape} cannot be drawn: one or two variables can."
        )
    known = [np.asarray(of, float) for of in edges]
    low, high = (np.meshgrid(*(of[part] for of in known), indexing="ij") for part in (slice(-1), slice(1, None)))
    bins = {"x": low[0].ravel(), "x2": high[0].ravel()}
    if len(known) == 2:
        bins |= {"y": low[1].ravel(), "y2": high[1].ravel()}
    drawn = [
        pd.DataFrame(bins).assign(unit=int(unit), rate=rates[unit].ravel().astype(float), title=str(title))
        for unit, title in zip(units, titles, strict=True)
    ]
    return pd.concat(drawn, ignore_index=True)


def _picture(own: pd.DataFrame, period: float | None, words: tuple[str, ...], size: int) -> Layers:
    known, unknown = own[own["rate"].notna()], own[own["rate"].isna()]
    peak = max(float(known["rate"].abs().max()) if len(known) else 0.0, 1e-9)
    ends = (-peak, peak) if (known["rate"] < 0).any() else (0.0, peak)
    title = alt.TitleParams(str(own["title"].iloc[0]), fontSize=11, fontWeight="normal", offset=4, anchor="start")
    if "y" in own:
        drawn = _map(known, unknown, ends, words, size)
    elif period is not None and ends[0] == 0:
        drawn = _rose(known, unknown, period, peak, words, size)
    else:
        drawn = _curve(own, unknown, ends, words, size)
    width, height = size, size
    if "y" in own:  # whole pixels a bin: else the page shows between them
        width, height = (max(1, round(size / own[axis].nunique())) * own[axis].nunique() for axis in ("x", "y"))
    return alt.layer(*drawn).properties(width=width, height=height, title=title)


def _axis(size: int, title: str) -> alt.Axis | None:
    return alt.Axis(grid=False, tickCount=5, title=title) if size >= LARGE else None


def _map(
    known: pd.DataFrame, unknown: pd.DataFrame, ends: tuple[float, float], words: tuple[str, ...], size: int
) -> list[alt.Chart]:
    right, upwards, *_, value = words
    scale = alt.Scale(nice=False, zero=False)
    place = {
        "x": alt.X("x:Q", scale=scale, axis=_axis(size, right)),
        "x2": alt.X2("x2:Q"),
        "y": alt.Y("y:Q", scale=scale, axis=_axis(size, upwards)),
        "y2": alt.Y2("y2:Q"),
    }
    legend = alt.Legend(title=value, gradientLength=120) if size >= LARGE else None
    tooltip = [_number("rate", value), _number("x", right), _number("y", upwards)]
    return [
        alt.Chart(unknown).mark_rect(color=UNKNOWN, tooltip=None).encode(**place),
        alt.Chart(known)
        .mark_rect(stroke=None)
        .encode(color=alt.Color("rate:Q", scale=_colours(*ends), legend=legend), tooltip=tooltip, **place),
    ]


def _colours(low: float, high: float) -> alt.Scale:
    if low < 0:
        return alt.Scale(domain=[low, 0, high], range=[NEURONS, ZERO, TRAINED], interpolate="rgb")
    return alt.Scale(domain=[low, high], scheme=SEQUENTIAL)


def _curve(
    own: pd.DataFrame, unknown: pd.DataFrame, ends: tuple[float, float], words: tuple[str, ...], size: int
) -> list[alt.Chart]:
    right, *_, value = words
    scale = alt.Scale(domain=[float(own["x"].min()), float(own["x2"].max())], nice=False)
    y = alt.Y("rate:Q", scale=alt.Scale(domain=list(ends)), axis=_axis(size, value))
    middle = alt.Chart(own.assign(at=(own["x"] + own["x2"]) / 2))
    x = alt.X("at:Q", scale=scale, axis=_axis(size, right))
    gaps = alt.Chart(unknown).mark_rect(color=UNKNOWN, tooltip=None)
    tooltip = [_number("rate", value), _number("at", right)]
    return [
        gaps.encode(x=alt.X("x:Q", scale=scale, axis=_axis(size, right)), x2=alt.X2("x2:Q")),
        alt.Chart(pd.DataFrame({"rate": [0.0]})).mark_rule(color=RULE, strokeWidth=0.7, tooltip=None).encode(y=y),
        middle.mark_area(color=TRAINED, opacity=0.25, tooltip=None).encode(x=x, y=y),
        middle.mark_line(color=TRAINED, strokeWidth=1.5, point={"size": 12}).encode(x=x, y=y, tooltip=tooltip),
    ]


def _rose(
    known: pd.DataFrame, unknown: pd.DataFrame, period: float, peak: float, words: tuple[str, ...], size: int
) -> list[alt.Chart]:
    """Sectors: Vega's angles run clockwise from the top, a mathematician's anticlockwise from the right."""
    right, *_, value = words

    def turned(part: pd.DataFrame) -> pd.DataFrame:
        angles = {name: np.pi / 2 - 2 * np.pi * part[name] / period for name in ("x", "x2")}
        return part.assign(start=angles["x"], end=angles["x2"], most=peak)

    radius = alt.Scale(domain=[0, peak], range=[0, size / 2 - _RIM], type="linear", zero=True)
    place = {"theta": alt.Theta("start:Q", scale=None, stack=None), "theta2": alt.Theta2("end:Q")}
    tooltip = [_number("rate", value), _number("x", f"{right} from"), _number("x2", "to")]
    rim = alt.Chart(pd.DataFrame({"rate": [peak], "start": [0.0], "end": [2 * np.pi]}))
    sectors = alt.Chart(turned(known)).mark_arc(color=TRAINED, stroke=TRAINED, strokeWidth=0.5, fillOpacity=0.55)
    return [
        rim.mark_arc(fillOpacity=0, stroke=RULE, strokeWidth=0.7, tooltip=None).encode(
            radius=alt.Radius("rate:Q", scale=radius), **place
        ),
        alt.Chart(turned(unknown))
        .mark_arc(color=UNKNOWN, tooltip=None)
        .encode(radius=alt.Radius("most:Q", scale=radius), **place),
        sectors.encode(radius=alt.Radius("rate:Q", scale=radius), tooltip=tooltip, **place),
    ]


def _number(name: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(f"{name}:Q", format=".3~g", title=title)
