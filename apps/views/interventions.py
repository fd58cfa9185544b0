"""The interventions page: what is done to a subject's inside, and what it does then; one kind at a time."""

import streamlit as st

from apps import serve
from apps.choices import segments
from apps.messages import no_subject, plain
from apps.place import Place
from apps.prompt_box import reads_text
from apps.views import circuit, lens, patching, rotation, steering

PATCHING, DIRECTIONS, CIRCUIT, LENS, STEERING = "Patching", "Directions", "Circuit", "Lens", "Steering"


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Interventions", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    reads = reads_text(subject, say=False)
    kind = segments("Kind", [PATCHING, DIRECTIONS, CIRCUIT, LENS, STEERING], "look")
    if kind == PATCHING:
        patching.show(here, reads_text=reads)
    elif kind == DIRECTIONS:
        rotation.show(here.run)
    elif kind == CIRCUIT:
        circuit.show(here)
    elif kind == LENS:
        lens.show(here)
    elif reads:
        steering.show(here, subject)
    else:
        plain(ValueError("this subject writes no text: there is nothing to steer."))


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
