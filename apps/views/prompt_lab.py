"""The prompt lab: type text; read it token by token; change it, and see what that does."""

import streamlit as st

from apps import place, serve
from apps.layout import halves
from apps.messages import no_subject
from apps.place import Place
from apps.prompt_box import reads_text
from apps.views import (
    lab_attention,
    lab_changed,
    lab_lens,
    lab_probes,
    lab_text,
    lab_token,
    lab_units,
    states_spans,
)
from workbench.dynamics import has_recurrence

_LEAST_PANE = 340  # text and what is read from it stand side by side even on a small screen


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Prompt lab", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if not reads_text(subject, say=here):
        return
    lab = lab_text.read(here, subject)
    if lab is None:
        return
    left, right = halves(_LEAST_PANE)
    with left:
        lab_text.show(lab)
        lab_changed.show(lab)
        lab_attention.show(lab)
    with right:
        lab_token.show(lab)
        lab_units.show(lab)
        lab_probes.show(lab)
        lab_lens.show(lab)
    if not has_recurrence(subject):  # a recurrent subject's page of states has them
        states_spans.pane(here, subject, lab.text, place.LAB)


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
