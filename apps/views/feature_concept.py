"""Statements of the labels above the list: those that a search names, and how well the best detect the chosen one."""

import math

import pandas as pd
import streamlit as st

from apps.components.facts import Fact, facts
from apps.feature_filters import loosen
from apps.feature_list import Listed
from apps.text import escape_markdown, number
from apps.words import Words, called
from workbench.features.index.feature_index import FeatureIndex

_OFFERED = 6


def offer(found: Listed, words: Words) -> None:
    """Where a search has the words of statements in it, lead to what detects these, whatever it is named for itself."""
    asked = found.filters.text.casefold().split()
    if not asked or found.filters.concept:
        return
    able = [concept for concept in found.query.concepts if all(word in concept.casefold() for word in asked)]
    if not able:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        n = f"{_OFFERED} of {len(able):,} statements" if len(able) > _OFFERED else "Statements"
        st.caption(f"{n} with these words, each with all {words.many} that detect it:", width="content")
        for concept in sorted(able, key=len)[:_OFFERED]:
            st.button(
                escape_markdown(concept),
                key=f"inside_{concept}",
                type="tertiary",
                icon=":material/arrow_forward:",
                on_click=_choose,
                args=(concept,),
            )


def _choose(concept: str) -> None:
    loosen("text")
    st.session_state["inside"] = concept


def of_statement(index: FeatureIndex, rows: pd.DataFrame, concept: str, words: Words) -> pd.DataFrame:
    """Listed rows with what they score at a statement in place of what they score at their own names.

    Scores that an index does not hold are missing: those of a feature that is named for the statement and not among
    those that detect it best.
    """
    columns = ["f1", "f1_low", "support", "precision", "recall", "lift"]
    known = index.concepts[index.concepts["concept"] == concept]
    rival = float(known[words.rival_f1].iloc[0]) if len(known) else math.nan
    scores = pd.DataFrame(index=pd.Index([], name="feature"), columns=columns, dtype=float)
    if index.detectors is not None:
        scores = index.detectors[index.detectors["concept"] == concept].set_index("feature")[columns].astype(float)
    found = scores.reindex(rows["feature"].to_numpy())
    found["f1"] = rows["match"].to_numpy(dtype=float)
    return rows.assign(
        **{name: found[name].to_numpy() for name in columns},
        **{words.rival_f1: rival, "gain": found["f1"].to_numpy() - rival},
    )


def show(index: FeatureIndex, found: Listed, words: Words) -> None:
    """Draw it, of the statement that the filters name."""
    concept = found.filters.concept
    known = index.concepts[index.concepts["concept"] == concept]
    if not known.empty:
        row = known.iloc[0]
        best = index.table.iloc[row["feature"]].to_dict()
        held_out = "F1 for this statement, on documents that took no part in the choice."
        of_neuron = f"neuron {'−' if row['neuron_sign'] < 0 else '+'}{row['neuron']}" if row["neuron"] >= 0 else ""
        shown = [
            Fact(f"Best {words.one}", number(row["feature_f1"]), called(best, index), held_out, "trained"),
            *([Fact("Best neuron", number(row["neuron_f1"]), of_neuron, held_out, "neurons")] if of_neuron else []),
            Fact("Best of PCA", number(row["pca_f1"]), help=held_out),
            Fact("Best random direction", number(row["random_f1"]), help=held_out),
            Fact("The token alone", number(row["token_f1"]), help="F1 of knowing which token it is and nothing else."),
            Fact("Support", f"{row['positives']:,}", "held-out tokens", "On which the statement is true."),
        ]
        facts(shown, key="concept_facts")
    if index.detectors is None:
        st.caption(
            f"This index keeps only the best {words.one} for “{escape_markdown(concept)}” and those that are named for "
            "it: made anew, by `workbench index` with `--replace`, it has all that detect it best."
        )
        return
    n = int((index.detectors["concept"] == concept).sum())
    st.caption(
        f"The {n:,} {words.many} that detect “{escape_markdown(concept)}” best, chosen on training documents, and any "
        "more that are named for it."
    )
