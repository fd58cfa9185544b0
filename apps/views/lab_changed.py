"""The prompt lab's edits: another token in the place of the locked one, and what that changes."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve_lab
from apps.components.link_table import Cell, Column, link_table, opened
from apps.messages import plain
from apps.prompt_box import words_of
from apps.shown import figure, opening
from apps.text import escape_markdown, number, percent, signed, visible
from apps.views.lab_text import UNCHANGED, Lab
from apps.words import short
from apps.words import words_of as column_words
from workbench.features.reading.changed import changed_features, changed_tokens, with_token
from workbench.features.reading.layers import stream_hooks
from workbench.features.reading.state_change import EDIT, RANDOM_TOKENS
from workbench.figures import lens_by_layer

_LISTED = 10
_STILL = 1e-4  # of a state's length: rounding
_FEATURES, _TOKENS = "changed_features", "changed_tokens"
_TYPED, _PICKED = "put_instead", "pick_instead"


def show(lab: Lab) -> None:
    """Draw the choice of another token, and, where there is a second text, what it changes."""
    changed = lab.reading2 is not None
    with st.expander(
        "What changed" if changed else "Change it",
        expanded=changed,
        key="pane_changed" if changed else "pane_change",
        on_change="rerun",
        bind="query-params",
    ) as pane:
        if not pane.open:
            return
        _instead(lab)
        if lab.reading2 is None:
            return
        _predictions(lab)
        _features(lab)
        _tokens(lab)
        _states(lab)


def _instead(lab: Lab) -> None:
    """Another token in the place of the locked one: typed, or one of those that were expected there."""
    if lab.token == 0:
        st.caption("Nothing stands in the place of a sequence's start: lock another token.")
        return
    in_second = lab.text2 is not None and lab.reading2 is not None
    at = lab.token2 if in_second else lab.token
    if at is None or at == 0:
        st.caption("The locked token is not in the second text.")
        return
    reading = lab.reading2 if in_second and lab.reading2 else lab.reading
    text = lab.text2 if in_second and lab.text2 else lab.text
    put = partial(_put, lab.subject.tokenizer, text, at)
    expected = [word for word, _ in reading.predictions[at - 1]] if reading.predictions[at - 1] else []
    standing = escape_markdown(visible(words_of(reading)[at]))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input(
            f"Instead of {standing}",
            key=f"{_TYPED} {at} {text}",
            placeholder="type, then press Enter",
            on_change=lambda: put(st.session_state[f"{_TYPED} {at} {text}"]),
            width=220,
        )
        if others := [word for word in expected if word != reading.tokens[at]]:
            st.pills(
                "or what was expected there",
                others,
                format_func=lambda word: escape_markdown(visible(word)),
                key=f"{_PICKED} {at} {text}",
                on_change=lambda: put(st.session_state[f"{_PICKED} {at} {text}"]),
            )


def _put(tokenizer: object, text: str, at: int, new: str | None) -> None:
    """The second text is the one that was read with another token in it."""
    if new:
        st.session_state["prompt2"] = with_token(tokenizer, text, at, new)  # type: ignore[arg-type]


def _predictions(lab: Lab) -> None:
    """What was expected after the locked token, and is now."""
    if lab.token2 is None or lab.reading2 is None:
        st.caption("The locked token is not in the second text: lock one that is in both.")
        return
    before, after = dict(lab.reading.predictions[lab.token]), dict(lab.reading2.predictions[lab.token2])
    words = list(dict.fromkeys([*before, *after]))
    if not words:
        return

    def cell(p: float | None) -> Cell:
        return Cell("below" if p is None else f"{p:.1%}", bar=p)

    columns = [Column("expected next", "token"), Column("first text", "bar-number"), Column("second", "bar-number")]
    link_table(columns, [[Cell(w), cell(before.get(w)), cell(after.get(w))] for w in words], key="changed_predictions")


def _features(lab: Lab) -> None:
    if lab.index is None or lab.reading2 is None or lab.token2 is None:
        return
    found = changed_features(lab.reading, lab.reading2, lab.token, lab.token2)
    st.markdown(f"**{column_words(lab.index.config).many.capitalize()} at this token**")
    if found.empty:
        st.caption("None came, went or changed.")
        return
    names = lab.index.table["name"]
    columns = [
        Column("#"),
        Column("name", "text"),
        Column("first text"),
        Column("second"),
        Column("change"),
        Column("", "word"),
    ]
    rows = []
    for line in found.head(_LISTED).itertuples():
        f = int(line.feature)
        href = lab.here.href(place.FEATURES, feature=f)
        cells = [Cell(number(line.value)), Cell(number(line.value2)), Cell(signed(line.difference)), Cell(line.what)]
        rows.append([Cell(short(lab.index, f), href=href), Cell(names.iloc[f], href=href), *cells])
    shown = f"Shows {_LISTED} of {len(found)}, those that changed most" if len(found) > _LISTED else ""
    link_table(
        columns,
        rows,
        key=_FEATURES,
        ids=found["feature"].head(_LISTED).tolist(),
        on_open=lambda: place.jump(place.FEATURES, feature=opened(_FEATURES)[0]),
        caption=shown,
    )


def _tokens(lab: Lab) -> None:
    """The tokens whose loss changed most."""
    assert lab.reading2 is not None
    found = changed_tokens(lab.reading, lab.reading2)
    most = found[found["difference"].abs() >= UNCHANGED].sort_values(
        "difference", key=np.abs, ascending=False, kind="stable"
    )
    if most.empty:
        return
    st.markdown("**Where the loss changed**")
    columns = [
        Column("position"),
        Column("first text", "token"),
        Column("second", "token"),
        Column("loss"),
        Column("then"),
        Column("change"),
    ]
    rows = [
        [
            Cell(f"{line.position:,}"),
            Cell(line.token),
            Cell(line.token2),
            Cell(number(line.loss)),
            Cell(number(line.loss2)),
            Cell(signed(line.difference)),
        ]
        for line in most.head(_LISTED).itertuples()
    ]
    caption = f"Shows {_LISTED} of {len(most)} tokens, those whose loss changed most" if len(most) > _LISTED else ""
    link_table(columns, rows, key=_TOKENS, caption=caption)


def _states(lab: Lab) -> None:
    """How far apart the layers' states are at the locked token, beside random edits."""
    hooks = tuple(stream_hooks(lab.subject))
    if not hooks or lab.reading2 is None or lab.token2 is None:
        return
    key = f"{lab.here.run.find('model').id} {lab.text!r} {lab.text2!r}"
    try:
        table = serve_lab.moved(lab.subject, lab.reading, lab.reading2, lab.token, hooks, key)
    except ValueError as error:
        plain(error)
        return
    st.markdown("**How far the states moved at this token**")
    if table.loc[table["measure"] == "share", "value"].max() < _STILL:
        st.caption("Not at all: the edit stands behind it, and nothing sees what comes later.")
        return
    code = opening(lab.here.run) + (
        "from workbench.features import read_prompt\n"
        "from workbench.features.reading.layers import stream_hooks\n"
        "from workbench.features.reading.state_change import state_change\n"
        "from workbench.features.reading.units import unit_hooks\n"
        "from workbench.figures import lens_by_layer\n\n"
        "model = run.model()\n"
        "hooks = stream_hooks(model)\n"
        "kept = [*unit_hooks(model), *hooks]\n"  # which steps a recurrence takes goes with the hooks, to the last digit
        f"first = read_prompt(model, None, {lab.text!r}, hooks=kept)\n"
        f"second = read_prompt(model, None, {lab.text2!r}, hooks=kept)\n"
        f"table = state_change(model, first, second, {lab.token}, hooks=hooks)\n"
        'chart = lens_by_layer(table, "norm", "length of the difference")'
    )
    if len(hooks) > 1:  # one layer makes no line
        figure(lens_by_layer(table, "norm", "length of the difference"), table, name="state-change", python=code)
    st.caption(_in_the_end(table[(table["hook"] == hooks[-1]) & (table["measure"] == "share")].set_index("variant")))


def _in_the_end(last: pd.DataFrame) -> str:
    """How far the last layer's state moved, and how far random tokens move it."""
    moved = f"In the end the state moved by {percent(last.loc[EDIT, 'value'])} of its length"
    if RANDOM_TOKENS not in last.index:
        return f"{moved}. A text that only lost tokens has no random edit to be held against."
    mean, low, high = (percent(last.loc[RANDOM_TOKENS, name]) for name in ("value", "low", "high"))
    return f"{moved}. Random tokens in the same places move it by {mean}: the mean of eight draws, of {low} to {high}."
