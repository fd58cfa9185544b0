"""The text that pages about one text share: typed, kept in the URL, or drawn from held-out documents."""

from typing import Any, cast

import numpy as np
import streamlit as st
import torch

from apps import place, serve
from apps.messages import plain
from models.dataset import Dataset
from workbench.features.text_reading import TextReading, check_reads_text
from workbench.runs import Run

BOS_WORD = "⟨start⟩"
_PASSAGE_TOKENS = 56


def reads_text(subject: Any, *, say: bool = True) -> bool:
    """Whether a typed text can be given to a subject; where it cannot, the page says why, unless told not to."""
    try:
        check_reads_text(subject)
    except ValueError as error:
        if say:
            plain(error)
        return False
    return True


def prompt_box(run: Run) -> str:
    """Draw the box, and give what stands in it."""
    data = serve.dataset(run)
    if "prompt" not in st.session_state and "prompt" not in st.query_params:
        begin_with = st.session_state.get("_last_prompt") or _passage(data, 0)
        st.session_state["prompt"] = st.query_params["prompt"] = begin_with
    text = st.text_area(
        "Text",
        key="prompt",
        height=132,
        bind="query-params",
        label_visibility="collapsed",
        placeholder="Type or paste text, then press Ctrl+Enter.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Another passage",
            icon=":material/shuffle:",
            on_click=_next_passage,
            args=(data,),
            help="From a document that the subject was not trained on.",
        )
        st.caption("Ctrl+Enter reads the text. Hover a token to look, click it to lock it.", width="content")
    st.session_state["_last_prompt"] = text
    return text


def with_start(run: Run, words: list[str], axis: str = "target") -> list[str]:
    """Words of the run's sequences, with BOS, which those of tokens begin with, as it is shown."""
    starts = axis == "target" and serve.dataset(run).bos is not None
    return [BOS_WORD, *words[1:]] if starts and words else words


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


def _next_passage(data: Dataset) -> None:
    st.session_state["_passage"] = st.session_state.get("_passage", 0) + 1
    st.session_state["prompt"] = _passage(data, st.session_state["_passage"])
    place.put("token", None)
