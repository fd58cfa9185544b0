"""`Notes`: what people write about features: labels, notes, bookmarks and lists.

It stands in one SQLite file outside the runs, so that runs that may only be read can be annotated, and keyed by what
the dictionary is (`dictionary_id`), so that an index made anew keeps its notes. Everything written is kept: a change is
one more revision, with its author and its time. Whoever saves says which revision was read (`expected`), and is told,
with the other's words, where somebody else has written since.
"""

import getpass
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from workbench.features.notes.exchange import read_file, to_json, write_file
from workbench.features.notes.revision import (
    BOOKMARK,
    LIST,
    MAX_NAME,
    WORDS,
    Revision,
    many_lines,
    moment_after,
    one_line,
)
from workbench.features.notes.rows import STANDS, add, known_ids, last, on_list, select
from workbench.features.notes.standing import ConflictError, Merged, Note, standing_note
from workbench.features.notes.store import NotesError, NotesStore

__all__ = ["ConflictError", "Merged", "Note", "Notes", "NotesError", "login_name"]

VARIABLE = "WORKBENCH_NOTES"


class Notes:
    """The notes in a file. Nothing is opened or made before it is needed; threads and processes may share the file.

    Whatever reads or writes raises `NotesError` where the file is damaged, foreign or of a later workbench, and what
    writes where it cannot be written.

    Args:
        path: the file; by default `Notes.default_path()`.
        author: who writes; by default the login name.
    """

    def __init__(self, path: str | Path | None = None, *, author: str | None = None) -> None:
        self._store = NotesStore(Path(path) if path is not None else self.default_path())
        self.author = login_name() if author is None else one_line(author)

    @staticmethod
    def default_path() -> Path:
        """`$WORKBENCH_NOTES`, or `workbench/notes.sqlite` where this system keeps a person's data."""
        if named := os.environ.get(VARIABLE):
            return Path(named)
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(data) / "workbench" / "notes.sqlite"

    @property
    def path(self) -> Path:
        """The file."""
        return self._store.path

    @property
    def writable(self) -> bool:
        """Whether anything can be written there."""
        return self._store.writable

    def by(self, author: str) -> "Notes":
        """The same notes, written by somebody else."""
        other = Notes(self.path, author=author)
        other._store = self._store
        return other

    def of(self, dictionary: str, feature: int) -> Note:
        """What stands about a feature."""
        with self._store.reading() as db:
            return standing_note(select(db, f"dictionary = ? AND feature = ? AND {STANDS}", (dictionary, feature)))

    def history(self, dictionary: str, feature: int) -> list[Revision]:
        """All that was ever written about a feature, newest first."""
        with self._store.reading() as db:
            found = select(db, "dictionary = ? AND feature = ?", (dictionary, feature))
        return sorted(found, key=lambda r: (r.time, r.id), reverse=True)

    def table(self, dictionary: str) -> pd.DataFrame:
        """One row a feature about which something stands: feature, label, note, bookmarked, lists, author, changed.

        `lists` is a tuple of names.
        """
        with self._store.reading() as db:
            found = select(db, f"dictionary = ? AND {STANDS}", (dictionary,))
        of: dict[int, list[Revision]] = {}
        for revision in found:
            of.setdefault(revision.feature, []).append(revision)
        notes = [(feature, standing_note(revisions)) for feature, revisions in sorted(of.items())]
        columns = ["label", "note", "bookmarked", "lists", "author", "changed"]
        rows = [
            [feature, *(getattr(note, name) for name in columns)]
            for feature, note in notes
            if note.label or note.note or note.bookmarked or note.lists
        ]
        return pd.DataFrame(rows, columns=["feature", *columns]).astype({"feature": "int64", "bookmarked": bool})

    def save(
        self,
        dictionary: str,
        feature: int,
        *,
        label: str | None = None,
        note: str | None = None,
        expected: str | None = None,
    ) -> Note:
        """Write a feature's words; what is None stays as it is. Words that stand already are not written again.

        Args:
            dictionary: see `dictionary_id`.
            feature: its number.
            label: one line; white space in and around it is tidied.
            note: plain text.
            expected: the `revision` of the `Note` that was read; None to write over whatever stands.

        Raises:
            ConflictError: somebody else has written since.
            ValueError: what cannot be a label or a note.
        """
        with self._store.writing() as db:
            there = select(db, f"dictionary = ? AND feature = ? AND {STANDS}", (dictionary, feature))
            stands = standing_note(there)
            words = (
                stands.label if label is None else one_line(label),
                stands.note if note is None else many_lines(note),
            )
            if words == (stands.label, stands.note):
                return stands
            if expected is not None and expected != stands.revision:
                raise ConflictError(feature, stands)
            time = moment_after(stands.changed or None)
            add(db, [Revision(dictionary, feature, WORDS, self.author, time, label=words[0], note=words[1])])
        return self.of(dictionary, feature)

    def bookmark(self, dictionary: str, feature: int, on: bool = True) -> Note:
        """Bookmark a feature, or take its bookmark away."""
        with self._store.writing() as db:
            before = last(db, (dictionary, feature, BOOKMARK, ""))
            if on != (before is not None and before.on):
                time = moment_after(before.time if before else None)
                add(db, [Revision(dictionary, feature, BOOKMARK, self.author, time, on=on)])
        return self.of(dictionary, feature)

    def lists(self, dictionary: str | None = None) -> dict[str, int]:
        """The lists by name, and how many features each has; of one dictionary alone if it is named."""
        where, values = ("dictionary = ? AND ", (dictionary,)) if dictionary is not None else ("", ())
        with self._store.reading() as db:
            found = select(db, f"{where}about = '{LIST}' AND is_on = 1 AND {STANDS}", values)
        return dict(sorted(Counter(revision.list_name for revision in found).items()))

    def members(self, name: str) -> list[tuple[str, int]]:
        """The features of a list in its order, each as (dictionary, feature); none where there is no such list."""
        with self._store.reading() as db:
            return [(r.dictionary, r.feature) for r in on_list(db, one_line(name))]

    def add_to(self, name: str, dictionary: str, *features: int) -> None:
        """Put features at the end of a list; one that has none yet is new. Those that are on it stay where they are."""
        self._put(name, [(dictionary, feature) for feature in features], first=None)

    def take_from(self, name: str, dictionary: str, *features: int) -> None:
        """Take features off a list. A list without features is none."""
        name = one_line(name)
        with self._store.writing() as db:
            gone = {(dictionary, feature) for feature in features}
            there = [r for r in on_list(db, name) if (r.dictionary, r.feature) in gone]
            add(db, [self._placed(db, name, r.dictionary, r.feature, on=False, place=0) for r in there])

    def reorder(self, name: str, members: Sequence[tuple[str, int]]) -> None:
        """Put the features of a list in this order.

        Raises:
            ValueError: these are not the features of the list, each once.
        """
        if sorted(members) != sorted(self.members(name)):
            raise ValueError(f"to reorder the list {name!r}, name each of its features once.")
        self._put(name, members, first=0)

    def search(self, text: str, dictionary: str | None = None) -> pd.DataFrame:
        """The features in whose label or note every one of these words stands: dictionary, feature, label, note.

        Upper and lower case are the same; a word may stand inside another.
        """
        words = text.casefold().split()
        conditions = [f"about = '{WORDS}'", "(label || note) <> ''", STANDS]
        conditions += ["instr(casefold(label || char(10) || note), ?) > 0"] * len(words)
        values: list[str] = list(words)
        if dictionary is not None:
            conditions.append("dictionary = ?")
            values.append(dictionary)
        with self._store.reading() as db:
            found = select(db, " AND ".join(conditions), values)
        rows = sorted((r.dictionary, r.feature, r.label, r.note) for r in found)
        return pd.DataFrame(rows, columns=["dictionary", "feature", "label", "note"]).astype({"feature": "int64"})

    def revisions(self, dictionaries: Collection[str] | None = None) -> list[Revision]:
        """The whole history, oldest first, or that of some dictionaries."""
        with self._store.reading() as db:
            found = select(db, "1")
        kept = [r for r in found if dictionaries is None or r.dictionary in dictionaries]
        return sorted(kept, key=lambda r: (r.time, r.id))

    def to_json(self, dictionaries: Collection[str] | None = None) -> str:
        """What `export` writes."""
        return to_json(self.revisions(dictionaries))

    def export(self, path: str | Path, dictionaries: Collection[str] | None = None) -> int:
        """Write the history as JSON (see `notes_exchange`), and say how many revisions that are.

        Raises:
            ValueError: something else than an export stands there.
        """
        found = self.revisions(dictionaries)
        write_file(path, found)
        return len(found)

    def import_(self, path: str | Path) -> Merged:
        """Merge an export into these notes. Raises `ValueError` for a file that is none, and then changes nothing."""
        return self.merge(read_file(path))

    def merge(self, revisions: Iterable[Revision]) -> Merged:
        """Add what is not there yet: all of it or, where that fails, none."""
        given = {revision.id: revision for revision in revisions}
        with self._store.writing() as db:
            known = known_ids(db)
            brought = _latest(given.values())
            conflicts = [
                (r.dictionary, r.feature)
                for key, r in brought.items()
                if r.about == WORDS
                and r.id not in known
                and (mine := last(db, key)) is not None
                and mine.id not in given
            ]
            new = [revision for i, revision in given.items() if i not in known]
            add(db, new)
        return Merged(len(new), len(given) - len(new), tuple(sorted(conflicts)))

    def _put(self, name: str, members: Iterable[tuple[str, int]], first: int | None) -> None:
        """Places on a list: from `first` on, or after its last for those that are not on it."""
        name = one_line(name)
        with self._store.writing() as db:
            there = on_list(db, name)
            if first is None:
                known = {(r.dictionary, r.feature) for r in there}
                members = [m for m in dict.fromkeys(members) if m not in known]
                first = max((r.place for r in there), default=-1) + 1
            placed = enumerate(members, first)
            add(db, [self._placed(db, name, d, f, on=True, place=place) for place, (d, f) in placed])

    def _placed(
        self, db: sqlite3.Connection, name: str, dictionary: str, feature: int, *, on: bool, place: int
    ) -> Revision:
        before = last(db, (dictionary, feature, LIST, name))
        time = moment_after(before.time if before else None)
        return Revision(dictionary, feature, LIST, self.author, time, list_name=name, on=on, place=place)


def login_name() -> str:
    """Who is at work here, as the system knows them."""
    try:
        return one_line(getpass.getuser())[:MAX_NAME] or "somebody"
    except (KeyError, OSError):  # a container may have users without names
        return "somebody"


def _latest(revisions: Iterable[Revision]) -> dict[tuple[str, int, str, str], Revision]:
    """Of each thing the revision that stands."""
    return {r.key: r for r in sorted(revisions, key=lambda r: (r.time, r.id))}
