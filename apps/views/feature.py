"""One feature's own page: its name and measures, where it fires, the evidence, what it does, what is like it."""

import math
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.facts import Fact, facts
from apps.components.session_link import session_link
from apps.feature_list import AT_LEAST, KIND_WORDS, SUPPORT, Listed, neighbours_in
from apps.layout import halves
from apps.notes_panel import notes_panel
from apps.place import Place
from apps.text import escape_markdown, number, percent, signed
from apps.views import feature_effects, feature_evidence, feature_examples, feature_neuron, feature_siblings, steering
from apps.words import about, called, words_of
from workbench.features.index.feature_index import FeatureIndex, FeatureRecord


def show(here: Place, index: FeatureIndex, feature: int, found: Listed) -> None:
    """Draw the page of a feature, between those before and after it in the filtered list."""
    record = serve.record(index, feature)
    _head(here, index, record, feature, found.rows)
    _inside(index, feature, found)
    notes_panel(index, feature)
    _measures(record, index)
    left, right = halves()
    with left:
        feature_examples.show(here, index, record, feature)
    with right:
        feature_evidence.show(here, index, record, feature)
    feature_effects.show(here, index, feature)
    feature_neuron.show(here, index, record, feature)
    feature_siblings.show(here, index, feature)


def _head(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int, listed: pd.DataFrame) -> None:
    before, after, at = neighbours_in(listed, feature)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            f"All {words_of(index.config).many}",
            icon=":material/arrow_back:",
            on_click=place.put,
            args=("feature", None),
            type="tertiary",
        )
        st.space("stretch")
        where = f"{at:,} of {len(listed):,}" if at else "outside the filters"
        st.caption(where, width="content")
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=before is None,
            on_click=place.show_feature,
            args=(before,),
            shortcut="K",
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=after is None,
            on_click=place.show_feature,
            args=(after,),
            shortcut="J",
        )
        strongest = serve.examples(index, feature, "top")[:1]
        if strongest:
            there = {"f": feature, "prompt": "".join(strongest[0].tokens)}
            session_link(
                "Try in the prompt lab →",
                here.href(place.LAB, **there),
                partial(place.jump, place.LAB, **there),
                key="to_lab",
            )
        steering.link(here, index, feature)
        beside = {"what": "Features", "a": feature}
        session_link(
            "Compare with …",
            here.href(place.COMPARE, **beside),
            partial(place.jump, place.COMPARE, **beside),
            key="to_compare",
        )
    st.title(escape_markdown(record.row["name"]), anchor=False)
    kind = KIND_WORDS[record.row["kind"]]
    what = escape_markdown(called(record.row, index))
    st.caption(" · ".join([what, *([f"named by {kind}"] if record.row["kind"] != "none" else []), _about(index)]))
    if record.row["dead"]:
        one = words_of(index.config).one
        st.info(f"This {one} never fires on the recorded text: it is dead.", icon=":material/do_not_disturb_on:")


def _inside(index: FeatureIndex, feature: int, found: Listed) -> None:
    """How well it detects the statement by which the list was searched."""
    concept = found.filters.concept
    here = found.rows.loc[found.rows["feature"] == feature, "match"]
    if not concept or here.empty or found.matched_by != "concept":
        return
    known, words = index.concepts[index.concepts["concept"] == concept], words_of(index.config)
    beside = f"; the best {words.rival}'s is {number(known[words.rival_f1].iloc[0])}" if len(known) else ""
    st.caption(
        f"As a detector of “{escape_markdown(concept)}”, its F1 on held-out documents is "
        f"{number(here.iloc[0])}{beside}."
    )


def _about(index: FeatureIndex) -> str:
    """Which hook it is of, and what a value of it is where that needs saying."""
    return " · ".join(escape_markdown(text) for text in (index.hook_name, about(index)) if text)


def _measures(record: FeatureRecord, index: FeatureIndex) -> None:
    row, words = record.row, words_of(index.config)
    rival = float(row[words.rival_f1])
    sign = "−" if row["neuron_sign"] < 0 else "+"
    named = row["kind"] != "none"

    def of_name(value: float) -> float | None:
        """What is measured of a name; nothing is of one that is not there."""
        return value if named else None

    held_out = "Of the name, on documents that took no part in choosing it."
    shown = [
        Fact("F1", number(of_name(row["f1"])), *_evidence(row), hue="trained"),
        Fact("Precision", number(of_name(row["precision"])), help=held_out, hue="trained"),
        Fact("Recall", number(of_name(row["recall"])), help=held_out, hue="trained"),
        Fact(
            "Lift",
            number(of_name(row["lift"]), 1) + ("×" if named else ""),
            help="Precision over the base rate.",
            hue="trained",
        ),
        Fact(
            f"Best {words.rival}'s F1",
            number(of_name(rival)),
            f"neuron {sign}{row['neuron']}" if named and row["neuron"] >= 0 else "",
            hue="neurons",
            help=f"The single {words.rival} that detects the same concept best, of either sign.",
        ),
        Fact("Gain over it", signed(of_name(row["f1"] - rival))),
        Fact("Fires on", percent(row["density"]), "of tokens"),
        Fact("Maximum", number(row["max"])),
        Fact("Mean", number(row["mean"]), "where it fires"),
    ]
    facts(shown, key="measures")


def _evidence(row: dict[str, Any]) -> tuple[str, str]:
    """What the F1 of a name rests on, and what that means."""
    words = "Of the name, on documents that took no part in choosing it."
    if row["kind"] == "none" or math.isnan(row["f1_low"]):
        return "", words
    return f"≥ {number(row['f1_low'])}, on {row['support']:,.0f} tokens", f"{words} {AT_LEAST} {SUPPORT}"
