"""A small table with aligned numbers, bars inside cells and links to features; every list of the explorer is one.

A row may have a preview, a stretch of coloured text that its hover or focus shows in the browser alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import streamlit as st

from apps.components.assets import script, style
from apps.text import visible

_TABLE = st.components.v2.component(
    "link_table", html='<div class="root"></div>', css=style("link_table"), js=script("link_table")
)


Hue = Literal["", "neurons", "muted"]  # of a bar: blue, vermilion, grey; without a bar, of the words: grey


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        label: its heading.
        kind: `text` takes the room that is left and is cut where it must be; `prose` is broken into lines; `word` is
            never cut; `code` is in the code font, and `token` shows its white space as glyphs too; `passage` is in the
            code font and broken into lines; `bar-number` draws a bar beside its number.
        help: a hint on the heading.
        sort: what a click on the heading asks to be sorted by; empty where it cannot be.
    """

    label: str
    kind: Literal["text", "prose", "word", "code", "token", "passage", "number", "bar-number"] = "number"
    help: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell's words, with a link and a bar (a share of one) where it has them."""

    text: str
    href: str = ""
    bar: float | None = None
    hue: Hue = ""


@dataclass(frozen=True)
class Preview:
    """A stretch of text that is shown beside a row.

    Attributes:
        title: what the row is, in full, and where the text stands.
        tokens: the tokens as the tokenizer gives them; white space becomes glyphs here.
        values: one number a token, none below zero; the largest has the full colour.
        focus: the token that it is about.
    """

    title: str
    tokens: Sequence[str]
    values: Sequence[float] | np.ndarray
    focus: int

    def payload(self) -> dict[str, Any]:
        """As little as draws it: of every value a whole number of percent."""
        values = np.maximum(np.asarray(self.values, dtype=np.float64), 0)
        shares = np.rint(100 * values / max(float(values.max(initial=0)), 1e-9)).astype(int).tolist()
        tokens = [visible(token) for token in self.tokens]
        return {"title": self.title, "tokens": tokens, "shares": shares, "focus": self.focus}


@dataclass(frozen=True)
class Keys:
    """The keyboard of a page's main table: J and K go from row to row, Enter opens, `/` goes to the search.

    Attributes:
        search: the key of the search box.
        before, after: whether there are rows beyond the first and the last one, to which `on_turn` leads.
    """

    search: str = ""
    before: bool = False
    after: bool = False


def signed_cell(text: str, value: float, largest: float) -> Cell:
    """A number with its sign, and a bar as long as its share of the largest: blue above zero, vermilion below."""
    return Cell(text, bar=abs(value) / max(largest, 1e-12), hue="" if value >= 0 else "neurons")


def link_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell | str]],
    *,
    key: str,
    ids: Sequence[Any] = (),
    on_open: Callable[[], None] | None = None,
    on_sort: Callable[[], None] | None = None,
    sorted_by: tuple[str, bool] | None = None,
    height: int | None = None,
    caption: str = "",
    previews: Sequence[Preview | None] = (),
    keys: Keys | None = None,
    on_turn: Callable[[], None] | None = None,
) -> None:
    """Show a table.

    Args:
        columns: headings and kinds.
        rows: one cell a column.
        key: the component's key; inside `on_open`, `opened(key)` says which link was followed.
        ids: what each row's links stand for.
        on_open: called when a link is followed by a plain click.
        on_sort: called when a heading is clicked; inside it, `st.session_state[key].sort` holds the column's `sort`.
        sorted_by: the `sort` that the rows are in, and whether small ones come first.
        height: at most so many pixels high, with a scroll bar.
        caption: a line above the table.
        previews: one a row, where it has any.
        keys: what the keyboard does; of one table of a page.
        on_turn: called when J or K goes beyond the rows; inside it, `st.session_state[key].turn` is 1 or -1.
    """
    _TABLE(
        key=key,
        data={
            "columns": [vars(column) for column in columns],
            "rows": [[_cell(c, column) for c, column in zip(row, columns, strict=True)] for row in rows],
            "ids": [int(i) for i in ids] or [None] * len(rows),
            "sorted": sorted_by,
            "height": height,
            "caption": caption,
            "previews": [preview and preview.payload() for preview in previews],
            "keys": vars(keys) if keys else None,
        },
        on_open_change=on_open or _nothing,
        on_sort_change=on_sort or _nothing,
        on_turn_change=on_turn or _nothing,
    )


def opened(key: str) -> tuple[int, int]:
    """Inside a table's `on_open`: the id of the followed row, and the column of the link."""
    row, column = st.session_state[key].open
    return int(row), int(column)


def _cell(value: Cell | str, column: Column) -> dict[str, Any]:
    cell = Cell(value) if isinstance(value, str) else value
    text = visible(cell.text) if column.kind == "token" else cell.text
    found: dict[str, Any] = {"text": text}
    if cell.href:
        found["href"] = cell.href
    if cell.bar is not None and cell.bar == cell.bar:
        found |= {"bar": round(float(cell.bar), 4), "hue": cell.hue}
    elif cell.hue:
        found["hue"] = cell.hue
    return found


def _nothing() -> None:
    """A trigger must have a callback to be sent at all."""
