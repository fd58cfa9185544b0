"""The compare page: two features, two sets of rows, two dictionaries or two runs, beside what chance gives."""

import streamlit as st

from apps.choices import segments
from apps.place import Place
from apps.views import compare_dictionaries, compare_features, compare_rows, compare_runs

_WAYS = {
    "Features": compare_features.show,
    "Sets of rows": compare_rows.show,
    "Dictionaries": compare_dictionaries.show,
    "Runs": compare_runs.show,
}


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Compare", anchor=False)
    _WAYS[segments("What to compare", list(_WAYS), "what")](here)


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
