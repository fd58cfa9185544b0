"""The runs page: what was trained, how well, what was made from it, and what the dictionary found."""

from shutil import disk_usage

import pandas as pd
import streamlit as st

from apps import reproduced, serve, serve_results
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import no_subject, trouble
from apps.next_commands import next_commands
from apps.place import REPRODUCTIONS, Place, jump
from apps.reproduced import MET, MISSED, NO_BAR
from apps.shown import draw
from apps.text import escape_markdown, moment, number, size
from apps.told import Told, call, run_of
from apps.views import dictionary, subject
from models.artifacts import ArtifactError
from workbench.figures import training_curve
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Run

_LEAST_PANE = 560  # what the table of artifacts needs


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    run = here.run
    kinds = {artifact.kind for artifact in run.artifacts()}
    st.title(escape_markdown(here.run_name), anchor=False)
    if "model" in kinds:
        subject.show(run)
    _result(here)
    _health(run)
    for why in run.damaged().values():
        trouble(ArtifactError(why))
    for draft in run.drafts():
        st.info(escape_markdown(draft.about(run.key(draft.home))), icon=":material/hourglass:")
    if "model" in kinds:
        left, right = halves(_LEAST_PANE)
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
    log = serve_results.opened(artifact, serve_results.training_log)
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
    code = "pd.DataFrame(read_log(run.find('model').path / 'metrics.jsonl'))"
    return Told(
        log, code, opened.imports | {"import pandas as pd", "from models.metrics_log import read_log"}, opened.lines
    ).named("log")


def _unit_of_loss(run: Run) -> str:
    if not any(artifact.kind == "dataset" for artifact in run.artifacts()):
        return "as trained"
    targets = serve.dataset(run).targets
    if targets is None:
        return "nats a token"
    return "mean squared error" if targets.is_floating_point() else "nats an answer"


def _result(here: Place) -> None:
    """A reproduction's bars in short; its table has a page."""
    one = reproduced.of_run(here.run, here.run_name)
    if one is None:
        return
    st.subheader(escape_markdown(one.title), anchor=False)
    if one.paper:
        st.caption(escape_markdown(one.paper))
    verdicts = (MET, MISSED, NO_BAR)
    facts([*(Fact(v, f"{one.count(v):,}") for v in verdicts), Fact("size", one.size)], key="result_facts")
    link = Cell("Results, published beside ours", href=here.href(REPRODUCTIONS, reproduction=here.run_name))

    def follow() -> None:
        jump(REPRODUCTIONS, reproduction=here.run_name)

    link_table([Column("", "text")], [[link]], key="result", ids=[0], on_open=follow)


def _health(run: Run) -> None:
    """Whether all is whole, and how much room it takes."""
    made, damaged, drafts = run.artifacts(), run.damaged(), run.drafts()
    stale = sum(artifact.stale for artifact in made)
    shown = [
        Fact("artifacts", f"{len(made):,}", "all whole" if not stale and not damaged else ""),
        Fact("stale", f"{stale:,}", "", "Something they were made from has been replaced since, or is gone."),
        Fact("damaged", f"{len(damaged):,}", "", "Their manifest cannot be read."),
        Fact("unfinished", f"{len(drafts):,}", "", "Being made now, or left by a job that was killed."),
        Fact("on disk", size(sum(artifact.n_bytes for artifact in made)), f"{size(disk_usage(run.path).free)} free"),
    ]
    facts(shown, key="run_health")


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
    _next(run)


def _next(run: Run) -> None:
    """What could be made of what is there, each with its command."""
    commands = next_commands(run)
    if not commands:
        return
    with st.expander(f"What can be made next ({len(commands):,})", key="next_open", on_change="rerun") as folded:
        if folded.open:
            for what, command in commands:
                st.caption(f"{what}:")
                st.code(command, language="shell")


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
