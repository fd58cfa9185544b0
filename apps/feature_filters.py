"""The filters of the list of features, in the side bar: every one of them stands in the URL."""

from typing import Any

import streamlit as st

from apps import place
from apps.feature_list import KIND_WORDS, KINDS
from apps.text import percent
from apps.words import Words
from workbench.features.query.filters import ANY, BEST_MATCH, ORDERS, Bounds, Filters
from workbench.features.query.table import FeatureTable

SEARCH = "q"  # the key of the search box, which `/` focuses
_DENSITIES = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 1.0)
_SUPPORTS = (0, 10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000)
_SHARES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_BOUND: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}
# Who searches on the page of one feature wants to see what is found.
_SEARCHED: dict[str, Any] = _BOUND | {"on_change": place.put, "args": ("feature", None)}
# Of each filter that can be loosened the widgets, and what they say where they ask for nothing.
_WIDGETS: dict[str, dict[str, Any]] = {
    "text": {SEARCH: ""},
    "token": {"on": ""},
    "context": {"around": ""},
    "concept": {"inside": None},
    "kinds": {"kind": []},
    "live_only": {"live": False},
    "beyond_neuron": {"beyond": False},
    "f1": {"f1": (0.0, 1.0)},
    "f1_low": {"f1_low": (0.0, 1.0)},
    "support": {"support": (_SUPPORTS[0], _SUPPORTS[-1])},
    "precision": {"precision": (0.0, 1.0)},
    "recall": {"recall": (0.0, 1.0)},
    "gain": {"gain": (-1.0, 1.0)},
    "density": {"density": (_DENSITIES[0], _DENSITIES[-1])},
    "documents": {"in_documents": (_SHARES[0], _SHARES[-1])},
    "max": {"max_from": None, "max_to": None},
    "sample": {"sample": ""},
    "noted": {"noted": "any"},
}


def loosen(*names: str) -> None:
    """From a callback: the widgets of these filters ask for nothing any more."""
    for name in names:
        for key, value in _WIDGETS[name].items():
            st.session_state[key] = value


def everything() -> tuple[str, ...]:
    """The names of all that can be loosened."""
    return tuple(_WIDGETS)


def filters(query: FeatureTable, words: Words) -> tuple[Filters, str]:
    """Draw them; what they ask for, and the text by whose features is searched.

    They stay while one feature is shown, and lead from each to the next; whoever searches is brought to the list.
    """
    with st.sidebar:
        st.subheader("Filters")
        text = st.text_input(
            "Search",
            key=SEARCH,
            type="search",
            live="300ms",
            placeholder="name, label, note, token, #12",
            **_SEARCHED,
        )
        concept = _inside(query, words)
        token, context, sample = _further(words)
        kinds = st.pills(
            "Named by", KINDS, selection_mode="multi", format_func=lambda kind: KIND_WORDS[kind], key="kind", **_BOUND
        )
        live = st.toggle(
            f"Live {words.many} only", True, key="live", help="Those that fire on any recorded token.", **_BOUND
        )
        beyond = st.toggle(
            f"Named beyond its {words.rival}",
            key="beyond",
            help=f"It has a name (F1 of .5 or more on held-out documents) and beats the best single {words.rival} at "
            "it.",
            **_BOUND,
        )
        bounds = _measures(words)
        order = st.selectbox(
            "Sort by",
            list(ORDERS),
            format_func=lambda order: order.replace("neuron", words.rival),
            key="sort",
            help=_BEST,
            **_BOUND,
        )
        reverse = st.toggle("Reverse", key="reverse", **_BOUND)
    asked = Filters(
        text=text or "",
        token=token,
        context=context,
        concept=concept,
        kinds=tuple(kinds),
        live_only=live,
        beyond_neuron=beyond,
        order=order or BEST_MATCH,
        reverse=reverse,
        **bounds,
    )
    return asked, sample


_BEST = (
    "The best match is how well one fits the token, words, statement or example that is asked for; where none is, the "
    "most telling. Most telling: of those with a statement of the labels and those with a set of tokens for a name in "
    "turn, the one whose gain is largest at the lower end of its F1, so that none comes first on the strength of a few "
    "tokens; then those without a name; last what never fires."
)


def _inside(query: FeatureTable, words: Words) -> str:
    if st.session_state.get("inside") not in (None, *query.concepts):
        st.session_state["inside"] = None  # another dictionary's
    chosen = st.selectbox(
        "Fires inside",
        query.concepts,
        index=None,
        key="inside",
        placeholder=f"one of {len(query.concepts):,} statements of the labels",
        help=f"Any statement of the labels, such as docstring: the {words.many} that detect it best, beside the best "
        "neuron and the other controls. Type a part of it.",
        **_SEARCHED,
    )
    return chosen or ""


def _further(words: Words) -> tuple[str, str, str]:
    keys = ("on", "around", "sample")
    used = any(st.session_state.get(key) or st.query_params.get(key) for key in keys)
    with st.expander("What it fires on", icon=":material/manage_search:", expanded=used):
        token = st.text_input(
            "Fires on the token",
            key="on",
            placeholder="self, or ' self' exactly",
            help="Without quotation marks the spaces around a token do not matter.",
            **_SEARCHED,
        )
        context = st.text_input(
            "Words around an example",
            key="around",
            placeholder='def "return self"',
            help=f"Looked for in the strongest examples of each {words.one} and in those of its bands, 24 tokens "
            "before and 8 after: not in every place where it fires. Quotation marks hold words together.",
            **_SEARCHED,
        )
        sample = st.text_area(
            "Like this example",
            key="sample",
            height=90,
            placeholder="Paste text, then press Ctrl+Enter.",
            help=f"The {words.many} that fire on this text, those first that fire on it most beyond how often they "
            "fire.",
            **_SEARCHED,
        )
    return token or "", context or "", sample or ""


def _measures(words: Words) -> dict[str, Bounds]:
    """Bounds of the measures; both ends of a slider are open."""
    names = ("f1", "f1_low", "support", "precision", "recall", "gain", "density", "documents", "max")
    used = any(st.query_params.get(key) for name in names for key in _WIDGETS[name])
    bounds = {}
    with st.expander("Measures", icon=":material/tune:", expanded=used):
        for name, label, least, help_ in (
            ("f1", "F1", 0.0, "Of the name, on documents that took no part in choosing it."),
            ("f1_low", "F1, lower end", 0.0, "Of its 95% interval: what few tokens leave open."),
            ("precision", "Precision", 0.0, None),
            ("recall", "Recall", 0.0, None),
            ("gain", f"Beats its best {words.rival} by", -1.0, f"F1 less that of the best single {words.rival}."),
        ):
            chosen = st.slider(label, least, 1.0, (least, 1.0), 0.05, key=name, help=help_, **_BOUND)
            bounds[name] = _open_ended(chosen, least, 1.0)
        steps: tuple[float, ...]
        for name, key, label, steps, form in (
            ("support", "support", "Held-out tokens that its name is true on", _SUPPORTS, _count),
            ("density", "density", "Fires on, of tokens", _DENSITIES, percent),
            ("documents", "in_documents", "Fires in, of documents", _SHARES, percent),
        ):
            ends = (steps[0], steps[-1])
            chosen = st.select_slider(label, steps, ends, format_func=form, key=key, **_BOUND)
            bounds[name] = _open_ended(chosen, *ends)
        with st.container(horizontal=True):
            low = st.number_input("Maximum from", value=None, min_value=0.0, key="max_from", **_BOUND)
            high = st.number_input("to", value=None, min_value=0.0, key="max_to", **_BOUND)
        bounds["max"] = (low, high)
    return {name: bound if bound != (None, None) else ANY for name, bound in bounds.items()}


def _count(n: float) -> str:
    return f"{n:.0f}"


def _open_ended(chosen: tuple[float, float], least: float, most: float) -> Bounds:
    low, high = chosen
    return (None if low <= least else low, None if high >= most else high)
