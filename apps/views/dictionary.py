"""The part of the runs page that is about a dictionary: its health, how many features have a name, and for what."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from apps import place, serve, serve_results
from apps.choices import segments
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import halves
from apps.place import Place
from apps.shown import draw
from apps.text import escape_markdown, number, percent, signed
from apps.told import Told, read, run_of
from apps.words import words_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.figures import concept_gain, dictionary_comparison, naming_fractions
from workbench.figures.concept_gain import concepts_by_gain
from workbench.figures.dictionary_comparison import shares_of
from workbench.figures.slices import lines
from workbench.runs import Artifact, Run

_CONCEPTS = "concept_table"
_CONCEPT_KINDS = {"single statements": "single", "pairs of statements": "pair"}
_PER_PAGE = 20
_WIDE_PANE = 640  # a concept's row has nine cells
_TABLE_PANE = 540  # a dictionary's five measures
LIVE_TO_NAME = "live where named"
_TOKEN_ALONE = "F1 of knowing which token it is and nothing else: near 1, the concept is no more than a set of tokens."


def show(here: Place) -> None:
    """Draw the part."""
    artifact = _dictionary_artifact(here)
    if artifact is not None:
        _health(here.run, artifact)
    if here.index is None:
        st.caption("No dictionary of this run has been indexed, so there are no features to browse yet.")
        return
    index = serve.index(here.index)
    kept = read(here.run, here.index, "index", FeatureIndex.open, index)
    _naming(kept)
    _concepts(here, kept)


def _dictionary_artifact(here: Place) -> Artifact | None:
    """The dictionary behind the chosen index; without an index, the newest one."""
    found = [a for a in here.run.artifacts() if a.kind == "sae"]
    if here.index is not None:
        found = [a for a in found if a.id in here.index.manifest.inputs.values()]
    return found[-1] if found else None


def _health(run: Run, dictionary: Artifact) -> None:
    metrics = serve_results.opened(dictionary, serve_results.dictionary_metrics)
    st.subheader("The dictionary beside its controls", anchor=False)
    if metrics is None:
        st.caption("It has not been measured: `workbench sae` measures the dictionaries it trains.")
        return
    st.caption(escape_markdown(dictionary.name) + " · on documents it was not trained on, at equal sparsity")
    left, right = halves(_TABLE_PANE)
    with left:
        opened = run_of(run)
        code = f"json.loads((run.find('sae', {dictionary.name!r}).path / 'metrics.json').read_text('utf8'))"
        measured = Told(metrics, code, opened.imports | {"import json"}, opened.lines).named("metrics")
        shares = measured.into(shares_of)
        words = "Explained variance and loss recovered of the dictionary, beside PCA, chance and the neurons themselves"
        draw(shares.into(dictionary_comparison), shares, name="dictionary-comparison", alt=words)
    with right:
        columns = [Column("dictionary", "word"), *(Column(title, help=help_) for _, title, help_, _ in _METRICS)]
        rows = [
            [Cell(row["dictionary"]), *(Cell(form(row.get(key))) for key, _, _, form in _METRICS)] for row in metrics
        ]
        link_table(columns, rows, key="dictionary_metrics")


def _percent_or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


_METRICS = [
    ("l0", "L0", "Latents active at once.", lambda v: number(v, 1)),
    (
        "explained_variance",
        "explained variance",
        "Share of the activations' variance that it rebuilds.",
        _percent_or_dash,
    ),
    ("dead_fraction", "silent, held out", "Latents that fire on none of the held-out rows.", _percent_or_dash),
    (
        "loss_recovered_zero",
        "loss recovered, zero",
        "Against putting zeros in place of the activations.",
        _percent_or_dash,
    ),
    ("loss_recovered_mean", "loss recovered, mean", "Against putting their mean in place.", _percent_or_dash),
]


def _naming(index: Told) -> None:
    many = words_of(index.value.config).many
    st.subheader(f"How many {many} have a name", anchor=False)
    left, right = halves(_TABLE_PANE)
    naming = index.at("naming")
    with left:
        words = f"Share of live {many} that have a name, by kind of name, beside neurons and the other controls"
        draw(naming.into(naming_fractions), naming, name="naming", alt=words)
    with right:
        columns = [
            Column("dictionary", "word"),
            Column("named by", "word"),
            Column(LIVE_TO_NAME, help="Fire on any training token that names are chosen on."),
            Column("named", help="With F1 of one half or more and a lift of two or more, on held-out documents."),
            Column("share", "bar-number"),
            Column("median F1", "bar-number"),
            Column("size", help="Median number of tokens, or of statements, in a name that holds."),
        ]
        rows = [
            [
                Cell(row.dictionary),
                Cell("token set" if row.kind == "token" else row.kind),
                Cell(f"{row.live:,}"),
                Cell(f"{row.named:,}"),
                Cell(percent(row.share), bar=row.share),
                Cell(number(row.median_f1), bar=row.median_f1),
                Cell(number(row.median_size, 0)),
            ]
            for row in naming.value.itertuples()
        ]
        link_table(columns, rows, key="naming_table")
        table, results = index.value.table, index.value.config.get("results", {})
        if "n_fit_rows" in results:
            live = int((~table["dead"].astype(bool)).sum())
            st.caption(
                f"{LIVE_TO_NAME.capitalize()}: they fire on any of the {results['n_fit_rows']:,} training tokens that "
                f"names are chosen on, and shares are of these. On any of all {index.value.n_rows:,} recorded tokens "
                f"{live:,} of {len(table):,} {many} fire."
            )
        st.caption(
            "Names and thresholds are chosen on some documents and scored on others. Sets of tokens are counted apart: "
            "only what token identity does not explain is news."
        )


def _concepts(here: Place, index: Told) -> None:
    column = words_of(index.value.config)
    st.subheader(f"Concepts that have a {column.one} of their own", anchor=False)
    about = st.text_input(
        "Search the statements", key="concept_q", placeholder="docstring", bind="query-params", width=320
    )
    kind = segments("Concepts", list(_CONCEPT_KINDS), "concepts", default="single statements", visible=False)
    news = st.toggle(
        f"Only where the {column.one} knows more than the token", key="news", bind="query-params", help=_TOKEN_ALONE
    )
    chosen = index.at("concepts").into(concepts_by_gain, _CONCEPT_KINDS[kind], about=about or "", beyond_token=news)
    concepts = chosen.value
    if concepts.empty:
        st.caption("There are none of this kind.")
        return
    better, much = int((concepts["gain"] >= 0.1).sum()), int((concepts["gain"] >= 0.2).sum())
    st.caption(
        f"{len(concepts):,} syntax concepts, those whose gain is surest first; each leads to all {column.many} that "
        f"detect it. The best {column.one} beats the best "
        f"{column.rival} by an F1 of 0.1 or more for {better:,} of them, by 0.2 or more for {much:,}. Upright strokes: "
        "what knowing the token alone gives."
    )
    pages = math.ceil(len(concepts) / _PER_PAGE)
    asked = st.session_state.get("concept_page", place.integer("concept_page") or 1)  # a link's, before it is drawn
    n = min(max(asked, 1), pages)
    drawn = chosen.into(lines, (n - 1) * _PER_PAGE, _PER_PAGE)
    part = drawn.value
    left, right = halves(_WIDE_PANE)
    with left:
        words = f"F1 of the best {column.one} for each concept, beside the best neuron, PCA, random and the token alone"
        draw(drawn.into(concept_gain), drawn, name="concepts", alt=words)
    with right:
        rows = [_concept_row(here, row) for row in part.itertuples()]
        concepts_shown = part["concept"].tolist()
        follow = partial(_follow, concepts_shown, part["feature"].tolist())
        columns = [replace(c, label=c.label.format(one=column.one)) for c in _CONCEPT_COLUMNS]
        link_table(columns, rows, key=_CONCEPTS, ids=range(len(rows)), on_open=follow)
    if pages > 1:
        st.pagination(pages, key="concept_page", bind="query-params")


_CONCEPT_COLUMNS = [
    Column("concept", "text"),
    Column("best {one}"),
    Column("F1", "bar-number"),
    Column("best neuron", "bar-number"),
    Column("PCA"),
    Column("random"),
    Column("token alone", help=_TOKEN_ALONE),
    Column("gain"),
    Column("95% interval", help="Of the gain, by bootstrap over held-out documents."),
]


def _concept_row(here: Place, row: Any) -> list[Cell]:
    href = here.href(place.FEATURES, feature=row.feature)
    return [
        Cell(row.concept, href=here.href(place.FEATURES, inside=row.concept)),
        Cell(f"{row.feature}", href=href),
        Cell(number(row.feature_f1), bar=row.feature_f1),
        Cell(number(row.neuron_f1), bar=row.neuron_f1, hue="neurons"),
        Cell(number(row.pca_f1)),
        Cell(number(row.random_f1)),
        Cell(number(row.token_f1)),
        Cell(signed(row.gain)),
        Cell(f"{signed(row.gain_low)} … {signed(row.gain_high)}"),
    ]


def _follow(concepts: list[str], features: list[int]) -> None:
    """A statement leads to all that detect it, the number of a feature to the one that does best."""
    row, column = opened(_CONCEPTS)
    if column:
        place.jump(place.FEATURES, feature=features[row])
        return
    st.session_state["inside"] = concepts[row]
    place.jump(place.FEATURES, inside=concepts[row])
