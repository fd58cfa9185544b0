"""Two sets of recorded rows: which features tell them apart, on documents that took no part in choosing them."""

from typing import Any

import numpy as np
import streamlit as st

from apps import place, serve
from apps.choices import segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import download
from apps.messages import no_index, plain
from apps.place import Place
from apps.recordings import recording_of
from apps.text import escape_markdown, number, percent, signed
from models.artifacts import ArtifactError
from workbench.features.comparing.contrast import Contrast, contrast, rows_where
from workbench.features.index.feature_index import FeatureIndex

_KEY = "contrast"
_BY_QUERY, _BY_DOCUMENT = "By a question to the labels", "Two documents"
_SHOWN = 30
_EXAMPLE = "split == 'test' and pos < 20"


def show(here: Place) -> None:
    """Draw it."""
    if here.index is None:
        no_index(here.run)
        return
    index = serve.index(here.index)
    way = segments("Sets of rows", [_BY_QUERY, _BY_DOCUMENT], "sets")
    try:
        if way == _BY_DOCUMENT:
            asked = _documents(index)
        else:
            asked = _questions(here, index)
        if asked is None:
            return
        found = _contrast(index.id, asked, index, here)
    except (ValueError, ArtifactError) as error:
        plain(ValueError(str(error)))
        return
    _show(here, index, found)


def _questions(here: Place, index: FeatureIndex) -> tuple[str, ...] | None:
    names = recording_of(here.run, index).column_names
    left, right = st.columns(2)
    settings: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}
    with left:
        first = st.text_input("First set: rows where", key="first", placeholder=_EXAMPLE, **settings)
    with right:
        second = st.text_input("Second set: rows where", key="second", placeholder="empty: all other rows", **settings)
    with st.expander("What can be asked", icon=":material/help:"):
        st.markdown(
            "Comparisons of a column with a number, a text in quotes, `True` or `False`, by `==`, `!=`, `<`, `<=`, "
            "`>`, `>=` or `in (…)`, joined by `and`, `or`, `not` and brackets. Nothing else is understood, and "
            "nothing is run."
        )
        st.caption(escape_markdown("Columns: " + ", ".join(names)))
    if not (first or "").strip():
        st.caption("Say which rows the first set is of; the second is all others where it is left empty.")
        return None
    return (first, second or "")


def _documents(index: FeatureIndex) -> tuple[str, ...] | None:
    known = index.documents[index.documents["rows"] > 0]
    names = known.sort_values("rows", ascending=False)["name"].astype(str).tolist()
    if len(names) < 2:
        st.caption("The recording is of one document: there is no other to hold it against.")
        return None
    left, right = st.columns(2)
    chosen = []
    for pane, key, label, at in ((left, "doc_a", "First document", 0), (right, "doc_b", "Second document", 1)):
        if st.session_state.get(key) not in (None, *names):
            del st.session_state[key]
        with pane:
            chosen.append(st.selectbox(label, names, index=at, key=key, bind="query-params", persist_state="session"))
    return ("", *chosen)


@st.cache_data(max_entries=16, show_spinner="Asking every feature …")
def _contrast(index_id: str, asked: tuple[str, ...], _index: FeatureIndex, _here: Place) -> Contrast:
    if asked[0]:
        first, second = rows_where(_index, recording_of(_here.run, _index), asked[0], asked[1])
    else:
        number_of = {str(name): i for i, name in enumerate(_index.documents["name"])}
        doc = _index.rows["doc"]
        first, second = (np.flatnonzero(doc == number_of[name]) for name in asked[1:])
    return contrast(_index, first, second)


def _show(here: Place, index: FeatureIndex, found: Contrast) -> None:
    table = found.table
    beyond = int((np.abs(table["auroc"] - 0.5) > found.bar).sum())
    facts(
        [
            Fact("First set", f"{found.n_first:,}", "held-out rows"),
            Fact("Second set", f"{found.n_second:,}", "held-out rows"),
            Fact("Best feature's AUROC", number(float(table["auroc"].iloc[0]), 3), "held out", hue="trained"),
            Fact(
                "By chance",
                f"{number(0.5 - found.bar, 3)} … {number(0.5 + found.bar, 3)}",
                f"{len(found.chance)} shuffles",
                help="How far from one half the feature lies that is chosen by labels shuffled a stretch at a time.",
            ),
            Fact("Beyond chance", f"{beyond:,}", f"of {len(table):,} features"),
        ],
        key="contrast_facts",
    )
    columns = [
        Column("#"),
        Column("name", "text"),
        Column(
            "AUROC", "bar-number", "Held out: how often a row of the first set has more of it than one of the second."
        ),
        Column(
            "where chosen", help=f"The AUROC on the other half of the {found.groups}, by which features are ranked."
        ),
        Column("shuffled", help="Its AUROC, held out, with shuffled labels."),
        Column("first set", help="The share of the first set's rows on which it fires."),
        Column("second set", help="The share of the second set's rows on which it fires."),
        Column("difference", help="Of the two shares, in percentage points."),
    ]
    part = table.head(_SHOWN)
    rows = [_row(here, line) for line in part.to_dict("records")]
    link_table(columns, rows, key=_KEY, ids=part["feature"].tolist(), on_open=_follow)
    st.caption(
        f"Shows {len(part):,} of {len(table):,} features that fire on either set, those that tell them apart "
        f"best on half of the {found.groups} first; all numbers but that one are of the other half. Bars: twice the "
        "distance from one half, blue where the first set has more of it."
    )
    download(table, "Download all", "contrast")


def _row(here: Place, line: dict[str, Any]) -> list[Cell]:
    href = here.href(place.FEATURES, feature=line["feature"])
    return [
        Cell(str(line["feature"]), href=href),
        Cell(line["name"], href=href),
        Cell(
            number(line["auroc"], 3),
            bar=2 * abs(line["auroc"] - 0.5),
            hue="" if line["auroc"] >= 0.5 else "neurons",
        ),
        Cell(number(line["fit_auroc"], 3)),
        Cell(number(line["shuffled"], 3)),
        Cell(percent(line["first_rate"])),
        Cell(percent(line["second_rate"])),
        Cell(signed(100 * line["difference"], 2)),
    ]


def _follow() -> None:
    place.jump(place.FEATURES, feature=opened(_KEY)[0])
