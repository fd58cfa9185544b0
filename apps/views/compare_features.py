"""Two features side by side: how far they fire at the same places, beside chance, and their examples."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.components.token_strip import Strip, token_strip
from apps.layout import download, halves
from apps.messages import no_index, plain
from apps.place import Place
from apps.text import escape_markdown, number, percent, signed
from apps.words import called, words_of
from models.artifacts import ArtifactError
from workbench.features.comparing.siblings import overlap
from workbench.features.index.feature_index import Example, FeatureIndex
from workbench.features.query.telling import most_telling
from workbench.sae import SAE

_EXAMPLES = 6
_MEASURES = (
    ("F1 of the name", "f1", number),
    ("precision", "precision", number),
    ("recall", "recall", number),
    ("fires on", "density", percent),
    ("maximum", "max", number),
    ("mean where it fires", "mean", number),
    ("documents it fires in", "documents", percent),
)


def show(here: Place) -> None:
    """Draw them."""
    if here.index is None:
        no_index(here.run)
        return
    index = serve.index(here.index)
    pair = _pair(index)
    if pair is None:
        return
    a, b = pair
    _overlap(here, index, a, b)
    _beside(here, index, a, b)
    left, right = halves()
    for pane, side, feature, other in ((left, "a", a, b), (right, "b", b, a)):
        with pane:
            _examples(here, index, feature, other, side)


def _pair(index: FeatureIndex) -> tuple[int, int] | None:
    """The two that the URL names; by default the most telling, and the one that fires with it most."""
    live = index.table[~index.table["dead"].astype(bool)]
    order = live.loc[most_telling(live).sort_values().index]
    if order.empty:
        st.info("No feature of this dictionary fires on the recorded text: there are none to compare.")
        return None
    left, right = st.columns(2)
    with left:
        first = _chosen("a", "First feature", int(order["feature"].iloc[0]), index.n_features - 1)
    related = serve.record(index, first).coactive["feature"]
    nearest = int(related.iloc[0]) if len(related) else int(order["feature"].iloc[-1])
    with right:
        return first, _chosen("b", "Second feature", nearest, index.n_features - 1)


def _chosen(key: str, label: str, default: int, last: int) -> int:
    asked = place.integer(key) if key in st.query_params else default
    if asked is None or not 0 <= asked <= last:
        plain(ValueError(f"there is no feature {st.query_params[key]!r}: they are numbered 0 to {last}."))
        place.put(key, None)
        st.session_state.pop(key, None)
    if not 0 <= st.session_state.get(key, 0) <= last:  # of another dictionary
        del st.session_state[key]
    help_ = "Its number; a feature's own page leads here too."
    return int(
        st.number_input(label, 0, last, default, key=key, bind="query-params", persist_state="session", help=help_)
    )


def _overlap(here: Place, index: FeatureIndex, a: int, b: int) -> None:
    found = overlap(index, a, index, b)
    cosine = _cosine(here, index, a, b)
    facts(
        [
            Fact("Both fire on", f"{int(found['both']):,}", f"of {int(found['either']):,} rows where either does"),
            Fact(
                "Jaccard",
                number(found["jaccard"], 3),
                hue="trained",
                help="Rows where both fire over where either does.",
            ),
            Fact("By chance", number(found["chance"], 5), help="The Jaccard of two that fire as often, independently."),
            _signed_fact("Correlation", found["correlation"], "Of their values, over all recorded rows."),
            _signed_fact("Cosine", cosine, "Of their decoder directions."),
        ],
        key="overlap",
    )


def _signed_fact(label: str, value: float, help_: str) -> Fact:
    """A number from −1 to 1: blue above nothing, vermilion below."""
    return Fact(label, signed(value, 3), help=help_, hue="neurons" if value < 0 else "trained")


def _cosine(here: Place, index: FeatureIndex, a: int, b: int) -> float:
    try:
        dictionary = serve.dictionary_of(here.run, index)
    except ArtifactError:
        return float("nan")
    if not isinstance(dictionary, SAE):
        return float("nan")
    directions = dictionary.W_dec[[a, b]].detach().float().numpy()
    return float(directions[0] @ directions[1] / np.prod(np.linalg.norm(directions, axis=1)).clip(1e-12))


def _beside(here: Place, index: FeatureIndex, a: int, b: int) -> None:
    rows = {feature: serve.record(index, feature).row for feature in (a, b)}
    known: dict[str, list[Any]] = {name: [rows[f][key] for f in (a, b)] for name, key, _ in _MEASURES}
    columns = [
        Column(words_of(index.config).one, "word"),
        Column("name", "text"),
        *(Column(n) for n, _, _ in _MEASURES),
    ]
    cells = [
        [
            Cell(called(rows[f], index), href=here.href(place.FEATURES, feature=f)),
            Cell(rows[f]["name"], href=here.href(place.FEATURES, feature=f)),
            *(Cell(form(rows[f][key])) for _, key, form in _MEASURES),
        ]
        for f in (a, b)
    ]
    link_table(columns, cells, key="beside")
    table = pd.DataFrame(known).assign(feature=[a, b], name=[rows[f]["name"] for f in (a, b)])
    download(table, "Download", f"features-{a}-{b}")


def _examples(here: Place, index: FeatureIndex, feature: int, other: int, side: str) -> None:
    record = serve.record(index, feature)
    st.subheader(escape_markdown(f"{called(record.row, index)}: {record.row['name']}"), anchor=False)
    examples = serve.examples(index, feature, "top")[:_EXAMPLES]
    if not examples:
        st.caption("It never fires on the recorded text.")
        return
    rows, values = index.values(other)
    strips = [
        Strip(
            example.tokens,
            [max(v, 0.0) for v in example.values],
            title=f"{example.doc}{f':{example.line}' if example.line is not None else ''}",
            badge=number(example.value),
            focus=example.focus,
            notes=[[("the other one", number(v))] for v in _values_at(example, rows, values)],
            href=here.href(place.LAB, f=feature, prompt="".join(example.tokens)),
            action="prompt lab",
        )
        for example in examples
    ]
    token_strip(strips, key=f"compared_{side}", label="activation", scale=float(record.row["max"]))
    n = int(record.row["firings"])
    st.caption(f"Shows {len(strips)} of {n:,} firings, the strongest; a token's note has the other's value.")


def _values_at(example: Example, rows: np.ndarray, values: np.ndarray) -> list[float]:
    """A feature's values at the tokens of another's example."""
    first = example.row - example.focus
    window = np.zeros(len(example.tokens))
    start, stop = np.searchsorted(rows, [first, first + len(window)])
    window[rows[start:stop] - first] = values[start:stop]
    return window.tolist()
