"""The prompt lab's probes: what those of a kept table read off the locked token, and how far to believe each."""

import pandas as pd
import streamlit as st

from apps import serve_lab, serve_results
from apps.choices import select
from apps.components.link_table import Cell, Column, link_table
from apps.layout import download
from apps.messages import plain
from apps.text import escape_markdown, percent, shell
from apps.views.lab_text import Lab
from probes.report import CONTROL, MAJORITY, PROBE, TYPE
from workbench.figures.hook_names import short_hooks
from workbench.probing import best_beyond_word, read_results
from workbench.probing.results import MEASURE

_BESIDE = {PROBE: "held out", CONTROL: "control task", TYPE: "word alone", MAJORITY: "majority"}
_CLASSES = 4  # that have a column each; of more the likeliest are named


def show(lab: Lab) -> None:
    """Draw the pane."""
    tables = serve_lab.probe_tables(lab.here.run)
    if not tables:
        command = f"workbench probe --run {shell(lab.here.run.path)}"
        st.caption(f"No probes are kept: {escape_markdown(command)} fits some, which are then read here.")
        return
    with st.expander("Probe read-outs", key="pane_probes", on_change="rerun", bind="query-params") as pane:
        if not pane.open:
            return
        if lab.token == 0:
            st.caption("No probe was fitted on the start of a sequence: lock another token.")
            return
        try:
            _read_outs(lab, tables)
        except ValueError as error:
            plain(error)


def _read_outs(lab: Lab, tables: dict) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = next(iter(tables))
        if len(tables) > 1:
            name = select("Probes", list(tables), name, "probe_table")
        results = serve_results.opened(tables[name], read_results)
        estimators = results["probe"].unique().tolist()
        estimator = estimators[0]
        if len(estimators) > 1:
            estimator = select("Estimator", estimators, estimator, "probe_estimator")
        own = results[results["probe"] == estimator]
        labels = best_beyond_word(own)["label"].tolist()
        label = select("Label", sorted(labels), labels[0], "probe_label")
    hooks = [hook for hook in own["hook"].unique() if hook in lab.reading.held]
    if not hooks:
        st.caption("None of the hooks that were probed has a row for each token of a typed text.")
        return
    told = []
    for hook in hooks:
        known = tuple(own.loc[(own["hook"] == hook) & (own["variant"] == PROBE) & own[MEASURE].notna(), "label"])
        fitted = serve_lab.refitted(lab.here.run, tables[name], estimator, hook, known)
        told.append(fitted.read(lab.reading.held[hook][lab.token]))
    table = pd.concat(told, ignore_index=True)
    _by_layer(table[table["label"] == label], own[own["label"] == label])
    st.caption(
        "The probes were fitted again on the rows of the table; beside each, its balanced accuracy on held-out "
        "documents, that of a control task (random labels of words), and of the word alone or the largest class."
    )
    hook = select("All labels at", hooks, hooks[-1], "probe_hook")
    _by_label(table[table["hook"] == hook], own[own["hook"] == hook], labels)
    download(table, "All read-outs as CSV", f"read-outs-token-{lab.token}")


def _by_layer(told: pd.DataFrame, scores: pd.DataFrame) -> None:
    """A row a hook: the probability of each class, and how far to believe it."""
    if told.empty:
        st.caption("This label could not be probed here.")
        return
    short = short_hooks(told["hook"].unique().tolist())
    classes = told["class"].unique().tolist()
    wide = classes if len(classes) <= _CLASSES else []
    if classes == ["0", "1"]:
        wide = ["1"]
    beside = _measured(scores)
    heads = [Column("yes" if classes == ["0", "1"] else name, "bar-number") for name in wide]
    heads = heads or [Column("likeliest", "word"), Column("probability", "bar-number")]
    rows = []
    for hook, own in told.groupby("hook", sort=False):
        cells = _cells(own, wide)
        rows.append([Cell(short[str(hook)]), *cells, *_scores(scores[scores["hook"] == hook], beside)])
    columns = [Column("layer", "word"), *heads, *(Column(_BESIDE[name]) for name in beside)]
    link_table(columns, rows, key="probe_by_layer")


def _by_label(told: pd.DataFrame, scores: pd.DataFrame, order: list[str]) -> None:
    """A row a label: its likeliest class here, and how far to believe it."""
    beside = _measured(scores)
    rows = []
    for label in order:
        own = told[told["label"] == label]
        if own.empty:
            continue
        likeliest = own[own["likeliest"]].iloc[0]
        said = {"0": "no", "1": "yes"}.get(likeliest["class"], likeliest["class"])
        chance = Cell(percent(likeliest["probability"]), bar=likeliest["probability"])
        rows.append([Cell(label), Cell(said), chance, *_scores(scores[scores["label"] == label], beside)])
    columns = [Column("label", "text"), Column("read as", "word"), Column("probability", "bar-number")]
    columns += [Column(_BESIDE[name]) for name in beside]
    link_table(columns, rows, key="probe_by_label", height=340)


def _cells(own: pd.DataFrame, wide: list[str]) -> list[Cell]:
    """The probability of some classes; of too many, the likeliest and its probability."""
    if wide:
        known = own.set_index("class")["probability"].reindex(wide)
        return [Cell(percent(p), bar=p) for p in known]
    likeliest = own[own["likeliest"]].iloc[0]
    return [Cell(likeliest["class"]), Cell(percent(likeliest["probability"]), bar=likeliest["probability"])]


def _measured(scores: pd.DataFrame) -> list[str]:
    """What there is to stand beside a probe; the largest class where words have no say."""
    known = set(scores.loc[scores[MEASURE].notna(), "variant"])
    return [name for name in _BESIDE if name in known and (name != MAJORITY or TYPE not in known)]


def _scores(scores: pd.DataFrame, beside: list[str]) -> list[Cell]:
    found = scores.drop_duplicates("variant").set_index("variant")[MEASURE].reindex(beside)
    return [Cell(percent(value)) for value in found]
