"""A link that can be copied and opened in a new tab, and that a plain click follows inside the session."""

from collections.abc import Callable

import streamlit as st

from apps.components.assets import script, style

_LINK = st.components.v2.component(
    "session_link", html='<div class="root"></div>', css=style("session_link"), js=script("session_link")
)


def session_link(label: str, href: str, on_open: Callable[[], None], *, key: str) -> None:
    """Show the link; `on_open` is called when a plain click follows it.

    `st.page_link` would leave the run out of the address, which a new tab needs.
    """
    _LINK(key=key, data={"label": label, "href": href}, on_open_change=on_open, width="content")
