"""One label's own page: what a probe reads at every hook, with all that it must be held against."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import place
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.probe_choice import Chosen
from apps.shown import draw
from apps.text import escape_markdown, number, p_value, percent, signed
from apps.told import Told
from probes.report import CONTROL, MAJORITY, PROBE, RANDOM, SHUFFLED, TYPE, VARIANTS
from workbench.figures import probe_by_hook, probe_heatmap
from workbench.figures.probe_scores import SCORES, Score
from workbench.figures.slices import rows as rows_of

_HELD_AGAINST = [
    (TYPE, "Each word's most frequent label."),
    (CONTROL, "Every word has one label, drawn at random."),
    (RANDOM, "The same rows of the network before its training."),
    (SHUFFLED, "Labels dealt out to other rows: what is left when rows say nothing."),
    (MAJORITY, "The most frequent label, always."),
]


def head(best: pd.DataFrame, label: str) -> None:
    """The label's name and where it is read best, between those before and after it in the table."""
    order = best["label"].tolist()
    at = order.index(label)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("All labels", icon=":material/arrow_back:", on_click=_open, args=(None,), type="tertiary")
        st.space("stretch")
        st.caption(f"{at + 1:,} of {len(order):,}", width="content")
        before, after = (order[i] if 0 <= i < len(order) else None for i in (at - 1, at + 1))
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=before is None,
            on_click=_open,
            args=(before,),
            shortcut="K",
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=after is None,
            on_click=_open,
            args=(after,),
            shortcut="J",
        )
    st.title(escape_markdown(label), anchor=False)
    row = best.iloc[at]
    if pd.notna(row[PROBE]):
        st.caption(f"{row['classes']:,} classes · read best at {escape_markdown(row['hook'])}")


def show(told_lines: Told, chosen: Chosen, hook: str) -> None:
    """Draw the page of a label, whose lines of every estimator these are; `hook` is where it is read best."""
    lines, told_own = told_lines.value, told_lines.into(rows_of, probe=chosen.estimator)
    own = told_own.value
    if own.loc[own["variant"] == PROBE, "accuracy"].isna().all():
        _notes(own)
        return
    _measures(own, hook)
    st.subheader("Hook by hook", anchor=False)
    if own[chosen.score].notna().any():
        words = f"{SCORES[chosen.score]} by hook, of the probe and of each control"
        draw(told_own.into(probe_by_hook, chosen.score), told_own, name="probe-by-hook", alt=words)
        st.caption("Bands and upright strokes are 95% intervals over documents, of what has one.")
    else:
        st.caption(f"There is no {SCORES[chosen.score]} of this label.")
    _notes(own)
    if len(set(lines["probe"])) > 1:
        st.subheader("Every estimator", anchor=False)
        kinds = {"rows": "probe", "difference": chosen.difference, "chosen": chosen.estimator}
        chart = told_lines.into(probe_heatmap, chosen.score, chosen.control, **kinds)
        draw(chart, told_lines, name="estimators", alt=f"Estimators by hooks: {SCORES[chosen.score]} of the probe")
    _beside(own, chosen.score)
    _sure(own)


def _measures(own: pd.DataFrame, hook: str) -> None:
    """At the hook where the label is read best."""
    at = own[own["hook"] == hook].set_index("variant")
    best, there = at.loc[PROBE], at["balanced_accuracy"]
    if pd.isna(best["balanced_accuracy"]):
        return
    low, high = best["balanced_accuracy_low"], best["balanced_accuracy_high"]
    shown = [
        Fact("Balanced accuracy", number(best["balanced_accuracy"], 3), f"{low:.3f} to {high:.3f}", hue="trained"),
        Fact("Type alone", number(there.get(TYPE), 3)),
        Fact("Control task", number(there.get(CONTROL), 3)),
        Fact("Random subject", number(there.get(RANDOM), 3)),
        Fact("Selectivity", signed(best["selectivity"], 3), help="The accuracy less the control task's."),
        Fact("AUROC", number(best["auroc"], 3)),
        Fact("F1", number(best["f1"], 3)),
        Fact("p", p_value(best["p_value"]), help="How often labels dealt out anew agree as well."),
        Fact("Positives", percent(best["positives"]), "of held-out rows"),
    ]
    facts(shown, key="probe_measures")


def _notes(own: pd.DataFrame) -> None:
    """Why a control is missing, and what to mind; each sentence once, with those that it is true of."""
    noted = own[own["note"].fillna("") != ""]
    for note, group in noted.groupby("note", sort=False):
        of = [name for name in VARIANTS if name in set(group["variant"])]
        where = "" if len(of) == len(VARIANTS) else f"{', '.join(of)}: "
        sentence = where + str(note)
        st.info(f"{escape_markdown(sentence[:1].upper() + sentence[1:])}.", icon=":material/info:")


def _beside(own: pd.DataFrame, score: Score) -> None:
    st.subheader(f"The probe beside its controls: {SCORES[score]}", anchor=False)
    columns = [
        Column("hook", "text"),
        Column("probe", "bar-number"),
        Column("95% interval"),
        *(Column(name, help=help_) for name, help_ in _HELD_AGAINST),
    ]
    rows = []
    for hook, group in own.groupby("hook", sort=False):
        of = group.set_index("variant")
        value, low, high = (_at(of, PROBE, f"{score}{end}") for end in ("", "_low", "_high"))
        between = f"{number(low, 3)}–{number(high, 3)}" if low == low else "–"
        others = [Cell(number(_at(of, variant, score), 3)) for variant, _ in _HELD_AGAINST]
        rows.append([Cell(str(hook)), Cell(number(value, 3), bar=value), Cell(between), *others])
    link_table(columns, rows, key="probe_beside")


def _sure(own: pd.DataFrame) -> None:
    st.subheader("How sure, and how easily", anchor=False)
    columns = [
        Column("hook", "text"),
        Column("p", help="How often labels dealt out anew agree with the predictions as well."),
        Column("selectivity", help="The accuracy less the control task's."),
        Column("AUROC"),
        Column("bits", help="Length of the online code: fewer where a label is easy to read from few examples."),
        Column("control task's"),
        Column("random subject's"),
    ]
    rows = []
    for hook, group in own.groupby("hook", sort=False):
        of = group.set_index("variant")
        bits = [Cell(number(_at(of, variant, "bits"), 0)) for variant in (PROBE, CONTROL, RANDOM)]
        told = [
            Cell(p_value(_at(of, PROBE, "p_value"))),
            Cell(signed(_at(of, PROBE, "selectivity"), 3)),
            Cell(number(_at(of, PROBE, "auroc"), 3)),
        ]
        rows.append([Cell(str(hook)), *told, *bits])
    link_table(columns, rows, key="probe_sure")
    if own["bits"].isna().all():
        st.caption("Description lengths were left out of this sweep, or there is no probability to measure them by.")


def _at(of: pd.DataFrame, variant: str, name: str) -> float:
    known: Any = of[name].get(variant) if name in of else None
    return float("nan") if known is None else float(known)


def _open(label: str | None) -> None:
    place.put("label", label)
