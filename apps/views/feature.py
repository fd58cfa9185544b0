"""One feature's own page."""

import math
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, Hue, link_table, opened
from apps.components.session_link import session_link
from apps.components.token_strip import Strip, token_strip
from apps.feature_list import KIND_WORDS, neighbours_in
from apps.layout import halves
from apps.notes_panel import notes_panel
from apps.place import Place
from apps.text import escape_markdown, number, percent, signed
from workbench.features.index import Example, FeatureIndex, FeatureRecord
from workbench.figures import activation_histogram

_PER_PAGE = 8
_SHOWN = {"Strongest": "top", "From every band": "band", "Near misses": "near_miss"}


def show(here: Place, index: FeatureIndex, feature: int, listed: pd.DataFrame) -> None:
    """Draw the page of a feature, between those before and after it in the filtered list."""
    record = serve.record(index, feature)
    _head(here, index, record, feature, listed)
    notes_panel(index, feature)
    _measures(record)
    left, right = halves()
    with left:
        _examples(here, index, record, feature)
        _documents(record)
    with right:
        _evidence(here, record)


def _head(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int, listed: pd.DataFrame) -> None:
    before, after, at = neighbours_in(listed, feature)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "All features", icon=":material/arrow_back:", on_click=place.put, args=("feature", None), type="tertiary"
        )
        st.space("stretch")
        where = f"{at:,} of {len(listed):,}" if at else "outside the filters"
        st.caption(where, width="content")
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=before is None,
            on_click=place.show_feature,
            args=(before,),
            shortcut="K",
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=after is None,
            on_click=place.show_feature,
            args=(after,),
            shortcut="J",
        )
        strongest = serve.examples(index, feature, "top")[:1]
        if strongest:
            there = {"f": feature, "prompt": "".join(strongest[0].tokens)}
            session_link(
                "Try in the prompt lab →",
                here.href(place.LAB, **there),
                partial(place.jump, place.LAB, **there),
                key="to_lab",
            )
    st.title(escape_markdown(record.row["name"]), anchor=False)
    kind = KIND_WORDS[record.row["kind"]]
    st.caption(f"Feature {feature:,} · named by {kind}" if record.row["kind"] != "none" else f"Feature {feature:,}")
    if record.row["dead"]:
        st.info("This feature never fires on the recorded text: it is dead.", icon=":material/do_not_disturb_on:")


def _measures(record: FeatureRecord) -> None:
    row = record.row
    sign = "−" if row["neuron_sign"] < 0 else "+"
    named = row["kind"] != "none"
    held_out = "Of the name, on documents that took no part in choosing it."
    shown = [
        Fact("F1", number(row["f1"]), help=held_out, hue="trained"),
        Fact("Precision", number(row["precision"]), help=held_out, hue="trained"),
        Fact("Recall", number(row["recall"]), help=held_out, hue="trained"),
        Fact(
            "Lift", number(row["lift"], 1) + ("×" if named else ""), help="Precision over the base rate.", hue="trained"
        ),
        Fact(
            "Best neuron's F1",
            number(row["neuron_f1"]),
            f"neuron {sign}{row['neuron']}" if named else "",
            hue="neurons",
            help="The single neuron, of either sign, that detects the same concept best.",
        ),
        Fact("Gain over it", signed(row["f1"] - row["neuron_f1"])),
        Fact("Fires on", percent(row["density"]), "of tokens"),
        Fact("Maximum", number(row["max"])),
        Fact("Mean", number(row["mean"]), "where it fires"),
    ]
    facts(shown, key="measures")


def _examples(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    st.subheader("Where it fires", anchor=False)
    shown = st.segmented_control(
        "Examples",
        list(_SHOWN),
        default="Strongest",
        required=True,
        key="show",
        label_visibility="collapsed",
        bind="query-params",
        persist_state="session",
    )
    kind = _SHOWN[shown]
    examples = serve.examples(index, feature, kind)
    if not examples:
        st.caption("There is none of this kind.")
        return
    if kind == "near_miss":
        st.caption("Contexts in which it came close to firing and did not; the number is its value before the cut.")
    pages = math.ceil(len(examples) / _PER_PAGE)
    n = min(st.session_state.get("example_page", 1), pages)
    part = serve.with_losses(index, examples[(n - 1) * _PER_PAGE : n * _PER_PAGE], here.run)
    maximum = float(record.row["max"])
    strips = [_strip(here, feature, example, maximum) for example in part]
    st.session_state["_examples"] = ["".join(example.tokens) for example in part]
    token_strip(strips, key="examples", label="activation", scale=maximum, on_open=lambda: _to_lab(feature))
    if pages > 1:
        st.pagination(pages, key="example_page")


def _documents(record: FeatureRecord) -> None:
    st.subheader("Documents it fires in", anchor=False)
    n = len(record.documents)
    st.caption(f"{n:,} of them; those where it fires most often come first.")
    columns = [Column("document", "text"), Column("split", "word"), Column("firings"), Column("share of its tokens")]
    rows = [
        [
            Cell(row.doc),
            Cell("held out" if row.split == "test" else row.split),
            Cell(f"{row.firings:,}"),
            Cell(percent(row.density)),
        ]
        for row in record.documents.head(10).itertuples()
    ]
    link_table(columns, rows, key="documents")


def _strip(here: Place, feature: int, example: Example, maximum: float) -> Strip:
    line = f":{example.line}" if example.line is not None else ""
    badge = number(example.value)
    if example.kind == "band" and example.band is not None:
        badge = f"{example.band * 20}–{example.band * 20 + 20}%"
    losses = example.losses or [math.nan] * len(example.tokens)
    return Strip(
        tokens=example.tokens,
        values=[v if v > 0 else 0.0 for v in example.values],
        title=f"{example.doc}{line}",
        badge=badge,
        focus=example.focus,
        notes=[
            [("of the maximum", percent(v / maximum)), ("loss", f"{number(x)} nats")]
            for v, x in zip(example.values, losses, strict=True)
        ],
        href=here.href(place.LAB, f=feature, prompt="".join(example.tokens)),
        action="prompt lab",
    )


def _to_lab(feature: int) -> None:
    prompt = st.session_state["_examples"][st.session_state["examples"].open]
    place.jump(place.LAB, f=feature, prompt=prompt)


def _evidence(here: Place, record: FeatureRecord) -> None:
    st.subheader("How strongly", anchor=False)
    edges, counts = record.histogram
    top = float(record.row["max"])
    bands = {f"{share:.0%}": top * share for share in (0.2, 0.4, 0.6, 0.8)} if counts.sum() else {}
    threshold = float(record.row["threshold"]) if record.row["kind"] != "none" else None
    st.altair_chart(activation_histogram(edges, counts, bands, threshold), width="stretch")
    st.caption(
        f"{int(counts.sum()):,} firings. Dashes: the bands that examples are drawn from, in shares of the maximum."
    )
    _logits(record)
    _tokens(record)
    _concepts(record)
    _related(here, record)


def _logits(record: FeatureRecord) -> None:
    st.subheader("What it says next", anchor=False)
    if record.logits_up is None or record.logits_down is None:
        st.caption("Its hook has no direct path to the logits.")
        return
    strongest = max(record.logits_up["logit"].abs().max(), record.logits_down["logit"].abs().max())
    columns = [Column("token", "token"), Column("logit", "bar-number", "Direct effect on the logit of the next token.")]
    left, right = st.columns(2)
    sides: list[tuple[Any, str, pd.DataFrame, Hue]] = [
        (left, "Raises", record.logits_up, ""),
        (right, "Lowers", record.logits_down, "neurons"),
    ]
    for side, title, table, hue in sides:
        rows = [
            [Cell(t), Cell(signed(v, 3), bar=abs(v) / strongest, hue=hue)]
            for t, v in zip(table["token"].head(10), table["logit"].head(10), strict=True)
        ]
        with side:
            link_table(columns, rows, key=f"logits_{title}", caption=title)


def _tokens(record: FeatureRecord) -> None:
    st.subheader("Tokens it fires on", anchor=False)
    columns = [Column("token", "token"), Column("firings"), Column("share", "bar-number"), Column("mean activation")]
    rows = [
        [Cell(row.token), Cell(f"{row.firings:,}"), Cell(percent(row.share), bar=row.share), Cell(number(row.mean))]
        for row in record.tokens.rename(columns={"count": "firings"}).itertuples()
    ]
    link_table(columns, rows, key="tokens", height=290)


def _concepts(record: FeatureRecord) -> None:
    st.subheader("Concepts it detects", anchor=False)
    if record.concepts.empty:
        st.caption("No concept found that it detects.")
        return
    columns = [
        Column("concept", "text"),
        Column("kind", "word"),
        Column("F1", "bar-number"),
        Column("best neuron", "bar-number"),
        Column("prec."),
        Column("recall"),
        Column("lift"),
    ]
    rows = [
        [
            Cell(row.concept),
            Cell(KIND_WORDS.get(row.kind, row.kind)),
            Cell(number(row.f1), bar=row.f1),
            Cell(number(row.neuron_f1), bar=row.neuron_f1, hue="neurons"),
            Cell(number(row.precision)),
            Cell(number(row.recall)),
            Cell(number(row.lift, 1)),
        ]
        for row in record.concepts.itertuples()
    ]
    link_table(columns, rows, key="concepts", height=260)


def _related(here: Place, record: FeatureRecord) -> None:
    st.subheader("Its neighbours", anchor=False)
    lists = [
        ("neighbours", record.neighbours, "cosine", "Decoder directions that point the same way"),
        ("coactive", record.coactive, "jaccard", "Features that fire together with it"),
    ]
    for key, table, measure, caption in lists:
        columns = [Column("#"), Column("name", "text"), Column(measure, "bar-number")]
        rows = [_related_row(here, row, measure) for row in table.to_dict("records")]
        link_table(columns, rows, key=key, ids=table["feature"], on_open=partial(_follow, key), caption=caption)


def _related_row(here: Place, row: dict[str, Any], measure: str) -> list[Cell]:
    href = here.href(place.FEATURES, feature=row["feature"])
    return [
        Cell(str(row["feature"]), href=href),
        Cell(row["name"], href=href),
        Cell(number(row[measure]), bar=abs(row[measure])),
    ]


def _follow(key: str) -> None:
    place.show_feature(opened(key)[0])
