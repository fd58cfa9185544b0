"""The table of revisions, written and read as `Revision`s.

Conditions are ours; what people wrote goes into their parameters alone.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

from workbench.features.notes.revision import LIST, Revision

_COLUMNS = "dictionary, feature, about, author, time, label, note, list_name, is_on, place"
_FIELDS = ("dictionary", "feature", "about", "author", "time", "label", "note", "list_name", "on", "place")
# Of each thing the revision that stands: nothing later is written of it.
STANDS = """NOT EXISTS (SELECT 1 FROM revisions AS n WHERE n.dictionary = r.dictionary AND n.feature = r.feature
    AND n.about = r.about AND n.list_name = r.list_name AND (n.time, n.id) > (r.time, r.id))"""


def select(db: sqlite3.Connection, where: str, values: Iterable[Any] = ()) -> list[Revision]:
    """The revisions that meet a condition on `r`; a row that nobody can have written here is damage to the file."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM revisions AS r WHERE {where}", tuple(values)).fetchall()
    try:
        return [Revision(**dict(zip(_FIELDS, row, strict=True)) | {"on": bool(row[-2])}) for row in rows]
    except ValueError as error:
        raise sqlite3.DataError(str(error)) from error


def last(db: sqlite3.Connection, key: tuple[str, int, str, str]) -> Revision | None:
    """The revision that stands of a `Revision.key`."""
    where = f"dictionary = ? AND feature = ? AND about = ? AND list_name = ? AND {STANDS}"
    return next(iter(select(db, where, key)), None)


def on_list(db: sqlite3.Connection, name: str) -> list[Revision]:
    """The members of a list, in its order."""
    found = select(db, f"about = '{LIST}' AND list_name = ? AND is_on = 1 AND {STANDS}", (name,))
    return sorted(found, key=lambda r: (r.place, r.time, r.id))


def known_ids(db: sqlite3.Connection) -> set[str]:
    """The ids of all revisions."""
    return {found for (found,) in db.execute("SELECT id FROM revisions")}


def add(db: sqlite3.Connection, revisions: Iterable[Revision]) -> None:
    """Write revisions that are not there yet."""
    db.executemany(
        f"INSERT INTO revisions (id, {_COLUMNS}) VALUES ({', '.join('?' * 11)})",
        [
            (r.id, r.dictionary, r.feature, r.about, r.author, r.time, r.label, r.note, r.list_name, r.on, r.place)
            for r in revisions
        ],
    )
