"""The features page: a table to search and sort, or one feature's own page where the URL names one."""

import math
from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.link_table import Cell, Column, link_table, opened
from apps.feature_list import KIND_WORDS, KINDS, ORDERS, Filters, choose, direction, with_gain
from apps.messages import no_feature, no_index, no_subject
from apps.notes_list import COLUMN, has_labels, kept, label_cell, noted_filter, notes_file, with_notes
from apps.place import Place
from apps.text import number, percent, signed
from apps.views import feature
from workbench.features.index import FeatureIndex
from workbench.figures import density_histogram

_TABLE = "feature_table"
_PER_PAGE = 40
_DENSITIES = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 1.0)
_GAINS = ("any", "0", "0.05", "0.1", "0.2", "0.3", "0.5")


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    if here.index is None:
        if any(artifact.kind == "analysis" for artifact in here.run.artifacts()) and no_subject(here.run):
            return
        no_index(here.run)
        return
    index = serve.index(here.index)
    serve.model(here.run)  # a feature's page needs it: the first click shall not wait for it
    table = with_notes(with_gain(index.table), index)
    filters = _filters()
    listed = kept(choose(table, filters), noted_filter(table))
    asked = st.query_params.get("feature")
    wanted = place.integer("feature")
    if wanted is not None and 0 <= wanted < index.n_features:
        feature.show(here, index, wanted, listed)
        return
    if asked is not None:
        no_feature(asked, index)
    _browse(here, index, table, listed, filters)


def _filters() -> Filters:
    """The filters in the side bar; they stay while one feature is shown, and lead from each to the next."""
    with st.sidebar:
        st.subheader("Filters")
        text = st.text_input(
            "Search",
            key="q",
            type="search",
            live="300ms",
            bind="query-params",
            persist_state="session",
            placeholder="name, label, note, token or number",
        )
        kinds = st.pills(
            "Named by",
            KINDS,
            selection_mode="multi",
            format_func=lambda k: KIND_WORDS[k],
            key="kind",
            bind="query-params",
            persist_state="session",
        )
        min_f1 = st.slider("F1 at least", 0.0, 1.0, 0.0, 0.05, key="f1", bind="query-params", persist_state="session")
        gain = st.select_slider(
            "Beats its best neuron by",
            _GAINS,
            key="gain",
            bind="query-params",
            persist_state="session",
            help="F1 of the feature less that of the best single neuron, of either sign, for the same concept.",
        )
        low, high = st.select_slider(
            "Fires on",
            _DENSITIES,
            (_DENSITIES[0], _DENSITIES[-1]),
            format_func=lambda d: percent(d),
            key="density",
            bind="query-params",
            persist_state="session",
        )
        live = st.toggle("Live features only", True, key="live", bind="query-params", persist_state="session")
        order = st.selectbox("Sort by", list(ORDERS), key="sort", bind="query-params", persist_state="session")
        reverse = st.toggle("Reverse", key="reverse", bind="query-params", persist_state="session")
    return Filters(
        text=text or "",
        kinds=tuple(kinds),
        live_only=live,
        density=(low, high),
        min_f1=min_f1,
        min_gain=None if gain == "any" else float(gain),
        order=order,
        reverse=reverse,
    )


def _browse(here: Place, index: FeatureIndex, table: pd.DataFrame, listed: pd.DataFrame, filters: Filters) -> None:
    st.title("Features", anchor=False)
    live = int((~table["dead"].astype(bool)).sum())
    st.caption(
        f"{len(listed):,} of {len(table):,} features listed · {live:,} live · {index.hook_name} · "
        f"{index.n_rows:,} recorded tokens · F1 is measured on documents that took no part in the naming"
    )
    if listed.empty:
        st.info("No feature passes these filters: loosen one of them.", icon=":material/filter_alt_off:")
        return
    pages = math.ceil(len(listed) / _PER_PAGE)
    page = max(1, min(st.session_state.get("page") or place.integer("page") or 1, pages))
    _list(here, listed.iloc[(page - 1) * _PER_PAGE : page * _PER_PAGE], filters, labelled=has_labels(table))
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.pagination(pages, key="page", bind="query-params")
        st.space("stretch")
        with st.container(width="content"):
            notes_file(index)
        st.download_button(
            "Download the list",
            lambda: listed.to_csv(index=False),
            "features.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    with st.expander(
        "How often they fire", icon=":material/bar_chart:", on_change="rerun", key="density_open"
    ) as panel:
        if panel.open:
            st.altair_chart(density_histogram(listed), width="stretch")
            st.caption("One that fires on almost every token, or on almost none, is seldom of use.")


_COLUMNS = [
    Column("#", sort="number"),
    Column("name", "text", "The concept it detects best.", sort="name"),
    Column("fires most on", "code"),
    Column("F1", "bar-number", "Of the name, on held-out documents.", sort="F1"),
    Column("best neuron", "bar-number", "F1 of the best single neuron for the same concept.", sort="best neuron"),
    Column("gain", help="F1 of the feature less that of its best neuron.", sort="gain over neuron"),
    Column("precision", sort="precision"),
    Column("recall", sort="recall"),
    Column("lift", help="Precision over the base rate.", sort="lift"),
    Column("fires on", help="Share of the recorded tokens.", sort="density"),
    Column("max", help="Its largest activation.", sort="maximum"),
]


def _list(here: Place, rows: pd.DataFrame, filters: Filters, *, labelled: bool) -> None:
    cells = [_row(here, row, labelled=labelled) for row in rows.itertuples()]
    _, ascending = direction(filters)
    link_table(
        [*_COLUMNS[:2], COLUMN, *_COLUMNS[2:]] if labelled else _COLUMNS,
        cells,
        key=_TABLE,
        ids=rows["feature"],
        on_open=_open,
        on_sort=_sort,
        sorted_by=(filters.order, ascending),
    )


def _row(here: Place, row: Any, *, labelled: bool) -> list[Cell]:
    href = here.href(place.FEATURES, feature=row.feature)
    return [
        Cell(f"{row.feature}", href=href),
        Cell(row.name, href=href),
        *([label_cell(row.label, row.bookmarked, href)] if labelled else []),
        Cell(row.top_tokens),
        Cell(number(row.f1), bar=row.f1),
        Cell(number(row.neuron_f1), bar=row.neuron_f1, hue="neurons"),
        Cell(signed(row.gain)),
        Cell(number(row.precision)),
        Cell(number(row.recall)),
        Cell(number(row.lift, 1)),
        Cell(percent(row.density)),
        Cell(number(row.max)),
    ]


def _open() -> None:
    place.show_feature(opened(_TABLE)[0])


def _sort() -> None:
    """A heading sorts by its column; the same one again turns the order round."""
    order = st.session_state[_TABLE].sort
    again = order == st.session_state["sort"]
    st.session_state["reverse"] = not st.session_state["reverse"] if again else False
    st.session_state["sort"] = order


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
