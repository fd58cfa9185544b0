"""In the list of features, what people wrote: columns to search and to show, a filter, and the file to take along."""

from typing import Any

import pandas as pd
import streamlit as st

from apps.components.link_table import Cell, Column
from apps.messages import plain
from apps.written import dictionary, noted, notes
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.notes.exchange import MAX_BYTES, from_json
from workbench.features.notes.notes import Merged, NotesError

ANY, BOOKMARKED, WRITTEN = "any", "bookmarked", "has a label or note"
_ON_LIST = "in the list "
_NOTHING: dict[str, Any] = {"label": "", "note": "", "bookmarked": False, "lists": ()}
_KEY, _TOLD = "noted", "_notes_imported"
COLUMN = Column("label", "text", "What people call it; a star where it is bookmarked.")


def with_notes(table: pd.DataFrame, index: FeatureIndex) -> pd.DataFrame:
    """The index's table with the columns `label`, `note`, `bookmarked` and `lists`; empty where nothing is written.

    Where the notes cannot be read, that is said, and the list is shown without them.
    """
    try:
        found = noted(index)
    except NotesError as error:
        with st.sidebar:
            plain(error)
        found = pd.DataFrame(columns=["feature", *_NOTHING])
    return _joined(index.id, written_as_text(found), table, found)


def written_as_text(found: pd.DataFrame) -> str:
    """What people wrote, as the key of what is worked out of it."""
    return repr(found[list(_NOTHING)].to_dict("list")) + repr(found["feature"].tolist())


@st.cache_resource(max_entries=8, show_spinner=False)
def _joined(index_id: str, written: str, _table: pd.DataFrame, _found: pd.DataFrame) -> pd.DataFrame:
    at = pd.Index(_table["feature"]).get_indexer(_found["feature"])
    columns: dict[str, list[Any]] = {name: [nothing] * len(_table) for name, nothing in _NOTHING.items()}
    for name, column in columns.items():
        for place, value in zip(at, _found[name], strict=True):
            if place >= 0:  # what was written about a feature that is not there is shown nowhere
                column[place] = value
    return _table.assign(**columns)


def noted_filter(table: pd.DataFrame) -> str:
    """The filter by what people wrote, at the end of the side bar; what `kept` is to keep."""
    names = sorted({name for lists in table["lists"] for name in lists})
    options = [ANY, BOOKMARKED, WRITTEN, *(_ON_LIST + name for name in names)]
    if st.session_state.get(_KEY, ANY) not in options:  # a list that is gone, or another dictionary's
        del st.session_state[_KEY]
    with st.sidebar:
        return st.selectbox("Notes", options, key=_KEY, bind="query-params", persist_state="session")


def kept(table: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The rows about which people wrote what is wanted, in the order they are in."""
    if wanted == BOOKMARKED:
        return table[table["bookmarked"]]
    if wanted == WRITTEN:
        return table[(table["label"] != "") | (table["note"] != "")]
    if wanted.startswith(_ON_LIST):
        name = wanted.removeprefix(_ON_LIST)
        return table[[name in lists for lists in table["lists"]]]
    return table


def has_labels(table: pd.DataFrame) -> bool:
    """Whether the list has anything to show in `COLUMN`."""
    return bool(table["bookmarked"].any() or (table["label"] != "").any())


def label_cell(label: str, bookmarked: bool, href: str) -> Cell:
    """What `COLUMN` shows of a feature."""
    return Cell(" ".join(filter(None, ("★" if bookmarked else "", label))), href=href if label else "")


def notes_file(index: FeatureIndex) -> None:
    """What is written about this dictionary's features, to take along; and what others wrote, to bring in."""
    with st.container(width="content"):  # a fragment takes all the width that there is
        _notes_file(index)


@st.fragment
def _notes_file(index: FeatureIndex) -> None:
    with st.popover("Notes file", icon=":material/sell:", on_change="rerun", key="notes_file") as panel:
        if not panel.open:
            return
        try:
            _exchange(index)
        except ValueError as error:
            plain(error)


def _exchange(index: FeatureIndex) -> None:
    book, ours = notes(), dictionary(index)
    st.caption(
        "All that people ever wrote about these features, as JSON. Bringing a file in loses nothing: both sides are "
        "kept in the history, and the later words stand."
    )
    st.download_button(
        "Export",
        lambda: book.to_json([ours]),
        f"notes-{index.path.name}.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
    )
    given = st.file_uploader(
        "Import", "json", key="notes_given", max_upload_size=MAX_BYTES // 2**20, disabled=not book.writable
    )
    if given is None:
        return
    brought, sentence = st.session_state.get(_TOLD, ("", ""))
    if brought == given.file_id:
        st.success(sentence, icon=":material/check:")
        return
    merged = book.merge(from_json(given.getvalue(), "this file"))
    st.session_state[_TOLD] = given.file_id, told(merged)
    st.rerun()  # the list has more to show


def told(merged: Merged) -> str:
    """What an import brought, in a sentence."""
    sentence = f"New revisions: {merged.new:,}. There already: {merged.known:,}."
    if merged.conflicts:
        features = ", ".join(str(feature) for _, feature in merged.conflicts[:8])
        more = f" and {len(merged.conflicts) - 8:,} more" if len(merged.conflicts) > 8 else ""
        sentence += f" Written on both sides: feature {features}{more}; the later words stand, and both are kept."
    return sentence
