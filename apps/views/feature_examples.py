"""On a feature's own page: the contexts it fires in, and in which documents."""

import math

import streamlit as st

from apps import place, serve
from apps.choices import segments
from apps.components.link_table import Cell, Column, link_table
from apps.components.token_strip import Strip, token_strip
from apps.place import Place
from apps.text import number, percent
from workbench.features.index.feature_index import Example, FeatureIndex, FeatureRecord

_PER_PAGE = 8
_SHOWN = {"Strongest": "top", "From every band": "band", "Near misses": "near_miss"}


def show(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    """Draw them."""
    _examples(here, index, record, feature)
    _documents(record)


def _examples(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    st.subheader("Where it fires", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        kind = _SHOWN[segments("Examples", list(_SHOWN), "show", visible=False)]
        # Not unasked: the subject reads every example's whole sequence, longer than all else on the page takes.
        losses = st.toggle("Loss at each token", key="losses", bind="query-params", persist_state="session")
    examples = serve.examples(index, feature, kind)
    if not examples:
        st.caption("There is none of this kind.")
        return
    if kind == "near_miss":
        st.caption("Contexts in which it came close to firing and did not; the number is its value before the cut.")
    pages = math.ceil(len(examples) / _PER_PAGE)
    n = min(st.session_state.get("example_page", 1), pages)
    part = examples[(n - 1) * _PER_PAGE : n * _PER_PAGE]
    if losses:
        part = serve.with_losses(index, part, here.run)
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
    notes = [[("of the maximum", percent(v / maximum))] for v in example.values]
    if example.losses is not None:
        for note, loss in zip(notes, example.losses, strict=True):
            note.append(("loss", f"{number(loss)} nats"))
    return Strip(
        tokens=example.tokens,
        values=[v if v > 0 else 0.0 for v in example.values],
        title=f"{example.doc}{line}",
        badge=badge,
        focus=example.focus,
        notes=notes,
        href=here.href(place.LAB, f=feature, prompt="".join(example.tokens)),
        action="prompt lab",
    )


def _to_lab(feature: int) -> None:
    prompt = st.session_state["_examples"][st.session_state["examples"].open]
    place.jump(place.LAB, f=feature, prompt=prompt)
