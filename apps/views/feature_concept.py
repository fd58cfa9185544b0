"""Above the list of what detects one statement of the labels: how well the best of each dictionary does."""

import streamlit as st

from apps.components.facts import Fact, facts
from apps.feature_list import Listed
from apps.text import escape_markdown, number
from apps.words import Words
from workbench.features.index.feature_index import FeatureIndex


def show(index: FeatureIndex, found: Listed, words: Words) -> None:
    """Draw it, of the statement that the filters name."""
    concept = found.filters.concept
    known = index.concepts[index.concepts["concept"] == concept]
    if not known.empty:
        row = known.iloc[0]
        held_out = "F1 for this statement, on documents that took no part in the choice."
        of_neuron = f"neuron {'−' if row['neuron_sign'] < 0 else '+'}{row['neuron']}" if row["neuron"] >= 0 else ""
        shown = [
            Fact(f"Best {words.one}", number(row["feature_f1"]), f"{words.one} {row['feature']}", held_out, "trained"),
            *([Fact("Best neuron", number(row["neuron_f1"]), of_neuron, held_out, "neurons")] if of_neuron else []),
            Fact("Best of PCA", number(row["pca_f1"]), help=held_out),
            Fact("Best random direction", number(row["random_f1"]), help=held_out),
            Fact("The token alone", number(row["token_f1"]), help="F1 of knowing which token it is and nothing else."),
            Fact("Support", f"{row['positives']:,}", "held-out tokens", "On which the statement is true."),
        ]
        facts(shown, key="concept_facts")
    if index.detectors is None:
        st.caption(
            f"This index keeps only the {words.many} that are named for {escape_markdown(concept)}: made anew, by "
            "`workbench index` with `--replace`, it has all that detect it best."
        )
        return
    n = int((index.detectors["concept"] == concept).sum())
    st.caption(
        f"The {n:,} {words.many} that detect {escape_markdown(concept)} best, chosen on training documents, and any "
        "more that are named for it."
    )
