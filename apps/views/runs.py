"""The runs page: what was trained, how well, what was made from it, and what the dictionary found."""

from typing import cast

import pyarrow as pa
import streamlit as st
from torch import Tensor

from apps import serve
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import trouble
from apps.place import Place
from apps.text import escape_markdown, moment, number, size
from apps.views import dictionary
from models.artifacts import ArtifactError
from workbench.figures import training_curve
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Run


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    run = here.run
    kinds = {artifact.kind for artifact in run.artifacts()}
    st.title(escape_markdown(here.run_name), anchor=False)
    if "model" in kinds:
        _subject(run)
    for why in run.damaged().values():
        trouble(ArtifactError(why))
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
    dictionary.show(here)


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
    columns = data.labels.column_names if data.labels is not None else []
    labels = [name for name in columns if name != "line"]  # where a token is, not what it is
    corpus = [
        Fact("Documents", f"{len(splits):,}", f"{splits.count('test'):,} held out"),
        Fact("Tokens", f"{data.n_tokens:,}", f"{n_held_out:,} held out"),
        Fact("Sequences", f"{len(data):,}", f"{len(held_out):,} held out"),
        Fact("Labels", f"{len(labels):,}", "of each token"),
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


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
