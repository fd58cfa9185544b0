"""Two runs: their facts side by side, how each learned, and the loss of both on the same held-out text."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st
import torch

from apps import serve, serve_results
from apps.choices import select
from apps.components.link_table import Cell, Column, link_table
from apps.layout import download, halves
from apps.messages import plain
from apps.place import Place
from apps.shown import draw
from apps.text import number
from apps.told import Told
from models.artifacts import ArtifactError
from workbench.figures import training_compared
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Run

_NEEDED = frozenset(
    {
        "import pandas as pd",
        "from models.metrics_log import read_log",
        "from workbench.figures.training_curve import losses_and_baselines",
        "from workbench.runs import Run",
    }
)
_SEQUENCES = 64  # of held-out text, on which both are measured


def show(here: Place) -> None:
    """Draw it."""
    known = {name: run for name, run in serve.runs().items() if any(a.kind == "model" for a in run.artifacts())}
    if here.run_name not in known:
        st.info("This run has no subject of its own: choose one that has in the side bar.")
        return
    others = [name for name in known if name != here.run_name]
    if not others:
        st.info("There is no other run with a subject in this folder: start the explorer one folder up to compare.")
        return
    other = select(f"Beside {here.run_name}", others, others[0], "beside")
    runs = {here.run_name: known[here.run_name], other: known[other]}
    left, right = halves()
    with left:
        _curves(runs)
    with right:
        _facts(runs)
        _same_text(here.run_name, other, runs)


def _curves(runs: dict[str, Run]) -> None:
    st.subheader("How they learned", anchor=False)
    tables = []
    for name, run in runs.items():
        artifact = run.find("model")
        log = serve_results.opened(artifact, serve_results.training_log)
        if log is not None:
            tables.append(losses_and_baselines(log)[0].assign(run=name))
    if not tables:
        st.caption("No log of their training was kept.")
        return
    losses = pd.concat(tables, ignore_index=True)
    told = Told(losses, "pd.concat(tables, ignore_index=True)", _NEEDED, _logs(losses["run"].unique().tolist(), runs))
    chart = told.named("losses").into(training_compared, unit="as trained")
    draw(chart, told, name="training-compared", alt="The held-out loss of each run by step of its training")
    st.caption("Held-out loss; that of training where a run has no other. Losses of different data are not comparable.")


def _logs(names: list[str], runs: dict[str, Run]) -> tuple[str, ...]:
    """The statements that read the losses of runs."""
    paths = {name: str(runs[name].path.resolve()) for name in names}
    return (
        f"runs = {paths!r}",
        "tables = []",
        "for name, path in runs.items():\n"
        "    log = read_log(Run.open(path).find('model').path / 'metrics.jsonl')\n"
        "    tables.append(losses_and_baselines(pd.DataFrame(log))[0].assign(run=name))",
    )


def _facts(runs: dict[str, Run]) -> None:
    st.subheader("Facts side by side", anchor=False)
    table = pd.DataFrame({name: _facts_of(run) for name, run in runs.items()})
    words = table.astype(str)
    differ = words.iloc[:, 0] != words.iloc[:, -1]
    rows = [
        [Cell(str(fact)), *(Cell("–" if pd.isna(v) else str(v)) for v in line), Cell("differs" if differ[fact] else "")]
        for fact, line in zip(table.index, table.to_numpy().tolist(), strict=True)
    ]
    columns = [Column("", "word"), *(Column(name, "text") for name in table.columns), Column("", "word")]
    link_table(columns, rows, key="run_facts", height=420)
    download(table.reset_index(names="fact"), "Download", "runs")


def _facts_of(run: Run) -> dict[str, Any]:
    model = run.find("model")
    known = {key: value for key, value in model.manifest.config.items() if isinstance(value, str | int | float | bool)}
    for part in ("model", "train", "training", "cfg"):
        nested = model.manifest.config.get(part)
        if isinstance(nested, dict):
            known |= {k: v for k, v in nested.items() if isinstance(v, str | int | float | bool)}
    kinds = [artifact.kind for artifact in run.artifacts()]
    counts = {
        "dictionaries": kinds.count("sae"),
        "indexes": kinds.count("features"),
        "analyses": kinds.count("analysis"),
    }
    return {"parameters": f"{_parameters(run):,}"} | {k: known[k] for k in sorted(known)} | counts


def _parameters(run: Run) -> int:
    return sum(p.numel() for p in serve.model(run).parameters())


def _same_text(first: str, second: str, runs: dict[str, Run]) -> None:
    st.subheader("On the same held-out text", anchor=False)
    try:
        why = _apart(runs[first], runs[second])
        if why:
            st.caption(why)
            return
        if not st.toggle("Measure both", key="same_text", bind="query-params"):
            st.caption(f"Reads {_SEQUENCES} held-out sequences of {first} with both subjects.")
            return
        found = _losses([runs[first], runs[second]])
    except (ValueError, ArtifactError) as error:
        plain(ValueError(str(error)))
        return
    rows = [[Cell(name), Cell(number(loss, 4))] for name, loss in zip((first, second), found, strict=True)]
    link_table([Column("subject", "text"), Column("loss, nats a token")], rows, key="same_text_table")
    same = runs[first].find("dataset").id == runs[second].find("dataset").id
    st.caption(
        f"On {_SEQUENCES} sequences, or all there are, of documents held out of the first run's training"
        + ("." if same else "; the second may have been trained on some of them.")
    )
    download(pd.DataFrame({"run": [first, second], "loss": found}), "Download", "same-text")


def _apart(first: Run, second: Run) -> str:
    """Why the two cannot be measured on one text; empty where they can."""
    one, two = serve.dataset(first), serve.dataset(second)
    if one.source is not None or two.source is not None or one.targets is not None or two.targets is not None:
        return "One of them does not predict the next token: their losses are of different questions."
    if one.bos is None or two.bos is None:
        return "One of them reads vectors and no text."
    known = [data.tokenizer.to_str() if data.tokenizer is not None else data.d_vocab for data in (one, two)]
    return "" if known[0] == known[1] else "Their tokenizers differ: a token of one is not a token of the other."


def _losses(runs: Sequence[Run]) -> list[float]:
    """The loss of each run's subject on text held out of the first run's training."""
    data, data_id = serve.dataset(runs[0]), runs[0].find("dataset").id
    held_out = data.sequences("test")
    if not len(held_out):
        raise ValueError("the first run has no held-out documents: there is no text that neither was trained on.")
    held_out = held_out[torch.linspace(0, len(held_out) - 1, min(_SEQUENCES, len(held_out))).long()]
    length = data.batch(held_out[:1])["input"].shape[1]
    for run in runs:
        longest = getattr(serve.model(run).cfg, "n_ctx", None) or length
        if longest < length:
            raise ValueError(f"one subject reads at most {longest} tokens at once, fewer than this text's.")
    return [serve.loss_on(run, data, tuple(held_out.tolist()), data_id) for run in runs]
