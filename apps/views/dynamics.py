"""The dynamics page: where a recurrent subject's states go, its fixed points, its gates, units that tell a label."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve, serve_results
from apps.choices import analyses, choose_analysis, segments, select
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import halves
from apps.messages import no_dynamics, no_subject, plain
from apps.place import Place
from apps.shown import draw
from apps.text import escape_markdown, number
from apps.told import Told, call, read
from apps.views import cells, gates
from workbench.dynamics import Dynamics, has_recurrence, read_dynamics
from workbench.figures import spectrum, state_portrait
from workbench.figures.fixed_point_marks import SHAPES
from workbench.figures.slices import rows as rows_of
from workbench.figures.spectrum import slowest_eigenvalues
from workbench.runs import Artifact

TRAINED, UNTRAINED = "trained", "untrained"
_TABLE = "point_table"
_LISTED, _HEIGHT = 200, 380  # points in the table, and pixels before it scrolls
_SPECTRA = 60  # points whose eigenvalues are drawn
_NO_LABEL = "(one colour)"
_NOT_LABELS = {"what", "variant", "path", "step", "point", "kind"}


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    found = analyses(here.run, "dynamics")
    if not found:
        _nothing(here)
        return
    st.title("Dynamics", anchor=False)
    about = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        artifact = choose_analysis(found, "dynamics")
        dynamics = serve_results.opened(artifact, read_dynamics)
        subjects = [TRAINED] + ([UNTRAINED] if dynamics.untrained is not None else [])
        subject = segments("Subject", subjects, "subject") if len(subjects) > 1 else TRAINED
        portrait = dynamics.portrait[dynamics.portrait["variant"] == subject]
        axes = [name for name in portrait if name.startswith("pc")]
        right = select("To the right", axes, axes[0], "right")
        up = select("Upwards", axes, axes[min(1, len(axes) - 1)], "up")
        labels = [name for name in portrait if name not in _NOT_LABELS and name not in axes]
        label = select("Coloured by", [*labels, _NO_LABEL], (labels or [_NO_LABEL])[0], "colour")
    table = dynamics.table[dynamics.table["variant"] == subject]
    with about:
        st.caption(_about(artifact, dynamics))
        _counts(dynamics)
    point = _point_in_url(table)
    kept = read(here.run, artifact, "dynamics", read_dynamics, dynamics)
    _pictures(kept, subject, (right, up), None if label == _NO_LABEL else label, point)
    _list(here, table, point, {"dynamics": artifact.name, "subject": subject, "right": right, "up": up})
    _attractors(dynamics)
    gates.show(kept)
    cells.show(kept)


def _nothing(here: Place) -> None:
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if has_recurrence(subject):
        no_dynamics(here.run)
        return
    st.title("Dynamics", anchor=False)
    known = serve.run_with_recurrence()
    instead = f" The run {escape_markdown(known)} has one: choose it in the side bar." if known else ""
    st.info(
        f"A {type(subject).__name__} has no recurrence: nothing in it goes from one step to the next, "
        f"and so it has no fixed points.{instead}"
    )


def _about(artifact: Artifact, dynamics: Dynamics) -> str:
    points, config = dynamics.points, artifact.manifest.config
    told = [f"searched from {len(points.starts):,} starts", f"reading {escape_markdown(config.get('input', 'zeros'))}"]
    if points.n_lost:
        told.append(f"{points.n_lost:,} starts led to no point slow enough")
    if points.n_far:
        told.append(f"{points.n_far:,} too far away")
    if artifact.stale:
        told.append(":material/history: stale: something it was made from has changed since")
    return " · ".join(told)


def _counts(dynamics: Dynamics) -> None:
    """How many points of each kind there are, the untrained subject's beside them."""
    counts = {name: own["kind"].value_counts() for name, own in dynamics.table.groupby("variant")}
    own, before = (counts.get(name, pd.Series(dtype=int)) for name in (TRAINED, UNTRAINED))
    has = dynamics.untrained is not None
    shown = [
        Fact(
            kind, f"{own.get(kind, 0):,}", f"untrained {before.get(kind, 0):,}" if has else "", _KINDS[kind], "trained"
        )
        for kind in SHAPES
        if own.get(kind, 0) or before.get(kind, 0)
    ]
    if explained := dynamics.explained.get(TRAINED):
        early = dynamics.explained.get(UNTRAINED)
        beside = f"untrained {sum(early[:3]):.0%}" if early else ""
        shown.append(Fact("in three axes", f"{sum(explained[:3]):.0%}", beside, "Of the variance of the states."))
    facts(shown, key="point_counts")


_KINDS = {
    "stable": "Fixed points of which every mode decays.",
    "marginal": "Fixed points of which no mode grows, but one stays.",
    "saddle": "Fixed points of which some modes grow.",
    "unstable": "Fixed points of which every mode grows.",
    "slow": "Points where a state still moves, but hardly.",
}


def _point_in_url(table: pd.DataFrame) -> int | None:
    point = place.integer("point")
    if point is not None and point in set(table["point"]):
        return point
    if "point" in st.query_params:
        plain(ValueError(f"there is no such point here: they are numbered 0 to {len(table) - 1}, the slowest first."))
    return None


def _pictures(kept: Told, subject: str, axes: tuple[str, str], label: str | None, point: int | None) -> None:
    dynamics: Dynamics = kept.value
    st.subheader("Where states go", anchor=False)
    portrait, table = (kept.at(name).into(rows_of, variant=subject) for name in ("portrait", "table"))
    explained = kept.at("explained").item(subject) if subject in dynamics.explained else None
    how = {"axes": axes, "label": label, "chosen": point, "explained": explained}
    chart = call(state_portrait, portrait, table, **how)
    left, right = halves()
    with left:
        coloured = f", coloured by {label}" if label else ""
        words = f"Held-out sequences and fixed points of the {subject} subject on {axes[0]} and {axes[1]}{coloured}"
        draw(chart, portrait, name="portrait", alt=words)
        places = portrait.value
        n_paths = places.loc[places["what"] == "trajectory", "path"].nunique()
        st.caption(
            f"{n_paths:,} held-out sequences. Full circles are stable; open ones saddles, with the number of modes "
            "that grow; crosses are slow points; orange lines leave saddles along the modes that grow there."
        )
    with right:
        eigenvalues = call(slowest_eigenvalues, kept.at("points"), kept.at("untrained"), _SPECTRA)
        circle = eigenvalues.into(spectrum, chosen=point if subject == TRAINED else None)
        words = "Eigenvalues of the step's Jacobian at each point, in the complex plane with the unit circle"
        draw(circle, eigenvalues, name="spectrum", alt=words, as_drawn=True)
        most = max(len(of) for of in (dynamics.points, dynamics.untrained) if of)
        some = f" Of the {_SPECTRA} slowest points of {most:,}." if most > _SPECTRA else ""
        st.caption(f"Eigenvalues of the step's Jacobian: outside the circle a mode grows.{some}")


_COLUMNS = [
    Column("point"),
    Column("kind", "word"),
    Column("speed q", help="½‖x − F(x)‖²: how far a step still moves it."),
    Column("unstable modes", help="Modes with |λ| above 1."),
    Column("largest |λ|", help="Of its slowest mode."),
    Column("time constant", help="Of that mode, in steps: −1/ln|λ|; negative where it grows, ∞ where it stays."),
    Column("cycles a step", help="Of that mode: 0 where it does not turn."),
    Column("non-normality", help="Henrici's: 0 where the modes are at right angles, at most 1."),
    Column("starts", "bar-number", "How many starts the search led here."),
    Column(""),
]


def _list(here: Place, table: pd.DataFrame, point: int | None, view: dict[str, str]) -> None:
    shown = table.head(_LISTED)
    every = f"{len(table):,} point{'s' * (len(table) != 1)}"
    which = every if len(table) <= _LISTED else f"The {_LISTED:,} slowest of {every}"
    st.subheader("Fixed points", anchor=False)
    st.caption(f"{which}, the slowest first; a point's number rings it in the portrait and colours its eigenvalues.")
    most = max(int(table["basin"].max()) if len(table) else 0, 1)
    rows = [
        [
            Cell(f"{row['point']}", href=here.href(place.DYNAMICS, **view, point=row["point"])),
            Cell(str(row["kind"])),
            Cell(f"{row['q']:.1e}"),
            Cell(f"{row['n_unstable']}"),
            Cell(number(row["modulus"], 4)),
            Cell("∞" if np.isinf(row["time_constant"]) else number(row["time_constant"], 1)),
            Cell(number(row["frequency"], 3)),
            Cell(number(row["non_normality"], 2)),
            Cell(f"{row['basin']:,}", bar=row["basin"] / most),
            Cell("shown" if row["point"] == point else ""),
        ]
        for row in shown.to_dict("records")
    ]
    ids = shown["point"].tolist()
    link_table(
        _COLUMNS, rows, key=_TABLE, ids=ids, on_open=lambda: place.put("point", opened(_TABLE)[0]), height=_HEIGHT
    )


_TESTS = {
    "line": "Do the points lie along a line? Its slowest mode is near 1, and the first axis holds their variance.",
    "ring": "Do they lie on a ring? It is closed, evenly filled, and of one radius.",
}
_OF = {
    "n": ("points", 0),
    "first": ("largest |λ|", 3),
    "second": ("second |λ|", 3),
    "explained": ("in their axes", 3),
    "extent": ("extent", 2),
    "r": ("r with the label", 3),
    "gap": ("largest gap", 2),
    "winding": ("winding", 2),
    "radius_variation": ("radius varies by", 2),
}


def _attractors(dynamics: Dynamics) -> None:
    st.subheader("A line, or a ring?", anchor=False)
    st.caption(" ".join(_TESTS.values()))
    table = dynamics.attractors
    known = [name for name in _OF if name in table and table[name].notna().any()]
    columns = [
        Column("test", "word"),
        Column("label", "text"),
        Column("of", "word"),
        *(Column(_OF[n][0]) for n in known),
    ]
    rows = [
        [Cell(row["test"]), Cell(row["label"] or "–"), Cell(row["variant"]), *_values(row, known)]
        for row in _records(table)
    ]
    link_table(columns, rows, key="attractors", height=_HEIGHT)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(dict.fromkeys(("test", "label", "variant"), str)).to_dict("records")


def _values(row: dict[str, Any], names: list[str]) -> list[Cell]:
    return [Cell(number(row[name], _OF[name][1])) for name in names]


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
