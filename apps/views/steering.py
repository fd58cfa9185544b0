"""Steering: what a subject writes while it is pushed along a direction, beside unsteered text and random directions."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
import torch

from apps import place, serve
from apps.choices import segments, select
from apps.components.link_table import Cell, Column, link_table
from apps.messages import plain
from apps.place import Place
from apps.prompt_box import prompt_box
from apps.text import number, visible
from workbench.figures import steering_effect
from workbench.interventions import Subspace, add
from workbench.interventions.steering import RANDOM, UNSTEERED

_UNIT, _FEATURE = "unit", "feature"
_MAX_NEW = 24
_DEFAULT = 4.0
_SHARES = (0.25, 0.5, 1.0, 2.0)  # of the strength that is asked for


@dataclass(frozen=True)
class _Direction:
    """Where a subject is pushed.

    Attributes:
        hook: where.
        subspace: along what.
        key: what names it.
        unit: of the strength, in words.
        start: a strength to begin with.
    """

    hook: str
    subspace: Subspace
    key: str
    unit: str
    start: float


def show(here: Place, subject: Any) -> None:
    """Draw the section."""
    st.subheader("Steering", anchor=False)
    st.caption(
        "The subject goes on from the text, the likeliest token each time, while every position is pushed along a "
        "direction: a feature's of the chosen dictionary, or a unit's."
    )
    text = prompt_box(here.run)
    try:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            direction = _choose(here, subject)
            if direction is None:
                return
            strength = st.number_input(
                f"Strength, {direction.unit}", value=direction.start, step=1.0, key=f"strength {direction.key}"
            )
            asked = st.button("Write", type="primary", icon=":material/edit:")
        key = f"{here.run.find('model').id} {direction.key} {strength}"
        if asked:
            st.session_state["_steered"] = (key, text)
        if st.session_state.get("_steered") != (key, text):
            return
        edits = {f"{share * strength:+g}": add(direction.subspace, share * strength) for share in _SHARES}
        found = serve.steered(subject, text, edits, direction.hook, _MAX_NEW, key)
    except ValueError as error:
        plain(error)
        return
    _texts(found, strength)
    st.subheader("How fluent the text stays", anchor=False)
    st.altair_chart(
        steering_effect(found, "loss", "loss of the text, nats a token", strength=f"strength, {direction.unit}"),
        width="stretch",
    )
    st.caption(
        "To the subject unsteered, of the text at the strength above and at a quarter, half and twice of it; grey: "
        "pushes as large along random directions; dashed: unsteered."
    )


def _texts(found: pd.DataFrame, strength: float) -> None:
    """The texts at one strength."""
    shown = found[(found["strength"] == strength) | (found["variant"] == UNSTEERED)]
    columns = [
        Column("", "word"),
        Column("text", "prose"),
        Column("perplexity", help="Of these tokens, to the subject unsteered: how fluent the text still is."),
    ]
    rows = [
        [Cell(_named(line)), Cell(visible(line["text"])), Cell(number(line["perplexity"], 1))]
        for line in shown.to_dict("records")
    ]
    link_table(columns, rows, key="steered")


def _named(line: dict[Any, Any]) -> str:
    return f"{line['variant']} {line['seed'] + 1}" if line["variant"] == RANDOM else str(line["variant"])


def _choose(here: Place, subject: Any) -> _Direction | None:
    kinds = [_FEATURE, _UNIT] if here.index else [_UNIT]
    kind = segments("Direction", kinds, "direction") if len(kinds) > 1 else kinds[0]
    if kind == _FEATURE and here.index:
        return _feature(here, subject)
    return _unit(here)


def _feature(here: Place, subject: Any) -> _Direction | None:
    """A latent's own direction, in the units of its activation."""
    assert here.index is not None
    index = serve.index(here.index)
    sae = serve.dictionary_of(here.run, index)
    if sae.cfg.kind != "sae" or sae.cfg.hook_name not in subject.hook_dict:
        plain(ValueError("this dictionary writes to another hook than it reads: choose one of a single hook."))
        return None
    first = place.integer("f") or 0
    last = index.n_features - 1
    feature = int(st.number_input("Feature", 0, last, min(max(first, 0), last), key="steered_feature"))
    most = float(index.table["max"].iloc[feature])
    vector = sae.W_dec[feature].detach()
    start = round(most, 1) or _DEFAULT
    return _Direction(sae.cfg.hook_name, Subspace.along(vector), f"{index.id} {feature}", "of its activation", start)


def _unit(here: Place) -> _Direction:
    """One unit of a hook, in its own units."""
    hooks = serve.steerable(here.run)
    usual = next((name for name in hooks if name.endswith(("hook_resid_post", "hook_h"))), next(iter(hooks)))
    hook = select("Hook", list(hooks), usual, "steered_hook")
    unit = int(st.number_input("Unit", 0, hooks[hook] - 1, 0, key=f"steered_unit {hook}"))
    vector = torch.zeros(hooks[hook])
    vector[unit] = 1.0
    return _Direction(hook, Subspace.along(vector), f"{hook} {unit}", "of its value", _DEFAULT)
