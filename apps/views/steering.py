"""Steering: what a subject writes while it is pushed along a direction, beside unsteered text and random directions."""

from typing import Any

import pandas as pd
import streamlit as st
import torch

from apps import place, serve
from apps.choices import analyses, choose_analysis, segments, select
from apps.components.link_table import Cell, Column, link_table
from apps.layout import download
from apps.messages import plain
from apps.place import Place
from apps.prompt_box import prompt_box
from apps.text import escape_markdown, number, visible
from workbench.experiments.directions import Direction, feature_direction, usual_hook
from workbench.figures import steering_effect
from workbench.interventions import Subspace, add
from workbench.interventions.steering import RANDOM, STEERED, UNSTEERED
from workbench.runs import Artifact

_UNIT, _FEATURE = "unit", "feature"
_MAX_NEW = 24
_DEFAULT = 4.0
_SHARES = (0.25, 0.5, 1.0, 2.0)  # of the strength that is asked for
_ORDER = [UNSTEERED, STEERED, RANDOM]


def show(here: Place, subject: Any) -> None:
    """Draw the section."""
    st.subheader("Steering", anchor=False)
    st.caption(
        "The subject goes on from the text, the likeliest token each time, while every position is pushed along a "
        "direction: a feature's of the chosen dictionary, or a unit's."
    )
    _live(here, subject)
    if found := analyses(here.run, "steer"):
        st.subheader("Steering that was kept", anchor=False)
        _kept(choose_analysis(found, "steer"))


def _live(here: Place, subject: Any) -> None:
    """What is asked for here and now."""
    text = prompt_box(here.run)
    try:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            direction = _choose(here)
            start = round(direction.whole, 1) or direction.whole
            strength = st.number_input(
                f"Strength, {direction.unit}", value=start, step=1.0, key=f"strength {direction.name}"
            )
            asked = st.button("Write", type="primary", icon=":material/edit:")
        key = f"{here.run.find('model').id} {here.index.id if here.index else ''} {direction.name} {strength}"
        if asked:
            st.session_state["_steered"] = (key, text)
        if st.session_state.get("_steered") != (key, text):
            return
        edits = {f"{share * strength:+g}": add(direction.subspace, share * strength) for share in _SHARES}
        found = serve.steered(subject, text, edits, direction.hook, _MAX_NEW, key)
    except ValueError as error:
        plain(error)
        return
    shown = found[(found["strength"] == strength) | (found["variant"] == UNSTEERED)]
    _texts(shown, "steered")
    _fluency(found, direction.unit)
    st.caption(
        "To the subject unsteered, of the text at the strength above and at a quarter, half and twice of it; grey: "
        "pushes as large along random directions; dashed: unsteered."
    )


def _kept(artifact: Artifact) -> None:
    """What the verb `steer` left: the texts of one prompt at a time, and how fluent those of all are."""
    kept = serve.steering(artifact)
    whole = "" if kept.whole == 1 else f" Strength 1 is {number(kept.whole)} {kept.unit}."
    stale = " :material/history: Stale: something it was made from has changed since." if artifact.stale else ""
    st.caption(f"{escape_markdown(f'Pushed along: {kept.direction}, at {kept.hook}.{whole}')}{stale}")
    prompts = kept.texts.drop_duplicates("sequence")["prompt"].tolist()
    named = [f"{at + 1}  {visible(prompt)}" for at, prompt in enumerate(prompts)]
    chosen = named.index(select("Prompt", named, named[0], "steered_prompt")) if len(named) > 1 else 0
    if len(named) == 1:
        st.caption(f"After {escape_markdown(visible(prompts[0]))}")
    own = kept.texts[kept.texts["sequence"] == chosen].drop_duplicates(["variant", "edit"])
    _texts(own.sort_values("variant", key=lambda names: names.map(_ORDER.index), kind="stable"), "steered_kept")
    _fluency(kept.texts, kept.unit)
    st.caption("To the subject unsteered; grey: pushes as large along random directions; dashed: unsteered.")
    download(kept.texts.drop(columns="tokens"), "Texts as CSV", artifact.name)


def _fluency(texts: pd.DataFrame, unit: str) -> None:
    st.markdown("**How fluent the text stays**")
    st.altair_chart(
        steering_effect(texts, "loss", "loss of the text, nats a token", strength=f"strength, {unit}"),
        width="stretch",
    )


def _texts(shown: pd.DataFrame, key: str) -> None:
    """What was said, a line a text."""
    columns = [
        Column("", "word"),
        *([Column("strength", "word")] if key == "steered_kept" else []),
        Column("text", "prose"),
        Column("perplexity", help="Of these tokens, to the subject unsteered: how fluent the text still is."),
    ]
    rows = [
        [
            Cell(_named(line)),
            *([Cell(line["edit"])] if key == "steered_kept" else []),
            Cell(visible(line["text"])),
            Cell(number(line["perplexity"], 1)),
        ]
        for line in shown.to_dict("records")
    ]
    link_table(columns, rows, key=key)


def _named(line: dict[Any, Any]) -> str:
    return f"{line['variant']} {line['seed'] + 1}" if line["variant"] == RANDOM else str(line["variant"])


def _choose(here: Place) -> Direction:
    kinds = [_FEATURE, _UNIT] if here.index else [_UNIT]
    kind = segments("Direction", kinds, "direction") if len(kinds) > 1 else kinds[0]
    return _feature(here, here.index) if kind == _FEATURE and here.index else _unit(here)


def _feature(here: Place, features: Artifact) -> Direction:
    """A latent's own direction, in the units of its activation."""
    index = serve.index(features)
    sae = serve.dictionary_of(here.run, index)
    first = place.integer("f") or 0
    last = index.n_features - 1
    feature = int(st.number_input("Feature", 0, last, min(max(first, 0), last), key="steered_feature"))
    largest = float(index.table["max"].iloc[feature])
    return feature_direction(sae, feature, largest, serve.model(here.run).hook_dict)


def _unit(here: Place) -> Direction:
    """One unit of a hook, in its own units."""
    hooks = serve.steerable(here.run)
    hook = select("Hook", list(hooks), usual_hook(hooks), "steered_hook")
    unit = int(st.number_input("Unit", 0, hooks[hook] - 1, 0, key=f"steered_unit {hook}"))
    vector = torch.zeros(hooks[hook])
    vector[unit] = 1.0
    return Direction(hook, Subspace.along(vector), f"{hook} {unit}", "of its value", _DEFAULT)
