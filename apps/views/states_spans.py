"""Select a span of the text: which units are on throughout it, and where else the same are, beside random sets."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve_spans
from apps.choices import segments, select
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.components.token_strip import Strip, token_strip
from apps.layout import download, halves
from apps.messages import plain
from apps.place import Place
from apps.prompt_box import BOS_WORD, put_text
from apps.serve_spans import CODES, Asked, Match, Searched
from apps.text import escape_markdown, number, percent, shell
from models.artifacts import ArtifactError
from workbench.features.spans.bounds import SIDES, Bounds
from workbench.features.spans.spans import LEAST, N_RANDOM, active_set

_STRIP, _MATCHES = "span_strip", "span_matches"
_PAGE, _LABELS, _ACTIVE_HEIGHT = 8, 12, 320
# Of the page as it is, what a match's own link keeps.
_KEPT = ("hook", "on_side", "beyond", "threshold", "edges", "layer", "value", "unit", "pane_spans")
_EDGES = ["any", "off before", "off after", "off before and after"]
_QUANTILE, _VALUE = "its own quantile", "a value"
_OPEN = "Open this text"


def pane(here: Place, subject: Any, text: str, page: str, first: str | None = None) -> None:
    """Draw it folded, unless a span is selected; arguments as `show`."""
    with st.expander(
        "Other spans with the same active set",
        expanded=place.integer("from") is not None,
        key="pane_spans",
        on_change="rerun",
        bind="query-params",
    ) as fold:
        if fold.open:
            show(here, subject, text, page, first)


def show(here: Place, subject: Any, text: str, page: str, first: str | None = None) -> None:
    """Draw what is in the pane.

    Args:
        here: the run.
        subject: its subject.
        text: that was typed.
        page: that it is drawn on.
        first: the hook that is looked at elsewhere on the page.
    """
    known = {serve_spans.called(here, hook): hook for hook in serve_spans.hooks(here, subject)}
    if why := serve_spans.without_codes(here):
        st.caption(escape_markdown(f"{serve_spans.called(here, CODES).capitalize()} cannot be compared: {why}"))
    if not known:
        st.caption("Spans are looked for in a recording, and none was made of this subject's units. This makes one:")
        st.code(
            f"workbench harvest --run {shell(here.run.path)}" + (f" --hooks {first}" if first else ""), language="shell"
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        hook = known[select("Units of", list(known), first if first in known else next(iter(known)), "hook")]
        side = "above" if hook == CODES else segments("A unit is on", [*SIDES], "on_side")
        measure = _VALUE if hook == CODES else segments("Beyond", [_QUANTILE, _VALUE], "beyond")
        edges = segments("At the span's ends", _EDGES, "edges")
    try:
        words, values = serve_spans.held(here, subject, hook, text)
    except ValueError as error:
        plain(error)
        return
    at = serve_spans.searched(here, hook)
    threshold = _threshold(values, measure)
    quantile, value = (threshold, None) if measure == _QUANTILE else (None, threshold)
    limits = serve_spans.limits(at, value, quantile, side)
    words = [BOS_WORD, *words[1:]]
    span = _span_in_url(len(words))
    active = np.empty(0, np.int64)
    if span is not None:
        active = active_set(
            values, *span, limits, off_before=edges in (_EDGES[1], _EDGES[3]), off_after=edges in (_EDGES[2], _EDGES[3])
        )
    _text(words, values, limits, active, span)
    if span is None:
        return
    if not len(active):
        st.info("No unit is beyond the threshold throughout this span: lower it, or select a shorter span.")
        return
    asked = Asked((side, value, quantile), tuple(active.tolist()), span[1] - span[0])
    found = serve_spans.found(at, limits, asked)
    try:
        random, why = serve_spans.chance(at, limits, asked), ""
    except ValueError as error:
        random, why = None, str(error)
    _numbers(found, random, active, at, span)
    if why:
        st.caption(escape_markdown(f"There is no control: {why}"))
    left, right = halves()
    with left:
        _units(values, limits, active, span)
    with right:
        _labels(here, at, found, random, asked)
    _matches(here, subject, at, limits, asked, found, page)


def _threshold(values: np.ndarray, measure: str) -> float:
    """The slider: a share of each unit's own values, or a value up to the largest of this text."""
    if measure == _QUANTILE:
        low, high, step, begin = 0.5, 0.99, 0.01, 0.85
    else:
        high = float(np.ceil(max(np.abs(values[1:]).max(initial=0), 0.1) * 10) / 10)
        low, step, begin = 0.0, 0.05 if high <= 2 else 0.1, round(high / 4, 1)
    kept = st.session_state.get("threshold")
    if kept is not None and not low <= kept <= high:
        del st.session_state["threshold"]
    label = "Quantile of each unit, over the recording" if measure == _QUANTILE else "Value"
    return st.slider(label, low, high, begin, step, key="threshold", bind="query-params", width=420)


def _span_in_url(n: int) -> tuple[int, int] | None:
    """The selected span: `from` its first token, `to` its last. The start of the text is never part of it."""
    first, last = place.integer("from"), place.integer("to")
    if first is None or last is None:
        return None
    if not 1 <= first <= last < n:
        plain(ValueError(f"there is no span from token {first} to {last} here: they are numbered 1 to {n - 1}."))
        return None
    return first, last + 1


def _text(
    words: list[str], values: np.ndarray, limits: Bounds, active: np.ndarray, span: tuple[int, int] | None
) -> None:
    if span is None:
        st.caption("Click the first token of a span, then its last; or Enter on each, and Escape to let go.")
        shown, scale = np.zeros(len(words)), 1
    else:
        st.caption(
            f"{len(active):,} units are on throughout tokens {span[0]} to {span[1] - 1}; the text is coloured by how "
            "many of them are on at each token. Click two tokens for another span."
        )
        shown, scale = limits.on(values, active).sum(1), max(1, len(active))
    strip = Strip(words, shown)
    token_strip([strip], key=_STRIP, label="units of the set that are on", scale=scale, span=span, on_span=_select)


def _numbers(
    found: pd.DataFrame, random: pd.DataFrame | None, active: np.ndarray, at: Searched, span: tuple[int, int]
) -> None:
    counts = [] if random is None else random.groupby("draw").size().reindex(range(N_RANDOM), fill_value=0).tolist()
    chance = f"random sets {np.mean(counts):,.1f}, at most {max(counts):,}" if counts else ""
    rows = int(found["length"].sum())
    by_chance = (
        f"random sets {percent(random['length'].sum() / N_RANDOM / len(at.source.seq))}" if random is not None else ""
    )
    facts(
        [
            Fact("active set", f"{len(active):,}", f"of {at.source.n_units:,} units"),
            Fact(
                "spans that share it",
                f"{len(found):,}",
                chance,
                f"Of {span[1] - span[0]} tokens or more, throughout which at least {LEAST:.0%} of the set is on.",
                "trained",
            ),
            Fact("of all tokens", percent(rows / len(at.source.seq)), by_chance, "That lie in these spans."),
        ],
        key="span_facts",
    )


def _units(values: np.ndarray, limits: Bounds, active: np.ndarray, span: tuple[int, int]) -> None:
    st.markdown("**The active set**")
    units, inside = limits.unit[active], values[span[0] : span[1]]
    table = pd.DataFrame(
        {
            "unit": units,
            "side": np.where(limits.sign[active] > 0, "above", "below"),
            "threshold": limits.bound[active],
            "mean in the span": inside[:, units].mean(0),
            "over the text": values[1:, units].T.astype(float).round(4).tolist(),
        }
    )
    table = table.iloc[np.argsort(-np.abs(table["mean in the span"]), kind="stable")]
    st.dataframe(
        table,
        hide_index=True,
        height=min(_ACTIVE_HEIGHT, 38 + 35 * len(table)),
        column_config={
            "threshold": st.column_config.NumberColumn(format="%.3f"),
            "mean in the span": st.column_config.NumberColumn(format="%.3f"),
            "over the text": st.column_config.LineChartColumn(width="medium"),
        },
    )
    download(table.drop(columns="over the text"), "The set as CSV", "active-set")


def _labels(here: Place, at: Searched, found: pd.DataFrame, random: pd.DataFrame | None, asked: Asked) -> None:
    st.markdown("**What holds in these spans**")
    try:
        said = serve_spans.said(here, at)
    except ArtifactError as error:
        st.caption(escape_markdown(f"{str(error)[0].upper()}{str(error)[1:]}"))
        return
    if said is None:
        st.caption("No labels were recorded with these tokens.")
        return
    table = serve_spans.labels(at, said, asked, found, random)
    columns = [
        Column("label", "text"),
        Column("in the spans", "bar-number", "The share of their tokens at which it holds."),
        Column("anywhere", help="The share of all tokens: its base rate."),
        Column("lift", help="How many times the base rate."),
        Column("random sets", help="The share in spans that random sets of units find."),
        Column("throughout", help="The share of the spans in which it holds at every token."),
    ]
    rows = [
        [
            Cell(str(row["label"])),
            Cell(percent(row["precision"]), bar=row["precision"]),
            Cell(percent(row["base_rate"])),
            Cell(f"{number(row['lift'], 1)}×"),
            Cell(percent(row["random"])),
            Cell(percent(row["throughout"])),
        ]
        for row in table.head(_LABELS).to_dict("records")
    ]
    link_table(columns, rows, key="span_labels")
    st.caption(f"Shows {len(rows)} of {len(table):,} statements, those that hold most beyond their base rate.")
    download(table, "All as CSV", "labels-of-spans")


def _matches(
    here: Place, subject: Any, at: Searched, limits: Bounds, asked: Asked, found: pd.DataFrame, page_of: str
) -> None:
    if found.empty:
        st.info("Nothing else in the recording shares this set: lower the threshold, or select a shorter span.")
        return
    n_pages = -(-len(found) // _PAGE)
    page = min(max(place.integer("matches") or 1, 1), n_pages)
    first = (page - 1) * _PAGE
    shown = found.iloc[first : first + _PAGE]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**The spans**")
        st.button("Earlier", icon=":material/chevron_left:", disabled=page == 1, on_click=_turn, args=(page - 1,))
        st.button("Later", icon=":material/chevron_right:", disabled=page == n_pages, on_click=_turn, args=(page + 1,))
        st.caption(
            f"{first + 1:,}–{first + len(shown):,} of {len(found):,}, those first whose units are most like the "
            "set's (Jaccard).",
            width="content",
        )
    matches = serve_spans.matches(at, limits, asked, shown, first, subject.tokenizer)
    links = [_link(match) for match in matches]
    n_active = len(asked.active)
    strips = [
        Strip(
            match.tokens,
            match.on,
            title=f"{match.doc} · tokens {match.start}–{match.stop - 1} · {match.shared} of {n_active} units",
            badge=number(match.jaccard),
            href=here.href(page_of, **link),
            action=_OPEN,
            span=match.span,
        )
        for match, link in zip(matches, links, strict=True)
    ]
    token_strip(
        strips,
        key=_MATCHES,
        label="units of the set that are on",
        scale=max(1, n_active),
        on_open=lambda: _open(links[int(st.session_state[_MATCHES].open)]),
    )
    download(found, "All spans as CSV", "spans")


def _link(match: Match) -> dict[str, Any]:
    """Where a span opens: its whole text, and the span in it where its tokens are read again as they were."""
    kept = {name: st.query_params[name] for name in _KEPT if name in st.query_params}
    here = {"from": match.start, "to": match.stop - 1} if match.as_it_was else {}
    return {"prompt": match.text} | kept | here


def _select() -> None:
    first, behind = st.session_state[_STRIP].span
    place.put("from", max(1, int(first)))
    place.put("to", int(behind) - 1)
    place.put("matches", None)


def _open(link: dict[str, Any]) -> None:
    """The page is this one: its text is another, and so are the span and what was locked."""
    put_text(link["prompt"])
    for name in ("from", "to"):
        place.put(name, link.get(name))


def _turn(page: int) -> None:
    place.put("matches", page)
