"""Steering: what a subject writes while it is pushed along a direction, beside unsteered text and random directions."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve, serve_results
from apps.choices import analyses, choose_analysis, segments, select
from apps.components.link_table import Cell, Column, link_table
from apps.messages import plain
from apps.place import Place
from apps.prompt_box import prompt_box
from apps.shown import draw
from apps.text import escape_markdown, number, visible
from apps.told import Told, call, read, run_of
from workbench.experiments import read_steering
from workbench.experiments.directions import Direction, feature_direction, pushes, unit_direction, usual_hook
from workbench.features.columns import LATENTS, kind_of, read_dictionary
from workbench.figures import steering_effect
from workbench.interventions.steering import RANDOM, STEERED, UNSTEERED
from workbench.runs import Artifact, Run
from workbench.sae import load_sae

_UNIT, _FEATURE = "unit", "feature"
_WRITTEN = "written"
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
        _kept(here.run, choose_analysis(found, "steer"))


def _live(here: Place, subject: Any) -> None:
    """What is asked for here and now."""
    text = prompt_box(here.run)
    try:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            told_direction = _choose(here)
            direction: Direction = told_direction.value
            start = round(direction.whole, 1) or direction.whole
            strength = _strength(direction, start)
            asked = st.button("Write", type="primary", icon=":material/edit:")
        key = f"{here.run.find('model').id} {here.index.id if here.index else ''} {direction.name} {strength}"
        if asked or (_WRITTEN in st.query_params and "_steered" not in st.session_state):  # pressed, or a link to it
            st.session_state["_steered"] = (key, text)
        written = st.session_state.get("_steered") == (key, text)
        place.put(_WRITTEN, "true" if written else None)
        if not written:
            return
        edits = told_direction.at("subspace").into(pushes, [share * strength for share in _SHARES])
        found = serve.steered(subject, text, edits.value, direction.hook, _MAX_NEW, key)
    except ValueError as error:
        plain(error)
        return
    shown = found[(found["strength"] == strength) | (found["variant"] == UNSTEERED)]
    _texts(shown, "steered")
    how = f"max_new={_MAX_NEW}, n_controls={serve.STEERING_CONTROLS}"
    code = f"steer(model, {[text]!r}, {edits.code}, {direction.hook!r}, {how})"
    begun, needed = _model_of(here), {"from workbench.interventions.steering import steer"}
    lines = tuple(dict.fromkeys((*begun.lines, *edits.lines)))
    _fluency(Told(found, code, begun.imports | edits.imports | needed, lines).named("said"), direction.unit, "steered")
    st.caption(
        "To the subject unsteered, of the text at the strength above and at a quarter, half and twice of it; grey: "
        "pushes as large along random directions; dashed: unsteered."
    )


def _strength(direction: Direction, start: float) -> float:
    """How far to push: of another direction, as far as is usual for it."""
    if st.session_state.get("_strength_of", direction.name) != direction.name:
        st.session_state.pop("strength", None)
    st.session_state["_strength_of"] = direction.name
    asked = st.number_input(f"Strength, {direction.unit}", value=start, step=1.0, key="strength", bind="query-params")
    return float(asked)


def _numbered(label: str, count: int, key: str) -> int:
    """One of so many, by its number; of another dictionary or hook there may be fewer."""
    if int(st.session_state.get(key) or 0) >= count:
        del st.session_state[key]
    return int(st.number_input(label, 0, count - 1, 0, key=key, bind="query-params"))


def _kept(run: Run, artifact: Artifact) -> None:
    """What the verb `steer` left: the texts of one prompt at a time, and how fluent those of all are."""
    kept = serve_results.opened(artifact, read_steering)
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
    _fluency(read(run, artifact, "steering", read_steering, kept).at("texts"), kept.unit, "steered-kept")
    st.caption("To the subject unsteered; grey: pushes as large along random directions; dashed: unsteered.")


def _fluency(texts: Told, unit: str, name: str) -> None:
    st.markdown("**How fluent the text stays**")
    chart = texts.into(steering_effect, "loss", "loss of the text, nats a token", strength=f"strength, {unit}")
    words = "Loss of the steered text to the subject unsteered, by strength, beside random directions"
    table = Told(texts.value.drop(columns="tokens", errors="ignore"), texts.code)
    draw(chart, table, name=name, alt=words)


def _texts(shown: pd.DataFrame, key: str) -> None:
    """What was said, a line a text."""
    columns = [
        Column("variant", "word"),
        *([Column("strength")] if key == "steered_kept" else []),
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


def _model_of(here: Place) -> Told:
    """The run's subject."""
    opened = run_of(here.run)
    return Told(serve.model(here.run), "run.model()", opened.imports, opened.lines).named("model")


def _choose(here: Place) -> Told:
    kinds = [_FEATURE, _UNIT] if here.index else [_UNIT]
    kind = segments("Direction", kinds, "direction") if len(kinds) > 1 else kinds[0]
    return _feature(here, here.index) if kind == _FEATURE and here.index else _unit(here)


def _feature(here: Place, features: Artifact) -> Told:
    """A latent's own direction, in the units of its activation."""
    index = serve.index(features)
    sae = serve.dictionary_of(here.run, index)
    feature = _numbered("Feature", index.n_features, "f")
    largest = float(index.table["max"].iloc[feature])
    artifact = here.run.made_from(index, "sae") if kind_of(index.config) == LATENTS else features
    dictionary = read(here.run, artifact, "sae", load_sae if artifact.kind == "sae" else read_dictionary, sae)
    return call(feature_direction, dictionary, feature, largest, _model_of(here).at("hook_dict")).named("direction")


def _unit(here: Place) -> Told:
    """One unit of a hook, in its own units."""
    hooks = serve.steerable(here.run)
    hook = select("Hook", list(hooks), usual_hook(hooks), "steered_hook")
    unit = _numbered("Unit", hooks[hook], "steered_unit")
    return call(unit_direction, hook, unit, hooks[hook], _DEFAULT).named("direction")
