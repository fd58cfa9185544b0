"""The states of this text along two principal axes, over the fixed points that `workbench dynamics` found."""

from typing import Any

import streamlit as st

from apps import place, serve_results
from apps.choices import analyses, choose_analysis
from apps.components.session_link import session_link
from apps.place import Place
from apps.prompt_box import words_of
from apps.shown import figure, opening
from apps.text import shell, visible
from workbench.dynamics import StatesReading, read_dynamics, text_portrait
from workbench.dynamics.text_portrait import called
from workbench.figures import state_portrait


def show(here: Place, subject: Any, reading: StatesReading, text: str, unit: tuple[int, str, int]) -> None:
    """Draw the pane; `unit` is the layer, the value and the unit that colour the states."""
    with st.expander(
        "Where this text takes the state", key="pane_portrait", on_change="rerun", bind="query-params"
    ) as pane:
        if pane.open:
            _portrait(here, subject, reading, text, unit)


def _portrait(here: Place, subject: Any, reading: StatesReading, text: str, unit: tuple[int, str, int]) -> None:
    found = analyses(here.run, "dynamics")
    if not found:
        st.caption("No fixed points were looked for in this run. This finds them, and the units that track a label:")
        st.code(f"workbench dynamics --run {shell(here.run.path)}", language="shell")
        return
    artifact = choose_analysis(found, "dynamics")
    dynamics = serve_results.opened(artifact, read_dynamics)
    words = [visible(word) for word in words_of(reading)]
    try:
        table, explained = text_portrait(subject, reading, dynamics.points, words, unit)
    except ValueError as error:
        st.caption(f"{str(error)[0].upper()}{str(error)[1:]}")
        return
    points = dynamics.table[dynamics.table["variant"] == "trained"]
    chart = state_portrait(table, points, label=called(unit[2]), explained=explained)
    python = opening(here.run) + (
        "from workbench.dynamics import read_dynamics, read_states, text_portrait\n"
        "from workbench.figures import state_portrait\n\n"
        f"model, text = run.model(), {text!r}\n"
        f"dynamics = read_dynamics(run.find('analysis', {artifact.name!r}).path)\n"
        f"words = {words!r}\n"
        f"table, explained = text_portrait(model, read_states(model, text), dynamics.points, words, {unit!r})\n"
        "points = dynamics.table[dynamics.table['variant'] == 'trained']\n"
        f"chart = state_portrait(table, points, label={called(unit[2])!r}, explained=explained)\n"
    )
    figure(chart, table, name="text-portrait", python=python)
    st.caption(
        f"The whole state after each of {len(reading.tokens) - 1:,} tokens, in the two axes along which this text's "
        f"states vary most; the colour is unit {unit[2]}. Over it all {len(dynamics.points):,} points found: full "
        "circles are stable, open ones saddles, crosses slow points."
    )
    session_link(
        "All about the fixed points",
        here.href(place.DYNAMICS, dynamics=artifact.name),
        lambda: place.jump(place.DYNAMICS, dynamics=artifact.name),
        key="to_dynamics",
    )
