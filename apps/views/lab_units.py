"""The prompt lab's units: those that hold something unusual at the locked token."""

import streamlit as st

from apps import place, serve_lab
from apps.choices import select
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import download
from apps.text import escape_markdown, number, shell, signed
from apps.views.lab_text import Lab
from workbench.features.reading.units import ElsewhereHeld, unit_hooks, unusual_units

_LISTED = 12
_TABLE = "unusual_units"
_LEAST = 3  # tokens of a text that a value is told apart from


def show(lab: Lab) -> None:
    """Draw the pane."""
    hooks = unit_hooks(lab.subject)
    if not hooks:
        st.caption("This subject has no neurons of its own that could be listed: no MLP, and no recurrent cell.")
        return
    with st.expander("Units", key="pane_units", on_change="rerun", bind="query-params") as pane:
        if pane.open:
            _units(lab, hooks)


def _units(lab: Lab, hooks: list[str]) -> None:
    usual = next((name for name in hooks if name.endswith("hook_h")), hooks[0])
    hook = select("Hook", hooks, usual, "unit_hook")
    if lab.token == 0:
        st.caption("The start of a sequence is in no recording: lock another token.")
        return
    recording = serve_lab.recording_of(lab.here.run, hook)
    if recording is not None:
        elsewhere = serve_lab.elsewhere(recording, hook)
        n = elsewhere.values.shape[1]
        drawn = "" if n == elsewhere.n_all else f"{n:,}, drawn at random, of "
        said = f"Beside what each holds at {drawn}{elsewhere.n_all:,} tokens of the recording {recording.name}."
    else:
        elsewhere = ElsewhereHeld.of_prompt(hook, lab.reading.held)
        if elsewhere.n_all < _LEAST:
            st.caption("This hook was not recorded, and the text is too short to say what is unusual in it.")
            return
        command = f"workbench harvest --run {shell(lab.here.run.path)} --hooks {hook}"
        said = (
            f"Beside what each holds at the {elsewhere.n_all:,} tokens of this very text, for the hook was not "
            f"recorded: {command} does."
        )
    table = unusual_units(lab.reading.held[hook][lab.token].numpy(), elsewhere)
    st.caption(
        f"{escape_markdown(said)} Shows {min(_LISTED, len(table))} of {len(table):,} units, those farthest from "
        "their own mean."
    )
    to_states = ".rnn.hook_" in hook
    columns = [
        Column("unit"),
        Column("value"),
        Column("percentile", "bar-number", "The share of its values elsewhere that lie below this one."),
        Column("elsewhere", "word", "Its 5th percentile, median and 95th."),
        Column("from its mean", help="In its own standard deviations."),
    ]
    rows = [
        [
            Cell(
                str(line.unit), href=lab.here.href(place.STATES, **_states(lab, hook, line.unit)) if to_states else ""
            ),
            Cell(number(line.value, 3)),
            Cell(number(line.percentile, 1), bar=line.percentile / 100),
            Cell(f"{number(line.low)} … {number(line.median)} … {number(line.high)}"),
            Cell(f"{signed(line.deviations, 1)} σ"),
        ]
        for line in table.head(_LISTED).itertuples()
    ]
    link_table(
        columns,
        rows,
        key=_TABLE,
        ids=table["unit"].head(_LISTED).tolist(),
        on_open=lambda: place.jump(place.STATES, **_states(lab, hook, opened(_TABLE)[0])),
    )
    download(table, "All units as CSV", f"units-{hook}-token-{lab.token}")


def _states(lab: Lab, hook: str, unit: int) -> dict[str, str | int]:
    """Where a unit stands on the page of recurrent states."""
    _, layer, cell, value = hook.split(".")
    return {
        "prompt": lab.text,
        "layer": int(layer),
        "value": value.removeprefix("hook_") + ("_backward" if cell == "rnn_reverse" else ""),
        "unit": int(unit),
        "token": lab.token,
    }
