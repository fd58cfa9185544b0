"""The features page: a table or a map to search, or one feature's own page where the URL names one."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve
from apps.choices import segments
from apps.components.link_table import Cell, Column, Keys, Preview, link_table, opened
from apps.feature_filters import SEARCH, everything, filters, loosen
from apps.feature_list import AT_LEAST, SUPPORT, Listed, listed, listed_by_filters, query_of
from apps.messages import no_feature, no_index, no_subject
from apps.notes_list import ANY as ANY_NOTES
from apps.notes_list import COLUMN, has_labels, label_cell, notes_file
from apps.place import Place
from apps.shown import draw
from apps.text import escape_markdown, number, percent, signed
from apps.told import Told, read
from apps.views import feature, feature_concept, features_map
from apps.words import Words, about, words_of
from workbench.features.columns import LATENTS, kind_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.query.filters import BEST_MATCH, ORDERS
from workbench.figures import density_histogram

_TABLE = "feature_table"
_PER_PAGE = 40
_CHIP = 60  # characters of a filter's words
_VIEWS = ["Table", "Map"]


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    if here.index is None:
        if any(artifact.kind == "analysis" for artifact in here.run.artifacts()) and no_subject(here.run):
            return
        no_index(here.run)
        return
    index = serve.index(here.index)
    words = words_of(index.config)
    serve.model(here.run)  # a feature's page needs it: the first click shall not wait for it
    asked_for, sample = filters(query_of(index), words)
    found = listed(here, index, asked_for, sample)
    asked = st.query_params.get("feature")
    wanted = place.integer("feature")
    if wanted is not None and 0 <= wanted < index.n_features:
        feature.show(here, index, wanted, found)
        return
    if asked is not None:
        no_feature(asked, index)
    _browse(here, index, found, words)


def _browse(here: Place, index: FeatureIndex, found: Listed, words: Words) -> None:
    st.title(words.many.capitalize(), anchor=False)
    live = int((~found.table["dead"].astype(bool)).sum())
    st.caption(
        f"{len(found.rows):,} of {len(found.table):,} {words.many} listed · {live:,} live: they fire on one or more of "
        f"the {index.n_rows:,} recorded tokens · {escape_markdown(index.hook_name)} · "
        "F1 is measured on documents that took no part in the naming"
    )
    if about(index):
        st.caption(escape_markdown(about(index)))
    view = _VIEWS[0]
    if kind_of(index.config) == LATENTS:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            view = segments("View", _VIEWS, "view")
            if view == "Map":
                colour = features_map.choose_colour()
    _in_force(found, words)
    feature_concept.offer(found, words)
    if found.filters.concept:
        feature_concept.show(index, found, words)
    if found.rows.empty:
        _nothing_passes(found, words)
        if view == "Table":
            return
    if view == "Map":
        features_map.show(here, index, found, colour)
        return
    _said_of_matches(found)
    pages = math.ceil(len(found.rows) / _PER_PAGE)
    page = max(1, min(st.session_state.get("page") or place.integer("page") or 1, pages))
    _list(here, index, found, page, pages)
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.pagination(pages, key="page", bind="query-params")
        st.caption("J and K go from row to row, Enter opens, / searches.", width="content")
        st.space("stretch")
        notes_file(index)
        st.download_button(
            "Download the list",
            lambda: found.rows.to_csv(index=False),
            "features.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    with st.expander(
        "How often they fire",
        icon=":material/bar_chart:",
        on_change="rerun",
        key="density_open",
        bind="query-params",
    ) as panel:
        if panel.open:
            rows = _told(here, index, found)
            said = "Histogram of the listed features by the share of tokens on which each fires"
            draw(rows.into(density_histogram), rows, name="density", alt=said)
            st.caption("One that fires on almost every token, or on almost none, is seldom of use.")


def _told(here: Place, index: FeatureIndex, found: Listed) -> Told:
    """The listed features: by their filters where these are all that was asked, by their numbers otherwise."""
    assert here.index is not None
    opened_index = read(here.run, here.index, "index", FeatureIndex.open, index)
    if found.by_filters_alone:
        return listed_by_filters(opened_index, found)
    numbers = found.rows["feature"].tolist()
    return opened_index.at("table").do("set_index", "feature", drop=False).at("loc").item(numbers)


def _in_words(name: str, asked: str, words: Words) -> str:
    """A filter in the words for what is listed."""
    if name == "live_only":
        return f"live {words.many} only"
    return asked.replace("neuron", words.rival) if name in ("beyond_neuron", "gain") else asked


def _in_force(found: Listed, words: Words) -> None:
    """Every filter that keeps something from the list, wherever it is set, and a way to take it away."""
    asked = [(name, _in_words(name, said, words)) for name, said in found.filters.active.items()]
    if found.matches is not None:
        asked.append(("sample", "fires on the example"))
    if found.noted != ANY_NOTES:
        asked.append(("noted", f"notes: {found.noted}"))
    if not asked:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="in_force"):
        st.caption("Filters:", width="content")
        for name, said in asked:
            st.button(
                escape_markdown(said if len(said) <= _CHIP else said[: _CHIP - 1] + "…"),
                key=f"chip_{name}",
                icon=":material/close:",
                icon_position="right",
                help=f"Take this filter away: {escape_markdown(said)}",
                on_click=loosen,
                args=(name,),
            )


def _nothing_passes(found: Listed, words: Words) -> None:
    """Nothing is listed: which filter is to be loosened, and how much each would let through."""
    ways = [(name, _in_words(name, asked, words), n) for name, asked, n in found.loosened()]
    if found.matches is not None:
        n = len(found.query.choose(found.filters, written=found.written))
        ways.append(("sample", "fires on the example", n))
    if found.noted != ANY_NOTES:
        n = len(found.query.choose(found.filters, matches=found.matches, written=found.written))
        ways.append(("noted", f"notes: {found.noted}", n))
    helping = sorted((way for way in ways if way[2]), key=lambda way: -way[2])
    advice = "loosen one of them:" if helping else "no single one of them is to blame, so loosen several."
    st.info(f"No {words.one} passes these filters: {advice}", icon=":material/filter_alt_off:")
    with st.container(horizontal=True):
        for name, asked, n in helping:
            st.button(
                f"{escape_markdown(asked)}: without it {n:,}", key=f"loosen_{name}", on_click=loosen, args=(name,)
            )
        st.button("Clear all filters", type="tertiary", on_click=loosen, args=everything(), key="loosen_all")


def _said_of_matches(found: Listed) -> None:
    """What the column of matches means, where there is one."""
    words = {
        "text": "fits: how much more often it fires on the example than on the recording, a log-likelihood ratio in "
        "nats; below zero where less often.",
        "token": "fits: the share of its firings that are on the token.",
        "context": "fits: the share of its examples that hold the words. They are looked for in the strongest examples "
        "and those of the bands, and not in every place where it fires.",
        "concept": "All scores are of the statement, and not of what each is named for.",
    }
    if found.matched_by:
        st.caption(words[found.matched_by])


_FIT = Column("fits", help="How well it fits what is searched for.", sort=BEST_MATCH)
_SHARE = replace(_FIT, kind="bar-number")
# By what is searched for; a statement's fit is F1, which has its column.
_FITS: dict[str, list[Column]] = {"": [], "concept": [], "text": [_FIT], "token": [_SHARE], "context": [_SHARE]}
_COLUMNS = [
    Column("#", sort="number"),
    Column("name", "text", "The concept it detects best.", sort="name"),
    Column("fires most on", "code"),
    Column("F1", "bar-number", "Of the name, on held-out documents.", sort="F1"),
    Column("at least", help=AT_LEAST, sort="F1, lower end"),
    Column("support", help=SUPPORT, sort="support"),
    Column("best {rival}", "bar-number", "F1 of the best single {rival} for the same concept.", sort="best neuron"),
    Column("gain", help="F1 less that of the best {rival}.", sort="gain over neuron"),
    Column("precision", sort="precision"),
    Column("recall", sort="recall"),
    Column("lift", help="Precision over the base rate.", sort="lift"),
    Column("fires on", help="Share of the recorded tokens.", sort="density"),
    Column("max", help="Its largest activation.", sort="maximum"),
]
_OF_NAMES = {"F1", "F1, lower end", "support", "best neuron", "gain over neuron", "precision", "recall", "lift"}


def _list(here: Place, index: FeatureIndex, found: Listed, page: int, pages: int) -> None:
    rows = found.rows.iloc[(page - 1) * _PER_PAGE : page * _PER_PAGE]
    labelled, matched = has_labels(found.table), found.matched_by
    words = words_of(index.config)
    if matched == "concept":
        rows = feature_concept.of_statement(index, rows, found.filters.concept, words)
    cells = [_row(here, row, words, labelled=labelled, matched=matched) for row in rows.itertuples()]
    name, label = _COLUMNS[:2], [COLUMN] if labelled else []
    measures = [
        replace(c, label=c.label.format(rival=words.rival), help=c.help.format(rival=words.rival)) for c in _COLUMNS[2:]
    ]
    if matched == "concept":
        # The list can be ordered by what stands in the index, which is what they score at their own names.
        name = [name[0], replace(name[1], label="its own name")]
        measures = [
            replace(c, sort=BEST_MATCH if c.sort == "F1" else "") if c.sort in _OF_NAMES else c for c in measures
        ]
    column, ascending = found.query.sorted_by(found.filters, found.matches)
    order = next(order for order, (of, _) in ORDERS.items() if of == column)
    link_table(
        [*name, *label, *_FITS[matched], *measures],
        cells,
        key=_TABLE,
        ids=rows["feature"],
        on_open=_open,
        on_sort=partial(_sort, order),
        sorted_by=(order, ascending),
        previews=_previews(found, rows),
        keys=Keys(SEARCH, before=page > 1, after=page < pages),
        on_turn=_turn,
    )


def _previews(found: Listed, rows: pd.DataFrame) -> list[Preview | None]:
    strongest = found.query.strongest(rows["feature"].tolist())
    previews: list[Preview | None] = []
    for row in rows.itertuples():
        example = strongest.get(int(row.feature))
        if example is None:
            previews.append(None)
            continue
        where = example.doc + (f", line {example.line}" if example.line is not None else "")
        title = f"{row.name} · strongest in {where}"
        previews.append(Preview(title, example.tokens, example.values, example.focus))
    return previews


def _row(here: Place, row: Any, words: Words, *, labelled: bool, matched: str) -> list[Cell]:
    href = here.href(place.FEATURES, feature=row.feature)
    return [
        Cell(getattr(row, "title", f"{row.feature}"), href=href),
        Cell(row.name, href=href),
        *([label_cell(row.label, row.bookmarked, href)] if labelled else []),
        *(Cell(number(row.match), bar=row.match if fit is _SHARE else None) for fit in _FITS[matched]),
        Cell(row.top_tokens),
        Cell(number(row.f1), bar=row.f1),
        Cell(number(row.f1_low)),
        Cell(number(row.support, 0)),
        Cell(number(getattr(row, words.rival_f1)), bar=getattr(row, words.rival_f1), hue="neurons"),
        Cell(signed(row.gain)),
        Cell(number(row.precision)),
        Cell(number(row.recall)),
        Cell(number(row.lift, 1)),
        Cell(percent(row.density)),
        Cell(number(row.max)),
    ]


def _open() -> None:
    place.show_feature(opened(_TABLE)[0])


def _turn() -> None:
    """J below the last row turns to the next page, K above the first to the one before."""
    st.session_state["page"] = (st.session_state.get("page") or 1) + st.session_state[_TABLE].turn


def _sort(sorted_by: str) -> None:
    """A heading sorts by its column; that by which the list is sorted already turns the order round."""
    order = st.session_state[_TABLE].sort
    st.session_state["reverse"] = not st.session_state["reverse"] if order == sorted_by else False
    st.session_state["sort"] = order


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
