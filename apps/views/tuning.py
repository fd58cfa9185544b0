"""What each unit is tuned to: the list of units by any score, the pictures of the best, and one of them large."""

import pandas as pd
import streamlit as st

from apps import place
from apps import shown as figures
from apps.choices import segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import halves
from apps.messages import plain
from apps.place import Place
from apps.shown import draw, picture
from apps.text import escape_markdown, number, p_value
from apps.told import Told, call
from probes.tuning import TuningCurves
from workbench.decoding import Decoding
from workbench.figures import maps_table, rate_maps
from workbench.runs import Artifact

_TABLE = "tuning_table"
_LISTED, _HEIGHT = 200, 420  # units in the table, and pixels before it scrolls
_COUNTS = ["12", "24", "48"]  # pictures
_SMALL, _LARGE = 96, 300  # pixels
_LEAST_PANE = 440  # what a large picture with its scale needs
# What is known of a score: its heading, what it is, and digits.
_SCORES = {
    "r2": ("R² of its map", "The share of its variance that its map explains on bins it was not fitted on.", 3),
    "r2_p": ("p", "How often a map of shifted bins explains as much.", 3),
    "information": ("information", "Bits a spike (Skaggs 1993), or a unit of activation.", 3),
    "information_p": ("p", "How often shifted bins give as much information.", 3),
    "mean_vector": ("mean vector", "Length of the mean vector: 1 where it answers to one direction only.", 3),
    "preferred": ("preferred", "The direction it answers to most.", 2),
    "gridness": ("gridness", "How much more alike its map is to itself turned by 60° than by 30°.", 3),
    "gridness_p": ("p", "How often the map of shifted bins is as hexagonal.", 3),
    "grid_scale": ("scale", "Distance of neighbouring peaks.", 2),
    "mean": ("mean", "Over all bins.", 3),
}
# Small ones first where a heading is clicked for the first time.
_ASCENDING = ("unit",)


def show(here: Place, kept: Told, artifact: Artifact, hook: str, title: str) -> None:
    """Draw the part of the page that is about single units."""
    st.subheader("What each unit is tuned to", anchor=False)
    decoding: Decoding = kept.value
    units = decoding.tuning[(decoding.tuning["hook"] == hook) & (decoding.tuning["variables"] == title)]
    if units.empty:
        st.caption("The units' maps were left out of this result: make it anew without `--no-tuning`.")
        return
    scores = [name for name in _SCORES if name in units and units[name].notna().any()]
    scores += [name for name in units if name not in (*_SCORES, "hook", "variables", "unit") and _is_score(units[name])]
    by, ascending = _order(scores)
    ordered = units.sort_values(by, ascending=ascending, kind="stable", na_position="last")
    unit = _unit_in_url(ordered)
    curves = decoding.curves.get((hook, title))
    _list(here, ordered, scores, unit, (by, ascending), {"population": artifact.name, "hook": hook, "variables": title})
    if curves is None or len(curves.edges) > 2:
        st.caption("Maps of one and of two variables can be drawn: of these there are none.")
        return
    left, right = halves(_LEAST_PANE)
    with left:
        _one(ordered, scores, kept.at("curves").item((hook, title)).named("curves"), title, unit)
    with right:
        _pictures(ordered, kept.at("curves").item((hook, title)).named("curves"), title, by)


def _is_score(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and values.notna().any()


def _heading(score: str) -> str:
    return _SCORES[score][0] if score in _SCORES else score.replace("_", " ")


def _order(scores: list[str]) -> tuple[str, bool]:
    """The score that units are sorted by, the best first unless it is turned round."""
    asked = st.query_params.get("by", "")
    by = asked if asked in (*scores, "unit") else scores[0] if scores else "unit"
    return by, (by in _ASCENDING) != (st.query_params.get("turned") == "true")


def _unit_in_url(ordered: pd.DataFrame) -> int:
    """The unit that is shown large: the URL's, else the first of the list."""
    unit, known = place.integer("unit"), ordered["unit"]
    if unit in set(known):
        return int(unit or 0)
    if "unit" in st.query_params:
        plain(ValueError(f"there is no such unit here: they are numbered {known.min()} to {known.max()}."))
    return int(known.iloc[0])


def _list(
    here: Place,
    ordered: pd.DataFrame,
    scores: list[str],
    unit: int,
    sorted_by: tuple[str, bool],
    view: dict[str, str],
) -> None:
    n_units, shown = len(ordered), ordered.head(_LISTED)
    which = f"All {n_units:,} units" if n_units <= _LISTED else f"The first {_LISTED:,} of {n_units:,} units"
    st.caption(f"{which}; a heading sorts them, and a unit's number shows it below.")
    columns = [Column("unit", sort="unit")]
    largest = {name: float(ordered[name].abs().max()) for name in scores}
    for name in scores:
        help_ = _SCORES[name][1] if name in _SCORES else ""
        columns.append(Column(_heading(name), "number" if _is_p(name) else "bar-number", help_, sort=name))
    columns.append(Column(""))
    rows = [
        [
            Cell(f"{row['unit']}", href=here.href(place.POPULATION, **view, unit=row["unit"])),
            *(_cell(name, row[name], largest[name]) for name in scores),
            Cell("shown" if row["unit"] == unit else ""),
        ]
        for row in shown.to_dict("records")
    ]
    link_table(
        columns,
        rows,
        key=_TABLE,
        ids=shown["unit"].tolist(),
        on_open=lambda: place.put("unit", opened(_TABLE)[0]),
        on_sort=lambda: _sort(sorted_by),
        sorted_by=sorted_by,
        height=_HEIGHT,
    )


def _is_p(name: str) -> bool:
    return name.endswith("_p") or name == "preferred"


def _cell(name: str, value: float, largest: float) -> Cell:
    """A number, with a bar of its size: orange below zero."""
    text = p_value(value) if name.endswith("_p") else number(value, _SCORES[name][2] if name in _SCORES else 3)
    if _is_p(name) or not largest > 0:
        return Cell(text)
    return Cell(text, bar=abs(value) / largest, hue="" if value >= 0 else "neurons")


def _sort(sorted_by: tuple[str, bool]) -> None:
    """A heading sorts by its column; the same one again turns the order round."""
    asked, (by, ascending) = st.session_state[_TABLE].sort, sorted_by
    turned = (by in _ASCENDING) != ascending
    place.put("by", asked)
    place.put("turned", "true" if asked == by and not turned else None)


def _one(ordered: pd.DataFrame, scores: list[str], kept: Told, title: str, unit: int) -> None:
    curves: TuningCurves = kept.value
    st.subheader(f"Unit {unit}", anchor=False)
    row = ordered.set_index("unit").loc[unit]
    shown = []
    for at, name in enumerate(scores):
        if _is_p(name) and name != "preferred":
            continue
        p = scores[at + 1] if at + 1 < len(scores) and scores[at + 1] == f"{name}_p" else None
        digits = _SCORES[name][2] if name in _SCORES else 3
        note = f"p {p_value(row[p])}" if p else ""
        shown.append(Fact(_heading(name), number(row[name], digits), note, _SCORES.get(name, ("", ""))[1]))
    facts(shown, key="unit_facts")
    names = title.split(", ")
    table = call(maps_table, kept.at("rates"), kept.at("edges"), [unit], [f"unit {unit} over {title}"])
    how = {"period": curves.period[0], "names": _two(names), "value": _value(curves), "size": _LARGE}
    draw(table.into(rate_maps, **how), table, name="unit", alt=f"How unit {unit} answers over {title}", as_drawn=True)
    st.caption(_seen(curves, unit))


def _pictures(ordered: pd.DataFrame, kept: Told, title: str, by: str) -> None:
    curves: TuningCurves = kept.value
    st.subheader("Unit beside unit", anchor=False)
    count = int(segments("Units", _COUNTS, "pictures"))
    shown = ordered.head(count)
    units = shown["unit"].tolist()
    said = f"; over each its number · {escape_markdown(_heading(by))}" if by != "unit" else ""
    st.caption(f"The first {len(units):,} of the list above, each up to its own peak; grey: never visited{said}.")
    titles = [f"{u} · {number(s, 2)}" if by != "unit" else f"{u}" for u, s in zip(units, shown[by], strict=True)]
    names, value = _two(title.split(", ")), _value(curves)
    # A chart a unit: they flow into as many columns as there is room for.
    with st.container(horizontal=True, gap="small"):
        for unit, words in zip(units, titles, strict=True):
            table = maps_table(curves.rates, curves.edges, [unit], [words])
            chart = rate_maps(table, period=curves.period[0], names=names, value=value, size=_SMALL)
            picture(chart, alt=f"How unit {unit} answers over {title}", as_drawn=True)
    every = call(maps_table, kept.at("rates"), kept.at("edges"), units, titles)
    all_maps = every.into(rate_maps, period=curves.period[0], names=names, value=value, size=_SMALL)
    figures.taken_along(all_maps.value, every.value, name="units", python=all_maps.python("chart"))


def _two(names: list[str]) -> tuple[str, str]:
    return names[0], names[1] if len(names) > 1 else ""


def _value(curves: TuningCurves) -> str:
    """Activations are recorded with bins of one second, so that their rate is their mean."""
    return "mean" if curves.dt == 1 else "Hz"


def _seen(curves: TuningCurves, unit: int) -> str:
    unvisited = int((~curves.visited).sum())
    told = [f"{curves.occupancy.size:,} bins"]
    if unvisited:
        told.append(f"{unvisited:,} of them never visited: grey")
    if len(curves.edges) == 2 and (curves.rates[unit] < 0).any():
        told.append("orange below zero, blue above")
    return " · ".join(told)
