"""The runs page: what was trained, how well, what was made from it, and what the dictionary found."""

import pandas as pd
import streamlit as st

from apps import serve
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import no_subject, trouble
from apps.place import Place
from apps.shown import draw
from apps.text import escape_markdown, moment, number, size
from apps.told import Told, call, run_of
from apps.views import dictionary, subject
from models.artifacts import ArtifactError
from workbench.figures import training_curve
from workbench.figures.saved import FIGURE, read_figure
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Run


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    run = here.run
    kinds = {artifact.kind for artifact in run.artifacts()}
    st.title(escape_markdown(here.run_name), anchor=False)
    if "model" in kinds:
        subject.show(run)
    _result(run)
    for why in run.damaged().values():
        trouble(ArtifactError(why))
    for draft in run.drafts():
        st.info(escape_markdown(draft.about(run.key(draft.home))), icon=":material/hourglass:")
    if "model" in kinds:
        left, right = halves()
        with left:
            _training(run)
        with right:
            _artifacts(run)
        dictionary.show(here)
    else:
        _artifacts(run)
        no_subject(run)


def _training(run: Run) -> None:
    st.subheader("How it learned", anchor=False)
    artifact = run.find("model")
    log = serve.losses(artifact.id, artifact.path)
    if log is None:
        st.caption("No log of its training was kept.")
        return
    unit = _unit_of_loss(run)
    found = _log(run, log).into(losses_and_baselines).named("found")
    losses, baselines = found.value
    chart = call(training_curve, found.item(0), found.item(1), unit=unit)
    words = f"The loss of training and of held-out text by step, in {unit}; dashed, what counting alone reaches"
    draw(chart, found.item(0), name="training", alt=words)
    last = losses.groupby("split").last()["loss"].to_dict()
    rows = [[Cell(name), Cell(number(value, 3))] for name, value in (last | baselines).items()]
    if "heldout_accuracy" in log and log["heldout_accuracy"].notna().any():
        rows.append([Cell("held-out accuracy"), Cell(f"{log['heldout_accuracy'].dropna().iloc[-1]:.1%}")])
    link_table([Column(f"loss, {unit}", "text"), Column("at the end")], rows, key="losses")


def _log(run: Run, log: pd.DataFrame) -> Told:
    opened = run_of(run)
    code = "pd.read_json(run.find('model').path / 'metrics.jsonl', lines=True)"
    return Told(log, code, opened.imports | {"import pandas as pd"}, opened.lines).named("log")


def _unit_of_loss(run: Run) -> str:
    if not any(artifact.kind == "dataset" for artifact in run.artifacts()):
        return "as trained"
    targets = serve.dataset(run).targets
    if targets is None:
        return "nats a token"
    return "mean squared error" if targets.is_floating_point() else "nats an answer"


def _result(run: Run) -> None:
    """The table of a reproduction."""
    for artifact in run.artifacts():
        if artifact.kind != "analysis" or artifact.name != "result" or "verb" in artifact.manifest.config:
            continue
        about = artifact.manifest.config
        st.subheader(escape_markdown(about.get("title", "Result")), anchor=False)
        if "paper" in about:
            st.caption(escape_markdown(about["paper"]) + (" · full size" if about.get("full") else " · quick"))
        table = serve.table(artifact.id, artifact.path)
        words = {True: "passed", False: "failed"}
        rows = [
            [
                *(Cell(str(row[name])) for name in ("result", "published", "ours", "bar")),
                Cell("–" if pd.isna(row["passed"]) else words[bool(row["passed"])]),
            ]
            for row in table.to_dict("records")
        ]
        columns = [*(Column(name, "prose") for name in ("result", "published", "ours", "bar")), Column("", "word")]
        link_table(columns, rows, key="result")
        for other in run.artifacts():
            if other.kind == "analysis" and (other.path / FIGURE).exists():
                st.caption(escape_markdown(other.name.replace("_", " ")))
                st.vega_lite_chart(read_figure(other.path), width="stretch")


def _artifacts(run: Run) -> None:
    st.subheader("What was made", anchor=False)
    columns = [
        Column("kind", "word"),
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
