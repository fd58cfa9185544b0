"""Attention in the text itself: hover a token to see where one head looks from there, without a rerun."""

from collections.abc import Callable, Sequence

import streamlit as st
from jaxtyping import Float
from torch import Tensor

from apps.components.assets import script, style
from apps.components.pattern_grid import pack
from apps.text import visible

_TEXT = st.components.v2.component(
    "attention_text", html='<div class="root"></div>', css=style("attention_text"), js=script("attention_text")
)


def attention_text(
    queries: Sequence[str],
    pattern: Float[Tensor, "query key"],
    *,
    key: str,
    label: str,
    query: int | None,
    keys: Sequence[str] | None = None,
    on_query: Callable[[], None],
) -> None:
    """Show a text whose tokens tell what they look at, or who looks at them.

    Args:
        queries: the text that looks.
        pattern: one head's weights in [0, 1].
        key: the component's key; inside `on_query`, `st.session_state[key].query` holds a position.
        label: which head it is.
        query: the locked position.
        keys: the text that is looked at, where it is another.
        on_query: called when a token is clicked.
    """
    _TEXT(
        key=key,
        data={
            "queries": [visible(token) for token in queries],
            "keys": None if keys is None else [visible(token) for token in keys],
            "pattern": pack(pattern),
            "label": label,
            # Numbers of tokens that have no words would run into one another.
            "apart": all(token.isdecimal() for token in (keys or queries)[1:]),
            "query": query,
        },
        on_query_change=on_query,
    )
