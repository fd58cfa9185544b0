"""On a feature's own page: how strongly it fires, what it says next, on which tokens, for what, and what is near it."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from apps import place
from apps.components.link_table import Cell, Column, Hue, link_table, opened
from apps.feature_list import AT_LEAST, KIND_WORDS, SUPPORT
from apps.place import Place
from apps.shown import draw
from apps.text import number, percent, signed
from apps.told import Told, call, read
from apps.words import words_of
from workbench.features.index.feature_index import FeatureIndex, FeatureRecord
from workbench.figures import activation_histogram


def show(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    """Draw it."""
    _values(here, index, record, feature)
    _logits(record, index)
    _tokens(record)
    _concepts(record, index)
    _related(here, record, words_of(index.config).many)


def _values(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    assert here.index is not None
    st.subheader("How strongly", anchor=False)
    counts = record.histogram[1]
    top = float(record.row["max"])
    bands = {f"{share:.0%}": top * share for share in (0.2, 0.4, 0.6, 0.8)} if counts.sum() else {}
    threshold = float(record.row["threshold"]) if record.row["kind"] != "none" else None
    kept = read(here.run, here.index, "index", FeatureIndex.open, index)
    told = Told(record, f"index.feature({feature})", kept.imports, kept.lines).named("feature")
    both = told.at("histogram")
    chart = call(activation_histogram, both.item(0), both.item(1), bands, threshold)
    said = "Histogram of its values where it fires, with the bands that examples are drawn from"
    draw(chart, told.at("firings"), name="activation-histogram", alt=said)
    st.caption(
        f"{int(counts.sum()):,} firings. Dashes: the bands that examples are drawn from, in shares of the maximum."
    )


def _logits(record: FeatureRecord, index: FeatureIndex) -> None:
    st.subheader("What it says next", anchor=False)
    if record.logits_up is None or record.logits_down is None:
        st.caption(words_of(index.config).no_logits)
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


def _concepts(record: FeatureRecord, index: FeatureIndex) -> None:
    st.subheader("Concepts it detects", anchor=False)
    if record.concepts.empty:
        st.caption("No concept found that it detects.")
        return
    words = words_of(index.config)
    columns = [
        Column("concept", "text"),
        Column("kind", "word"),
        Column("F1", "bar-number"),
        Column("at least", help=AT_LEAST),
        Column("support", help=SUPPORT),
        Column(f"best {words.rival}", "bar-number"),
        Column("prec."),
        Column("recall"),
        Column("lift"),
    ]
    rows = [
        [
            Cell(row["concept"]),
            Cell(KIND_WORDS.get(row["kind"], row["kind"])),
            Cell(number(row["f1"]), bar=row["f1"]),
            Cell(number(row["f1_low"])),
            Cell(number(row["support"], 0)),
            Cell(number(row[words.rival_f1]), bar=row[words.rival_f1], hue="neurons"),
            Cell(number(row["precision"])),
            Cell(number(row["recall"])),
            Cell(number(row["lift"], 1)),
        ]
        for row in record.concepts.to_dict("records")
    ]
    link_table(columns, rows, key="concepts", height=260)


def _related(here: Place, record: FeatureRecord, many: str) -> None:
    st.subheader("Its neighbours", anchor=False)
    lists = [
        ("neighbours", record.neighbours, "cosine", "Decoder directions that point the same way"),
        ("coactive", record.coactive, "jaccard", f"{many.capitalize()} that fire together with it"),
    ]
    for key, table, measure, caption in lists:
        columns = [Column("#"), Column("name", "text"), Column(measure, "bar-number")]
        rows = [_related_row(here, row, measure) for row in table.to_dict("records")]
        if not rows:
            st.caption(f"{caption}: there are none.")
            continue
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
