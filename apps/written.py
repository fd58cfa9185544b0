"""What people wrote about features, as the pages need it. It is read anew each time: another page may have written."""

import pandas as pd
import streamlit as st

from workbench.features.index.feature_index import FeatureIndex
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import Notes, login_name

AUTHOR = "notes_author"  # of the session: who writes, where that is not whoever started the explorer


def notes() -> Notes:
    """The notes, for whoever sits at this session."""
    return _notes(str(Notes.default_path())).by(st.session_state.get(AUTHOR) or login_name())


def dictionary(index: FeatureIndex) -> str:
    """What the index's dictionary is called there."""
    return dictionary_id(index.manifest)


def noted(index: FeatureIndex) -> pd.DataFrame:
    """The features about which something stands: feature, label, note, bookmarked, lists, author, changed.

    Raises `NotesError`.
    """
    return notes().table(dictionary(index))


@st.cache_resource(max_entries=4, show_spinner=False)
def _notes(path: str) -> Notes:
    return Notes(path)
