"""The probes page: what can be read from every hook beside what each control reaches, or one label's own page."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve_results
from apps.components.link_table import Cell, Column, link_table, opened
from apps.messages import no_label, no_probes, no_subject
from apps.place import Place
from apps.probe_choice import Chosen, choose
from apps.shown import draw
from apps.text import escape_markdown, number, p_value, signed
from apps.told import Told, read
from apps.views import probe_label
from probes.report import CONTROL, PROBE, RANDOM, TYPE
from workbench.figures import probe_heatmap
from workbench.figures.probe_scores import SCORES
from workbench.figures.slices import in_order, rows
from workbench.probing import best_beyond_word, read_results
from workbench.runs import Artifact

_TABLE = "label_table"
_HEIGHT = 640  # of the table, before it scrolls


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    found = {artifact.name: artifact for artifact in here.run.artifacts() if artifact.kind == "probes"}
    if not found:
        if any(artifact.kind == "model" for artifact in here.run.artifacts()) or not no_subject(here.run):
            no_probes(here.run)
        return
    asked = st.query_params.get("label")
    head = st.container()
    chosen, results = choose(here.run, found, one_label=asked is not None)
    kept = read(here.run, chosen.artifact, "results", read_results, serve_results.opened(chosen.artifact, read_results))
    if len(results) < len(kept.value):
        kept = kept.into(rows, positions=results["positions"].iloc[0])
    told_own = kept.into(rows, probe=chosen.estimator)
    own = told_own.value
    best = best_beyond_word(own)
    if asked is not None and asked in set(best["label"]):
        with head:
            probe_label.head(best, asked)
        hook = best.set_index("label").loc[asked, "hook"]
        probe_label.show(kept.into(rows, label=asked), chosen, hook)
        return
    with head:
        st.title("Probes", anchor=False)
        if asked is not None:
            no_label(asked)
        st.caption(_about(own, chosen.artifact))
    _heatmap(told_own, chosen)
    _list(here, best, chosen)


def _about(own: pd.DataFrame, artifact: Artifact) -> str:
    lines = own[own["variant"] == PROBE]
    fit, held_out = (lines[name].max() for name in ("fit_rows", "held_out_rows"))
    told = [f"{lines['label'].nunique():,} labels × {lines['hook'].nunique():,} hooks"]
    if pd.notna(fit):
        told.append(f"fitted on {fit:,.0f} rows, judged by {held_out:,.0f} of other documents")
    if where := artifact.manifest.config.get("where"):
        told.append(f"only where {escape_markdown(where)}")
    if artifact.stale:
        told.append(":material/history: stale: something it was made from has changed since")
    return " · ".join(told)


def _heatmap(own: Told, chosen: Chosen) -> None:
    own = own.named("own")
    ordered = own.into(in_order, "label", own.into(best_beyond_word).item("label"))
    chart = ordered.into(probe_heatmap, chosen.score, chosen.control, difference=chosen.difference)
    beside = f", beside {chosen.control}" if chosen.control else ""
    draw(chart, ordered, name="probes", alt=f"Labels by hooks: {SCORES[chosen.score]} of the probe{beside}")
    less = " · selectivity is the accuracy less the control task's" if chosen.score == "selectivity" else ""
    st.caption(f"A row a label, those furthest beyond the word alone first; a cross says why there is no number{less}.")


_COLUMNS = [
    Column("label", "text"),
    Column("best at", "text", "The hook where the probe is furthest above what the word alone tells."),
    Column("probe", "bar-number", "Its balanced accuracy on held-out documents, at that hook."),
    Column("95% interval", help="Over documents."),
    Column("type alone", "bar-number", "Each word's most frequent label: what knowing the word tells."),
    Column("control task", help="Every word has one label, drawn at random: what a probe reaches by memory."),
    Column("random", help="The same rows of the network before its training."),
    Column("beyond", help="The probe's balanced accuracy less the word's (where there are no words, the majority's)."),
    Column("p", help="How often labels dealt out anew agree with the predictions as well."),
]


def _list(here: Place, best: pd.DataFrame, chosen: Chosen) -> None:
    st.subheader("What is read beyond the word alone", anchor=False)
    st.caption("Balanced accuracy, where each label is read best. A label leads to all its hooks and controls.")
    labels = best["label"].tolist()
    noted = best["note"].fillna("").ne("").any()
    columns = [*_COLUMNS, Column("note", "text")] if noted else _COLUMNS
    listed = [_row(here, row, chosen, noted) for row in best.to_dict("records")]
    link_table(
        columns,
        listed,
        key=_TABLE,
        ids=range(len(labels)),
        on_open=lambda: place.put("label", labels[opened(_TABLE)[0]]),
        height=_HEIGHT,
    )


def _row(here: Place, row: dict[str, Any], chosen: Chosen, noted: bool) -> list[Cell]:
    href = here.href(
        place.PROBES,
        label=row["label"],
        probes=chosen.artifact.name,
        estimator=chosen.estimator,
        score=SCORES[chosen.score],
    )
    probed = pd.notna(row[PROBE])
    cells = [
        Cell(row["label"], href=href),
        Cell(row["hook"] if probed else "–"),
        Cell(number(row[PROBE], 3), bar=row[PROBE]),
        Cell(f"{number(row['low'])}–{number(row['high'])}" if probed else "–"),
        Cell(number(row[TYPE], 3), bar=row[TYPE], hue="muted"),
        Cell(number(row[CONTROL], 3)),
        Cell(number(row[RANDOM], 3)),
        Cell(signed(row["beyond"], 3)),
        Cell(p_value(row["p_value"])),
    ]
    return [*cells, Cell(row["note"] or "")] if noted else cells


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
