"""The pattern grid: attention of every head in small, of one head in large.

Only the large head travels whole. A small one is drawn 62 pixels wide: of a text with more than `_SMALL` tokens it has
the largest weight of each block of neighbouring cells, so that a single look at one token is not lost.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence

import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from apps.components.assets import script, style
from apps.text import visible

_SMALL = 64  # cells along a side of a small head, at most

_GRID = st.components.v2.component(
    "pattern_grid", html='<div class="root"></div>', css=style("pattern_grid"), js=script("pattern_grid")
)


def pattern_grid(
    tokens: Sequence[str],
    patterns: Mapping[int, Float[Tensor, "head query key"]],
    *,
    key: str,
    layer: int,
    head: int,
    query: int | None,
    keys: Sequence[str] | None = None,
    causal: bool = True,
    names: Mapping[int, str] | None = None,
    columns: Sequence[str] | None = None,
    on_head: Callable[[], None],
    on_query: Callable[[], None],
) -> None:
    """Show attention patterns.

    Args:
        tokens: the text, one entry a position.
        patterns: for each layer, each head's weights in [0, 1].
        key: the component's key; inside the callbacks `st.session_state[key].head` holds `[layer, head]` and `.query` a
            position.
        layer: the layer shown large.
        head: the head shown large.
        query: the locked position, framed.
        keys: the text that is looked at, where it is another.
        causal: whether no position looks at later ones.
        names: what layers are called, where not by their numbers.
        columns: what stands side by side in a layer, where these are no heads.
        on_head: called when a small head is clicked.
        on_query: called when a cell is clicked.
    """
    _GRID(
        key=key,
        data={
            "tokens": [visible(t) for t in tokens],
            "keys": [visible(t) for t in (tokens if keys is None else keys)],
            "causal": causal,
            "columns": None if columns is None else list(columns),
            "layers": [
                {"layer": i, "name": (names or {}).get(i, f"layer {i}"), "heads": [pack(small) for small in _small(p)]}
                for i, p in sorted(patterns.items())
            ],
            "block": [_block(n) for n in patterns[layer].shape[1:]],
            "pattern": pack(patterns[layer][head]),
            "layer": layer,
            "head": head,
            "query": query,
        },
        on_head_change=on_head,
        on_query_change=on_query,
    )


def _small(patterns: Float[Tensor, "head query key"]) -> Float[Tensor, "head small_query small_key"]:
    """Patterns as they are drawn in small."""
    block = (_block(patterns.shape[1]), _block(patterns.shape[2]))
    return torch.nn.functional.max_pool2d(patterns[:, None].float(), block, ceil_mode=True)[:, 0]


def _block(n: int) -> int:
    """How many of n cells in a row are one of a small head."""
    return math.ceil(n / _SMALL)


def pack(pattern: Float[Tensor, "query key"]) -> str:
    """A pattern as one byte a cell, row by row, in base64: what a 128-token head needs is 22 kB."""
    return base64.b64encode((pattern.clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes()).decode()
