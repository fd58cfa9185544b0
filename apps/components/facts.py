"""A row of facts: a small label over a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from apps.components.assets import script, style

_FACTS = st.components.v2.component("facts", html='<div class="root"></div>', css=style("facts"), js=script("facts"))


@dataclass(frozen=True)
class Fact:
    """One number with its name, a line under it, a hint, and a colour that says whose it is."""

    label: str
    value: str
    note: str = ""
    help: str = ""
    hue: Literal["", "trained", "neurons"] = ""


def facts(shown: Sequence[Fact], *, key: str) -> None:
    """Show the facts side by side."""
    _FACTS(key=key, data={"facts": [vars(fact) for fact in shown]})
