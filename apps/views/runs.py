"""The runs page: what was trained, how well, what was made from it, and what the dictionary found."""

from typing import Any, cast

import pandas as pd
import pyarrow as pa
import streamlit as st
from torch import Tensor

from apps import place, serve
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import halves
from apps.place import Place
from apps.text import escape_markdown, moment, number, percent, signed, size
from workbench.features.index import FeatureIndex
from workbench.figures import concept_gain, dictionary_comparison, naming_fractions, training_curve
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Artifact, Run

_CONCEPTS = "concept_table"


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    run = here.run
    kinds = {artifact.kind for artifact in run.artifacts()}
    st.title(escape_markdown(here.run_name), anchor=False)
    if "model" in kinds:
        _subject(run)
    for name in run.unfinished():
        st.info(
            f"{escape_markdown(name)} was begun and is unfinished: the verb that began it goes on with it.",
            icon=":material/hourglass:",
        )
    left, right = halves()
    with left:
        if "model" in kinds:
            _training(run)
    with right:
        _artifacts(run)
    dictionary = _dictionary_artifact(here)
    if dictionary is not None:
        _health(dictionary)
    if here.index is None:
        st.caption("No dictionary of this run has been indexed, so there are no features to browse yet.")
        return
    index = serve.index(here.index)
    _naming(index)
    _concepts(here, index)


def _subject(run: Run) -> None:
    subject = serve.model(run)
    cfg = subject.cfg
    shape = [
        Fact("Architecture", type(subject).__name__),
        Fact("Layers", f"{cfg.n_layers:,}"),
        Fact("Width", f"{cfg.d_model:,}", "d_model"),
        Fact("Heads", f"{cfg.n_heads:,}"),
        Fact("MLP", f"{cfg.d_mlp:,}", "d_mlp"),
        Fact("Context", f"{cfg.n_ctx:,}", "tokens"),
        Fact("Vocabulary", f"{cfg.d_vocab:,}", "tokens"),
        Fact("Parameters", f"{sum(p.numel() for p in subject.parameters()):,}"),
    ]
    facts(shape, key="subject_facts")
    data = serve.dataset(run)
    splits = cast(pa.Table, data.doc_table)["split"].to_pylist()
    held_out = data.sequences("test")
    n_held_out = int(cast(Tensor, data.mask)[held_out].sum()) - len(held_out)
    corpus = [
        Fact("Documents", f"{len(splits):,}", f"{splits.count('test'):,} held out"),
        Fact("Tokens", f"{data.n_tokens:,}", f"{n_held_out:,} held out"),
        Fact("Sequences", f"{len(data):,}", f"{len(held_out):,} held out"),
        Fact("Labels", f"{data.labels.num_columns if data.labels is not None else 0:,}", "of each token"),
    ]
    facts(corpus, key="corpus_facts")


def _training(run: Run) -> None:
    st.subheader("How it learned", anchor=False)
    artifact = run.find("model")
    log = serve.losses(artifact.id, artifact.path)
    if log is None:
        st.caption("No log of its training was kept.")
        return
    losses, baselines = losses_and_baselines(log)
    st.altair_chart(training_curve(losses, baselines), width="stretch")
    last = losses.groupby("split").last()["loss"].to_dict()
    rows = [[Cell(name), Cell(number(value, 3))] for name, value in (last | baselines).items()]
    link_table([Column("loss, nats a token", "text"), Column("at the end")], rows, key="losses")


def _artifacts(run: Run) -> None:
    st.subheader("What was made", anchor=False)
    columns = [
        Column("kind", "text"),
        Column("name", "text"),
        Column("size"),
        Column("id", "code"),
        Column("made"),
        Column("state"),
    ]
    rows = [
        [
            Cell(a.kind),
            Cell(a.name),
            Cell(size(a.n_bytes)),
            Cell(a.id[:8]),
            Cell(moment(a.manifest.made.get("time", ""))),
            Cell("stale" if a.stale else "whole"),
        ]
        for a in run.artifacts()
    ]
    link_table(columns, rows, key="artifacts")
    if any(a.stale for a in run.artifacts()):
        st.caption("Stale: something it was made from has been replaced since, or is gone.")


def _dictionary_artifact(here: Place) -> Artifact | None:
    """The dictionary behind the chosen index; without an index, the newest one."""
    found = [a for a in here.run.artifacts() if a.kind == "sae"]
    if here.index is not None:
        found = [a for a in found if a.id in here.index.manifest.inputs.values()]
    return found[-1] if found else None


def _health(dictionary: Artifact) -> None:
    metrics = serve.dictionary_metrics(dictionary.id, dictionary.path)
    st.subheader("The dictionary beside its controls", anchor=False)
    if metrics is None:
        st.caption("It has not been measured: `workbench sae` measures the dictionaries it trains.")
        return
    st.caption(escape_markdown(dictionary.name) + " · on documents it was not trained on, at equal sparsity")
    left, right = halves()
    with left:
        st.altair_chart(dictionary_comparison(_tidy(metrics)), width="stretch")
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
    ("dead_fraction", "dead", "Latents that never fire on the held-out rows.", _percent_or_dash),
    (
        "loss_recovered_zero",
        "loss recovered, zero",
        "Against putting zeros in place of the activations.",
        _percent_or_dash,
    ),
    ("loss_recovered_mean", "loss recovered, mean", "Against putting their mean in place.", _percent_or_dash),
]


def _tidy(metrics: list[dict[str, Any]]) -> pd.DataFrame:
    shown = [
        ("explained_variance", "explained variance"),
        ("loss_recovered_zero", "loss recovered (zero)"),
        ("loss_recovered_mean", "loss recovered (mean)"),
    ]
    return pd.DataFrame(
        [
            {"dictionary": row["dictionary"], "metric": title, "value": row[key]}
            for key, title in shown
            for row in metrics
            if row.get(key) is not None
        ],
        columns=["dictionary", "metric", "value"],
    )


def _naming(index: FeatureIndex) -> None:
    st.subheader("How many features have a name", anchor=False)
    left, right = halves()
    naming = index.naming
    with left:
        st.altair_chart(naming_fractions(naming), width="stretch")
    with right:
        columns = [
            Column("dictionary", "word"),
            Column("named by", "word"),
            Column("live"),
            Column("F1 ≥ ½"),
            Column("share", "bar-number"),
            Column("median F1", "bar-number"),
        ]
        rows = [
            [
                Cell(row.dictionary),
                Cell("token set" if row.kind == "token" else row.kind),
                Cell(f"{row.live:,}"),
                Cell(f"{row.named:,}"),
                Cell(percent(row.share), bar=row.share),
                Cell(number(row.median_f1), bar=row.median_f1),
            ]
            for row in naming.itertuples()
        ]
        link_table(columns, rows, key="naming_table")
        st.caption(
            "Names and thresholds are chosen on some documents and scored on others. Sets of tokens are counted apart: "
            "only what token identity does not explain is news."
        )


def _concepts(here: Place, index: FeatureIndex) -> None:
    concepts = index.concepts.sort_values("gain", ascending=False)
    st.subheader("Concepts that have a feature of their own", anchor=False)
    better, much = int((concepts["gain"] >= 0.1).sum()), int((concepts["gain"] >= 0.2).sum())
    st.caption(
        f"{len(concepts):,} syntax concepts. The best feature beats the best single neuron by an F1 of 0.1 or more for "
        f"{better:,} of them, by 0.2 or more for {much:,}."
    )
    if concepts.empty:
        return
    left, right = halves()
    with left:
        st.altair_chart(concept_gain(concepts, limit=24), width="stretch")
    with right:
        columns = [
            Column("concept", "text"),
            Column("feature"),
            Column("F1", "bar-number"),
            Column("best neuron", "bar-number"),
            Column("PCA"),
            Column("random"),
            Column("gain"),
            Column("95% of it", help="Bootstrap over held-out documents."),
        ]
        rows = [_concept_row(here, row) for row in concepts.itertuples()]
        link_table(columns, rows, key=_CONCEPTS, ids=concepts["feature"], on_open=_follow, height=560)


def _concept_row(here: Place, row: Any) -> list[Cell]:
    href = here.href(place.FEATURES, feature=row.feature)
    return [
        Cell(row.concept, href=href),
        Cell(f"{row.feature}", href=href),
        Cell(number(row.feature_f1), bar=row.feature_f1),
        Cell(number(row.neuron_f1), bar=row.neuron_f1, hue="neurons"),
        Cell(number(row.pca_f1)),
        Cell(number(row.random_f1)),
        Cell(signed(row.gain)),
        Cell(f"{signed(row.gain_low)} … {signed(row.gain_high)}"),
    ]


def _follow() -> None:
    place.jump(place.FEATURES, feature=opened(_CONCEPTS)[0])


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
