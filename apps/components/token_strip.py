"""The token strip: text whose tokens are coloured by a value, read by hover, arrows and screen readers alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import streamlit as st

from apps.components.assets import script, style
from apps.text import number, visible

_STRIP = st.components.v2.component(
    "token_strip", html='<div class="root"></div>', css=style("token_strip"), js=script("token_strip")
)

Note = tuple[str, str] | tuple[str, str, str]
Hue = Literal["activation", "loss", "signed"]


@dataclass(frozen=True)
class Strip:
    """One stretch of text.

    Attributes:
        tokens: the tokens as the tokenizer gives them; white space becomes glyphs here.
        values: one number a token; NaN where there is none.
        title: where the text stands.
        badge: a short number or word before the title.
        focus: the token that the strip is about, underlined.
        notes: for each token, further lines of its hover note: name, value, and `code` or `rule` as a style.
        href: where the strip's own link leads.
        action: that link's words.
        span: a stretch of it that is marked: its first token, and the one behind its last.
    """

    tokens: Sequence[str]
    values: Sequence[float] | np.ndarray
    title: str = ""
    badge: str = ""
    focus: int | None = None
    notes: Sequence[Sequence[Note]] | None = None
    href: str = ""
    action: str = field(default="Try in the prompt lab")
    span: tuple[int, int] | None = None

    def payload(self) -> dict[str, Any]:
        """The strip as plain JSON."""
        values = [float(v) for v in self.values]
        return {
            "tokens": [visible(t) for t in self.tokens],
            "values": [None if np.isnan(v) else round(v, 4) for v in values],
            "shown": [number(v, 3) for v in values],
            "title": self.title,
            "badge": self.badge,
            "focus": self.focus,
            "notes": self.notes,
            "href": self.href,
            "action": self.action,
            "span": self.span,
        }


def token_strip(
    strips: Sequence[Strip],
    *,
    key: str,
    label: str,
    scale: float,
    hue: Hue = "activation",
    chosen: int | None = None,
    span: tuple[int, int] | None = None,
    on_token: Callable[[], None] | None = None,
    on_span: Callable[[], None] | None = None,
    on_open: Callable[[], None] | None = None,
) -> None:
    """Show strips of text coloured by one quantity.

    Args:
        strips: what to show, one below the other.
        key: the component's key; inside the callbacks `st.session_state[key].token`, `.span` and `.open` hold what was
            clicked.
        label: what the values are, for hover notes and screen readers.
        scale: the value that gets the full colour.
        hue: which colour: `activation` is blue, `loss` vermilion; `signed` is blue above zero and vermilion below.
        chosen: the locked token.
        span: the selected stretch of the first strip: its first token, and the one behind its last.
        on_token: called when a token is clicked; without it, and without `on_span`, tokens are not clickable.
        on_span: called when both ends of a stretch were clicked, or chosen by Enter; the first end is held in the
            browser, and Escape lets go of it.
        on_open: called when a strip's link is followed.
    """
    _STRIP(
        key=key,
        data={
            "strips": [strip.payload() for strip in strips],
            "label": label,
            "max": max(float(scale), 1e-9),
            "hue": hue,
            "chosen": chosen,
            "choosable": on_token is not None or on_span is not None,
            "spans": on_span is not None,
            "span": span,
        },
        on_token_change=on_token or _nothing,
        on_span_change=on_span or _nothing,
        on_open_change=on_open or _nothing,
    )


def _nothing() -> None:
    """A trigger must have a callback to be sent at all."""
