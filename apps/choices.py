"""Choices of one thing among several, whose value stands in the URL; and which analysis of a verb is looked at."""

from typing import Any, TypeVar

import streamlit as st

from workbench.runs import Artifact, Run

Option = TypeVar("Option", str, int)


def select(label: str, options: list[str], default: str, key: str) -> str:
    """One of some names that come from files: a selectbox shows them as they are."""
    _forget_foreign(options, key, default)
    return st.selectbox(
        label,
        options,
        index=options.index(default),
        key=key,
        bind="query-params",
        persist_state="session",
        width=240,
    )


def segments(
    label: str,
    options: list[Option],
    key: str,
    *,
    default: Option | None = None,
    kept: bool = True,
    visible: bool = True,
) -> Option:
    """One of some words or numbers of ours: the first, or the default, unless another is asked for.

    Args:
        label: what is chosen.
        options: at least one.
        key: in the URL.
        default: one of them; the first where it is None.
        kept: whether the choice outlives a visit to another page.
        visible: whether its label is shown.
    """
    first = options[0] if default is None else default
    _forget_foreign(options, key, first)
    chosen = st.segmented_control(
        label,
        options,
        default=first,
        required=True,
        key=key,
        bind="query-params",
        persist_state="session" if kept else None,
        width="content",
        label_visibility="visible" if visible else "collapsed",
    )
    return first if chosen is None else chosen  # of a link's `?key=` with nothing behind it Streamlit makes None


def analyses(run: Run, verb: str) -> dict[str, Artifact]:
    """The analyses that a verb made, by name."""
    found = [a for a in run.artifacts() if a.kind == "analysis" and a.manifest.config.get("verb") == verb]
    return {artifact.name: artifact for artifact in found}


def choose_analysis(found: dict[str, Artifact], key: str) -> Artifact:
    """The one that is asked for, or the newest; a selector where there are several."""
    newest = max(found.values(), key=lambda artifact: artifact.manifest.made.get("time", "")).name
    return found[select("Result", list(found), newest, key) if len(found) > 1 else newest]


def _forget_foreign(options: list[Any], key: str, default: Any) -> None:
    """A choice made of another run or result does not hold for this one: the default does.

    It is set, not taken away: of what is only taken away the browser hears nothing, and goes on showing it.
    """
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = default
