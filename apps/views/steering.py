"""Steering: what a subject writes while it is pushed along a direction, beside unsteered text and random directions."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve, serve_lab, serve_results
from apps.choices import analyses, choose_analysis, segments, select
from apps.components.link_table import Cell, Column, Hue, link_table
from apps.components.session_link import session_link
from apps.messages import plain
from apps.place import Place
from apps.prompt_box import prompt_box
from apps.shown import draw
from apps.text import escape_markdown, number, shell, visible
from apps.told import Told, call, read, run_of
from apps.words import called, words_of
from workbench.experiments import read_steering
from workbench.experiments.directions import Direction, feature_direction, pushes, unit_direction, usual_hook
from workbench.features.columns import HEADS, LATENTS, kind_of, read_dictionary
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.query.telling import most_telling
from workbench.figures import steering_effect
from workbench.interventions.steering import RANDOM, STEERED, UNSTEERED
from workbench.runs import Artifact, Run
from workbench.sae import load_sae

_UNIT, _FEATURE = "unit", "feature"
_WRITTEN = "written"
_MAX_NEW = 24
_DEFAULT = 4.0  # of a unit of which nothing was recorded
_FLUENT = "How unlikely its tokens are to the subject unpushed; of certain ones it is 1."
_SHARES = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)  # of the strength that is asked for


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


def link(here: Place, index: FeatureIndex, feature: int) -> None:
    """On a feature's own page: the link that opens this section with the feature chosen, and writes."""
    if kind_of(index.config) == HEADS or not index.table["max"].iloc[feature] > 0:
        return
    strongest = serve.examples(index, feature, "top")[0]
    begin_with = "".join(strongest.tokens[: strongest.focus + 1])  # the text goes on from there
    there = {"look": "Steering", "direction": _FEATURE, "f": feature, _WRITTEN: "true", "prompt": begin_with}

    def follow() -> None:
        for key in ("_steered", "strength"):
            st.session_state.pop(key, None)
        place.jump(place.INTERVENTIONS, **there)

    session_link("Steer with this →", here.href(place.INTERVENTIONS, **there), follow, key="to_steering")


def _live(here: Place, subject: Any) -> None:
    """What is asked for here and now."""
    text = prompt_box(here.run)
    try:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            told_direction, about = _choose(here)
            direction: Direction = told_direction.value
            strength = _strength(direction, float(f"{direction.whole:.3g}"))
            asked = st.button("Write", type="primary", icon=":material/edit:")
        st.caption(about)
        key = f"{here.run.find('model').id} {here.index.id if here.index else ''} {direction.name} {strength}"
        if asked or (_WRITTEN in st.query_params and "_steered" not in st.session_state):  # pressed, or a link to it
            st.session_state["_steered"] = (key, text)
        written = st.session_state.get("_steered") == (key, text)
        place.put(_WRITTEN, "true" if written else None)
        if not written:
            return
        if not strength:
            raise ValueError("a push of 0 moves nothing: choose a strength above or below it.")
        edits = told_direction.at("subspace").into(pushes, [share * strength for share in _SHARES])
        found = serve.steered(subject, text, edits.value, direction.hook, _MAX_NEW, key)
    except ValueError as error:
        plain(error)
        return
    _texts(found, direction.whole, "steered")
    how = f"max_new={_MAX_NEW}, n_controls={serve.STEERING_CONTROLS}"
    code = f"steer(model, {[text]!r}, {edits.code}, {direction.hook!r}, {how})"
    begun, needed = _model_of(here), {"from workbench.interventions.steering import steer"}
    lines = tuple(dict.fromkeys((*begun.lines, *edits.lines)))
    _fluency(Told(found, code, begun.imports | edits.imports | needed, lines).named("said"), direction.unit, "steered")


def _strength(direction: Direction, start: float) -> float:
    """How far to push: of another direction, as far as is usual for it."""
    if st.session_state.get("_strength_of", direction.name) != direction.name:
        st.session_state.pop("strength", None)
    st.session_state["_strength_of"] = direction.name
    asked = st.number_input(f"Strength, {direction.unit}", value=start, step=1.0, key="strength", bind="query-params")
    return float(asked)


def _numbered(label: str, count: int, key: str, default: int = 0) -> int:
    """One of so many, by its number; of another dictionary or hook there may be fewer."""
    if int(st.session_state.get(key) or 0) >= count:
        del st.session_state[key]
    return int(st.number_input(label, 0, count - 1, default, key=key, bind="query-params"))


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
        st.caption("After this text:")
        st.code(visible(prompts[0]), language=None, wrap_lines=True)
    _texts(kept.texts[kept.texts["sequence"] == chosen], kept.whole, "steered_kept")
    _fluency(read(run, artifact, "steering", read_steering, kept).at("texts"), kept.unit, "steered-kept")


def _fluency(texts: Told, unit: str, name: str) -> None:
    st.markdown("**How fluent the text stays**")
    chart = texts.into(steering_effect, "loss", "loss of the text, nats a token", strength=f"strength, {unit}")
    words = "Loss of the steered text to the subject unsteered, by strength, beside random directions"
    table = Told(texts.value.drop(columns="tokens", errors="ignore"), texts.code)
    draw(chart, table, name=name, alt=words)
    st.caption(
        "How unlikely each text is to the subject when nothing pushes it: blue, pushed along the direction; grey, as "
        "far along random directions; dashed, the text that was written unpushed."
    )


def _texts(texts: pd.DataFrame, whole: float, key: str) -> None:
    """What was said at each strength, and beside it what a push as large along a random direction gives."""
    is_still = texts["variant"] == UNSTEERED
    still, pushed = texts[is_still].iloc[0], texts[~is_still].sort_values("strength", kind="stable")
    strengths = pushed["strength"].unique().tolist()
    differs = (pushed["text"] != still["text"]).groupby(pushed["variant"]).mean() * len(strengths)
    st.caption(
        f"The text changes at {number(differs[STEERED], 0)} of {len(strengths)} strengths; as far along random "
        f"directions, at {number(differs[RANDOM], 1)} of {len(strengths)}. Grey: the text that is written unpushed."
    )
    columns = [
        Column("push", "word", "In multiples of a whole push: of a feature, its largest recorded value."),
        Column("strength"),
        Column("steered", "passage"),
        Column("perplexity", help=_FLUENT),
        Column("random direction", "passage", "The first of them."),
        Column("perplexity", help=_FLUENT),
    ]
    rows = []
    for strength in sorted({0.0, *strengths}):
        if strength == 0:
            rows.append([Cell("none"), Cell("0"), *_said(still, still["text"]), Cell(""), Cell("")])
            continue
        own = pushed[pushed["strength"] == strength].drop_duplicates("variant").set_index("variant")
        push = [Cell(f"{strength / whole:+.2g}×".replace("-", "−")), Cell(f"{strength:+.3g}".replace("-", "−"))]
        rows.append([*push, *_said(own.loc[STEERED], still["text"]), *_said(own.loc[RANDOM], still["text"])])
    link_table(columns, rows, key=key)


def _said(line: pd.Series, still: str) -> list[Cell]:
    hue: Hue = "muted" if line["text"] == still else ""
    return [Cell(visible(line["text"]), hue=hue), Cell(number(line["perplexity"], 1))]


def _model_of(here: Place) -> Told:
    """The run's subject."""
    opened = run_of(here.run)
    return Told(serve.model(here.run), "run.model()", opened.imports, opened.lines).named("model")


def _choose(here: Place) -> tuple[Told, str]:
    """The direction, and in words what it is and how large it was recorded."""
    kinds = [_FEATURE, _UNIT] if here.index else [_UNIT]
    kind = segments("Direction", kinds, "direction") if len(kinds) > 1 else kinds[0]
    return _feature(here, here.index) if kind == _FEATURE and here.index else _unit(here)


def _feature(here: Place, features: Artifact) -> tuple[Told, str]:
    """The direction of a column of the index, a latent or a unit or a probe, in the units of its activation."""
    index = serve.index(features)
    sae = serve.dictionary_of(here.run, index)
    feature = _numbered(words_of(index.config).one.capitalize(), index.n_features, "f", _first(index))
    row = index.table.iloc[feature].to_dict()
    largest = float(row["max"])
    artifact = here.run.made_from(index, "sae") if kind_of(index.config) == LATENTS else features
    dictionary = read(here.run, artifact, "sae", load_sae if artifact.kind == "sae" else read_dictionary, sae)
    told = call(feature_direction, dictionary, feature, largest, _model_of(here).at("hook_dict")).named("direction")
    name = f"{called(row, index)}: {row['name']}"
    return told, f"**{escape_markdown(name)}**. The largest value that was recorded: {number(largest)}."


def _first(index: FeatureIndex) -> int:
    """The column that the page opens on: the most telling of those that live."""
    live = index.table[~index.table["dead"].astype(bool)]
    return 0 if live.empty else int(live["feature"].loc[most_telling(live).idxmin()])


def _unit(here: Place) -> tuple[Told, str]:
    """One unit of a hook, in its own units: as far as the largest of its values that was recorded."""
    hooks = serve.steerable(here.run)
    hook = select("Hook", list(hooks), usual_hook(hooks), "steered_hook")
    unit = _numbered("Unit", hooks[hook], "steered_unit")
    largest, about = _DEFAULT, "This hook was not recorded: how large its values are is not known. "
    if (recording := serve_lab.recording_of(here.run, hook)) is not None:
        values = serve_lab.elsewhere(recording, hook).values[unit]
        largest = float(max(values[-1], -values[0])) or _DEFAULT
        about = f"The largest size of {values.size:,} recorded values: {number(largest)}."
    else:
        about += f"{escape_markdown(f'workbench harvest --run {shell(here.run.path)} --hooks {hook}')} records it."
    told = call(unit_direction, hook, unit, hooks[hook], largest).named("direction")
    return told, f"**{escape_markdown(f'{hook} {unit}')}**. {about}"
