"""Directions that hold an answer: what swapping along them does, hook by hook; a part of the interventions page."""

import streamlit as st

from apps import serve, serve_results
from apps.choices import analyses, choose_analysis, segments
from apps.components.facts import Fact, facts
from apps.next_commands import command, prompts_of
from apps.shown import draw
from apps.text import signed
from apps.told import read
from workbench.experiments.rotation_results import VERB, read_rotations
from workbench.figures import rotation_scores
from workbench.runs import Run

_SCORES = {"answers": "said", "logit difference": "effect"}
_PLACES = {"last": "last token", "differ": "where they differ"}


def show(run: Run) -> None:
    """Draw the part."""
    found = analyses(run, VERB)
    st.subheader("Directions that hold the answer", anchor=False)
    if not found:
        st.caption("No directions were learned yet. One command learns them:")
        st.code(command(run, f"patch --method rotation {prompts_of(serve.model(run))}"), language="shell")
        return
    artifact = choose_analysis(found, "rotation")
    learned, told = serve_results.opened(artifact, read_rotations), artifact.manifest.config["results"]
    facts(
        [
            Fact("fitted", f"{told['fitted']:,}", "pairs", "Of a clean and a corrupt prompt, equally long."),
            Fact("held out", f"{told['held_out']:,}", "pairs", "All scores are of these, which no search has seen."),
            Fact("clean metric", signed(told["clean"]), "", "Mean logit of the clean answer above the corrupt one's."),
            Fact("corrupt metric", signed(told["corrupt"]), "", "The same after the corrupt prompts."),
            Fact("swapped at", _PLACES[learned.place], "", "Where the clean prompt is given the corrupt one's values."),
        ],
        key="rotation_facts",
    )
    score = _SCORES[segments("Score", list(_SCORES), "said")]
    table = read(run, artifact, "learned", read_rotations, learned).at("table")
    words = f"{score} by hook and number of directions: learned ones beside random and principal ones"
    draw(table.into(rotation_scores, score), table, name="rotation", alt=words)
    stale = " :material/history: Stale: something it was made from has changed since." if artifact.stale else ""
    st.caption(
        "What the subject says after the clean prompts once their values along the learned directions are those of the "
        "corrupt ones. "
        "Beside it: as many random and as many principal directions, what as long a search finds in the untrained "
        "subject, nothing, and everything swapped. Directions that do more than everything swapped push the subject "
        f"to where its own runs do not take it.{stale}"
    )
