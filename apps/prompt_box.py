"""The text that pages about one text share: typed, kept in the URL, or drawn from held-out documents."""

from typing import Any, Literal, cast

import numpy as np
import streamlit as st
import torch

from apps import place, serve
from apps.layout import halves
from apps.messages import no_text
from apps.place import Place
from models.dataset import Dataset
from workbench.features.reading.text import TextReading, check_reads_text
from workbench.figures.words import BOS_WORD, from_start
from workbench.runs import Run

_PASSAGE_TOKENS = 56
_HEIGHT, _LEAST_BOX = 132, 340  # pixels
_LAST, _OWN, _DRAWN = "_last_prompt", "_own_prompt", "_prompt_is_drawn"
# In the URL of pages without the box: the box's own name is bound to it, and is taken out of the URL with it.
_CARRIED, _LONGEST = "typed", 2_000  # characters


def reads_text(subject: Any, *, say: Place | Literal[False]) -> bool:
    """Whether a typed text can be given to a subject; where it cannot, the page at a place says why, and what can."""
    try:
        check_reads_text(subject)
    except ValueError as error:
        if say:
            no_text(say, subject, error)
        return False
    return True


def prompt_box(run: Run, own: str = "") -> str:
    """Draw the box, and give what stands in it: where nothing was typed, a text of the page's own, or a passage."""
    text = _box(run, own)
    with st.container(horizontal=True, vertical_alignment="center"):
        _beneath(run)
    return text


def prompt_boxes(run: Run) -> tuple[str, str | None]:
    """Draw the box, and beside it that of a second text where there is one; give what stands in both."""
    second = st.session_state.get("prompt2", st.query_params.get("prompt2", ""))
    if second:  # once it is not drawn any more, Streamlit takes it out of the URL
        left, right = halves(_LEAST_BOX)
        with left:
            text = _box(run)
        with right:
            if "prompt2" not in st.query_params:  # a box that is drawn for the first time does not write the URL itself
                st.query_params["prompt2"] = second
            second = st.text_area(
                "Second text", key="prompt2", height=_HEIGHT, bind="query-params", label_visibility="collapsed"
            )
    else:
        text = _box(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        _beneath(run)
        if second:
            st.button("Without the second text", icon=":material/close:", type="tertiary", on_click=_put, args=("",))
        elif text:
            st.button(
                "Change the text",
                icon=":material/difference:",
                type="tertiary",
                on_click=_put,
                args=(text,),
                help="Edit a copy beside it, and see what that changes.",
            )
    return text, second or None


def carry_text() -> None:
    """At every page's end: one without the box has the text in its URL, so that it is there again after a reload.

    A text that nobody typed, or a longer one than a link should have, is not carried.
    """
    if st.session_state.pop(_DRAWN, False):
        place.put(_CARRIED, None)
        return
    text = st.session_state.get(_LAST) or st.query_params.get(_CARRIED, "")
    st.session_state[_LAST] = text
    if text and len(text) <= _LONGEST and st.query_params.get(_CARRIED) != text:
        place.put(_CARRIED, text)


def _box(run: Run, own: str = "") -> str:
    data = serve.dataset(run)
    if "prompt" not in st.session_state and "prompt" not in st.query_params:
        own = own or _passage(data, 0)
        begin_with = st.session_state.get(_LAST) or st.query_params.get(_CARRIED) or own
        st.session_state["prompt"] = st.query_params["prompt"] = begin_with
        st.session_state[_OWN] = own
    text = st.text_area(
        "Text",
        key="prompt",
        height=_HEIGHT,
        bind="query-params",
        label_visibility="collapsed",
        placeholder="Type or paste text, then press Ctrl+Enter.",
    )
    st.session_state[_DRAWN] = True
    st.session_state[_LAST] = "" if text == st.session_state.get(_OWN) else text
    return text


def _beneath(run: Run) -> None:
    st.button(
        "Another passage",
        icon=":material/shuffle:",
        on_click=_next_passage,
        args=(serve.dataset(run),),
        help="From a document that the subject was not trained on.",
    )
    st.caption("Ctrl+Enter reads the text. Hover a token to look, click it to lock it.", width="content")


def put_text(text: str) -> None:
    """From a callback: another text; what was locked or selected in the one that stood there goes with it."""
    st.session_state["prompt"] = text
    for name in ("token", "from", "to", "matches"):
        place.put(name, None)
    if "prompt2" in st.session_state:  # it was a change of the text that is gone
        st.session_state["prompt2"] = ""


def with_start(run: Run, words: list[str], axis: str = "target") -> list[str]:
    """Words of the run's sequences, with BOS, which those of tokens begin with, as it is shown."""
    return from_start(words) if begins(run, axis) else words


def begins(run: Run, axis: str = "target") -> bool:
    """Whether the run's sequences begin with BOS."""
    return axis == "target" and serve.dataset(run).bos is not None


def words_of(reading: TextReading) -> list[str]:
    """The tokens as they are shown."""
    return [BOS_WORD, *reading.tokens[1:]]


def _passage(data: Dataset, number: int) -> str:
    """The beginning of a held-out sequence, drawn by number."""
    if data.tokenizer is None:
        return ""
    held_out = data.sequences("test")
    if not len(held_out):
        held_out = data.sequences()
    chosen = held_out[np.random.default_rng(number).integers(len(held_out))]
    ids = data.tokens[chosen][cast(torch.Tensor, data.mask)[chosen]][1 : 1 + _PASSAGE_TOKENS]
    return data.tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def _put(second: str) -> None:
    st.session_state["prompt2"] = second


def _next_passage(data: Dataset) -> None:
    st.session_state["_passage"] = st.session_state.get("_passage", 0) + 1
    put_text(_passage(data, st.session_state["_passage"]))
