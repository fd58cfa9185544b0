"""On the page of one feature or unit, what people wrote about it: read, written, and both where two wrote at once.

What was measured stays in the page's title; what people say stands beneath it. All of it is plain text.
"""

from collections.abc import Callable
from functools import partial

import streamlit as st

from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import plain
from apps.text import escape_markdown, moment
from apps.words import words_of
from apps.written import AUTHOR, dictionary, notes
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.notes.notes import ConflictError, Note, Notes, NotesError, login_name
from workbench.features.notes.revision import BOOKMARK, MAX_LABEL, MAX_NAME, MAX_NOTE, WORDS, Revision

Key = tuple[str, int]  # dictionary and feature
_DRAFTS = "_notes_drafts"  # of features being written about: the revision that was read
_CONFLICTS = "_notes_conflicts"  # of those that somebody else has written about since: what they wrote
_REFUSED = "_notes_refused"  # why the last change was not made


@st.fragment
def notes_panel(index: FeatureIndex, feature: int) -> None:
    """Label, note, bookmark, lists and history of a feature. Writing redraws the panel and nothing else of the page."""
    key, one = (dictionary(index), feature), words_of(index.config).one
    try:
        book = notes()
        note = book.of(*key)
        with st.container(key="notes", gap="small"):
            _told(note)
            _actions(book, note, key, one)
            if error := st.session_state.pop(_REFUSED, None):
                plain(error)
            if theirs := _conflicts().get(key):
                _both(theirs, key, one)
            elif key in _drafts():
                _form(key)
    except NotesError as error:
        plain(error)


def _told(note: Note) -> None:
    """What stands, and who says so."""
    if not note.label and not note.note:
        return
    words = f"**{escape_markdown(note.label)}** · " if note.label else ""
    who = f"{escape_markdown(note.author)}, {moment(note.changed)} UTC"
    st.markdown(f":material/sell: {words}:gray[{who}]")
    if note.note:
        st.text(note.note)


def _actions(book: Notes, note: Note, key: Key, one: str) -> None:
    fixed = not book.writable
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Bookmarked" if note.bookmarked else "Bookmark",
            icon=":material/star:" if note.bookmarked else ":material/star_border:",
            type="primary" if note.bookmarked else "secondary",
            on_click=_tried,
            args=(partial(book.bookmark, *key, not note.bookmarked),),
            disabled=fixed,
            key="note_bookmark",
        )
        count = f" · {len(note.lists)}" if note.lists else ""
        with st.popover(f"Lists{count}", icon=":material/list:", disabled=fixed, key="note_lists_open"):
            _lists(book, note, key)
        if key not in _drafts():
            there = note.label or note.note
            st.button(
                "Edit label and note" if there else "Add a label or note",
                icon=":material/edit:",
                on_click=_begin,
                args=(key, note),
                disabled=fixed,
                key="note_edit",
            )
        _history(book, key, one)
        if fixed:
            st.caption(f"Notes may only be read here: {escape_markdown(book.path)} cannot be written.")


def _lists(book: Notes, note: Note, key: Key) -> None:
    chosen = f"note_lists_{key[0]}_{key[1]}"
    st.session_state[chosen] = list(note.lists)  # what stands, whoever has written it since
    st.multiselect(
        "On the lists",
        sorted({*book.lists(), *note.lists}),
        key=chosen,
        accept_new_options=True,
        placeholder="choose one, or type the name of a new one",
        on_change=_relist,
        args=(book, note, key, chosen),
    )


def _relist(book: Notes, note: Note, key: Key, chosen: str) -> None:
    wanted = set(st.session_state[chosen])
    for name in sorted(wanted - set(note.lists)):
        _tried(partial(book.add_to, name, *key))
    for name in sorted(set(note.lists) - wanted):
        _tried(partial(book.take_from, name, *key))


def _form(key: Key) -> None:
    with st.container(border=True, gap="small"):
        st.text_input("Label", key=_field("label", key), max_chars=MAX_LABEL, persist_state="session")
        st.text_area("Note", key=_field("note", key), max_chars=MAX_NOTE, height=120, persist_state="session")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.button("Save", type="primary", on_click=_save, args=(key,), key="note_save")
            st.button("Cancel", on_click=_end, args=(key,), key="note_cancel")
            st.space("stretch")
            if AUTHOR not in st.session_state:
                st.session_state[AUTHOR] = login_name()
            st.text_input("Written by", key=AUTHOR, max_chars=MAX_NAME, width=200, persist_state="session")


def _both(theirs: Note, key: Key, one: str) -> None:
    """Two texts side by side, and what shall become of them."""
    label, note = _typed(key)
    who = escape_markdown(theirs.author)
    st.warning(f"{who} has written about this {one} since you opened it. Nothing is lost: which shall stand?")
    left, right = halves(280)
    for pane, title, words in (
        (left, "Yours, not saved yet", (label, note)),
        (right, f"{who}, {moment(theirs.changed)} UTC", (theirs.label, theirs.note)),
    ):
        with pane, st.container(border=True, gap="small"):
            st.caption(title)
            st.markdown(f"**{escape_markdown(words[0])}**" if words[0] else "*no label*")
            if words[1]:
                st.text(words[1])
    with st.container(horizontal=True, gap="small"):
        st.button("Keep mine", on_click=_save, args=(key,), key="note_mine")
        st.button("Take theirs", on_click=_end, args=(key,), key="note_theirs")
        st.button("Keep both", on_click=_save_both, args=(key, theirs), key="note_both")


def _history(book: Notes, key: Key, one: str) -> None:
    found = book.history(*key)
    if not found:
        return
    with st.popover(
        f"History · {len(found):,}", icon=":material/history:", type="tertiary", on_change="rerun", key="note_history"
    ) as panel:
        if not panel.open:
            return
        columns = [Column("when (UTC)", "word"), Column("who", "word"), Column("what", "prose")]
        rows = [[Cell(moment(r.time)), Cell(r.author), Cell(_did(r))] for r in found]
        st.caption(f"All that was ever written about this {one}, newest first. Nothing of it is ever taken away.")
        link_table(columns, rows, key="note_revisions", height=320)


def _did(revision: Revision) -> str:
    if revision.about == WORDS:
        words = " — ".join(filter(None, (revision.label, revision.note)))
        return words or "took label and note away"
    if revision.about == BOOKMARK:
        return "bookmarked it" if revision.on else "took the bookmark away"
    return f"put it on the list {revision.list_name}" if revision.on else f"took it off the list {revision.list_name}"


def _begin(key: Key, note: Note) -> None:
    st.session_state[_field("label", key)] = note.label
    st.session_state[_field("note", key)] = note.note
    _drafts()[key] = note.revision


def _save(key: Key) -> None:
    label, note = _typed(key)
    _store(key, label, note)


def _save_both(key: Key, theirs: Note) -> None:
    """Their words, then ours: where two labels are too long for one, ours goes into the note."""
    label, note = _typed(key)
    labels, prose = list(dict.fromkeys(filter(None, (theirs.label, label)))), [theirs.note, note]
    joined = " / ".join(labels)
    if len(joined) > MAX_LABEL:
        joined, prose = theirs.label, [theirs.note, label, note]
    _store(key, joined, "\n\n".join(dict.fromkeys(filter(None, prose))))


def _store(key: Key, label: str, note: str) -> None:
    book, read = notes(), _drafts()[key]
    if theirs := _conflicts().get(key):
        read = theirs.revision
    try:
        book.save(*key, label=label, note=note, expected=read)
    except ConflictError as error:
        _conflicts()[key] = error.theirs
    except ValueError as error:
        st.session_state[_REFUSED] = error
    else:
        _end(key)


def _end(key: Key) -> None:
    _drafts().pop(key, None)
    _conflicts().pop(key, None)
    for name in ("label", "note"):
        st.session_state.pop(_field(name, key), None)


def _tried(change: Callable[[], object]) -> None:
    """Make a change; why it cannot be made is said when the panel is drawn."""
    try:
        change()
    except ValueError as error:
        st.session_state[_REFUSED] = error


def _typed(key: Key) -> tuple[str, str]:
    label, note = (st.session_state.get(_field(name, key)) or "" for name in ("label", "note"))
    return label, note


def _field(name: str, key: Key) -> str:
    return f"note_{name}_{key[0]}_{key[1]}"


def _drafts() -> dict[Key, str]:
    found: dict[Key, str] = st.session_state.setdefault(_DRAFTS, {})
    return found


def _conflicts() -> dict[Key, Note]:
    found: dict[Key, Note] = st.session_state.setdefault(_CONFLICTS, {})
    return found
