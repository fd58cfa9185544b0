"""The SQLite file behind `Notes`: opened and made, shared by threads and processes, its troubles told in a sentence.

One table, `revisions`, to which rows are only added (triggers refuse anything else). The file is in WAL mode, so that
readers never wait for a writer; writers wait for each other. A connection belongs to one thread of one process. WAL
needs memory that is shared: the file is for one machine, and what is written travels between machines as JSON.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import ArtifactError

SCHEMA_VERSION = 1  # PRAGMA user_version
PATIENCE_S = 10.0  # that a writer waits for another
_OURS = 0x774E6F74  # PRAGMA application_id: "wNot"
_SCHEMA = (
    """CREATE TABLE revisions (
        id TEXT NOT NULL UNIQUE,
        dictionary TEXT NOT NULL,
        feature INTEGER NOT NULL CHECK (typeof(feature) = 'integer'),
        about TEXT NOT NULL CHECK (about IN ('words', 'bookmark', 'list')),
        author TEXT NOT NULL,
        time TEXT NOT NULL,
        label TEXT NOT NULL,
        note TEXT NOT NULL,
        list_name TEXT NOT NULL,
        is_on INTEGER NOT NULL CHECK (is_on IN (0, 1)),
        place INTEGER NOT NULL CHECK (typeof(place) = 'integer'))""",
    "CREATE INDEX standing ON revisions (dictionary, feature, about, list_name, time, id)",
    """CREATE TRIGGER never_changed BEFORE UPDATE ON revisions
        BEGIN SELECT RAISE(ABORT, 'revisions are never changed'); END""",
    """CREATE TRIGGER never_lost BEFORE DELETE ON revisions
        BEGIN SELECT RAISE(ABORT, 'revisions are never deleted'); END""",
)
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNWRITABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class NotesError(ArtifactError):
    """The file of the notes is damaged, foreign, of a later workbench, or cannot be written."""


class _Stamp(NamedTuple):
    """When a connection is of no more use: another process has it, or the file is another one."""

    process: int
    file: tuple[int, int] | None  # device and inode; None where there is none
    written: bool  # whether anything is in it
    writable: bool
    version: tuple[int, int] | None  # of a file that is read as it lies there: its size and time


class NotesStore:
    """The file at a path, which need not exist yet: reading does not make it.

    Attributes:
        path: where it stands.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._inherited: list[sqlite3.Connection] = []  # a parent's: to close them here would be to meddle

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; an empty store where there is no file. Raises `NotesError`."""
        with self._told():
            yield self._connection(to_write=False)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction of its own: all of it is written at the block's end, or none of it.

        Raises `NotesError`.
        """
        with self._told():
            db = self._connection(to_write=True)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @property
    def writable(self) -> bool:
        """Whether something can be written."""
        if self.path.exists():
            return self._stamp().writable
        there = next(folder for folder in self.path.absolute().parents if folder.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

    def _connection(self, *, to_write: bool) -> sqlite3.Connection:
        stamp, known = self._stamp(), getattr(self._mine, "opened", None)
        if to_write and not self.writable:
            raise self._unwritable("it may only be read")
        if known and known[0] == stamp and (stamp.written or not to_write):
            return known[1]
        if known:
            self._mine.opened = None
            if known[0].process == os.getpid():
                known[1].close()
            else:
                self._inherited.append(known[1])
        db = self._opened(stamp) if stamp.written else None
        if db is not None:
            self._mine.opened = (stamp, db)
        elif to_write:
            db = self._made()
            self._mine.opened = (self._stamp(), db)
        else:  # there is none, or somebody is just making it
            db = _connect(":memory:")
            _fill(db)
            self._mine.opened = (stamp._replace(written=False), db)
        return db

    def _stamp(self) -> _Stamp:
        try:
            known = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return _Stamp(os.getpid(), None, False, True, None)
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        version = None if writable else (known.st_size, known.st_mtime_ns)
        return _Stamp(os.getpid(), (known.st_dev, known.st_ino), known.st_size > 0, writable, version)

    def _made(self) -> sqlite3.Connection:
        """The file, made by whoever comes first."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error.strerror or "") from error
        db = _connect(self._address("rwc"))
        _patiently(db, "PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        if not self._is_ours(db):
            _fill(db)
        db.execute("COMMIT")
        return db

    def _opened(self, stamp: _Stamp) -> sqlite3.Connection | None:
        db = _connect(self._address("rw" if stamp.writable else "ro"))
        try:
            ours = self._is_ours(db)
        except sqlite3.OperationalError as error:
            if stamp.writable or _code(error) not in _UNWRITABLE:
                raise
            # Readers of a WAL file write, too, beside it. Nobody can here, so nobody changes it: it is read as it lies.
            log = self.path.with_name(self.path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise NotesError(
                    f"{self.path} was left in the middle of writing and may only be read: copy it and {log.name} "
                    "to a folder that can be written, and name it in WORKBENCH_NOTES."
                ) from error
            db = _connect(self._address("ro&immutable=1"))
            ours = self._is_ours(db)
        return db if ours else None

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """Whether it is a file of notes; False for an empty one. Raises `NotesError` for anything else."""
        with _at_one_moment(db):
            (known,), (version,) = (
                db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not known and not version and not tables:
            return False
        if known != _OURS:
            raise NotesError(f"{self.path} is another program's database: name another file in WORKBENCH_NOTES.")
        if version > SCHEMA_VERSION:
            raise NotesError(
                f"{self.path} was written by a later workbench (its format is {version}, and {SCHEMA_VERSION} is known "
                "here): update the workbench."
            )
        return True

    def _address(self, mode: str) -> str:
        return f"{self.path.absolute().as_uri()}?mode={mode}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite or the file system says, as a sentence."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError)):  # our own mistake
                raise
            code = _code(error)
            if code in _BUSY:
                raise NotesError(
                    f"somebody else has been writing in {self.path} for {PATIENCE_S:.0f} s: try again."
                ) from error
            if code in _UNWRITABLE:
                raise self._unwritable(str(error)) from error
            raise NotesError(
                f"{self.path} is damaged or holds no notes ({error}): move it away, and import an export of it."
            ) from error
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _unwritable(self, why: str) -> NotesError:
        return NotesError(
            f"notes cannot be written in {self.path} ({why}): name a file that can be written in WORKBENCH_NOTES."
        )


def _connect(address: str) -> sqlite3.Connection:
    db = sqlite3.connect(address, timeout=PATIENCE_S, isolation_level=None, uri=address.startswith("file:"))
    db.execute("PRAGMA trusted_schema = OFF")
    db.create_function("casefold", 1, _casefold, deterministic=True)
    return db


@contextmanager
def _at_one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """What is read within is of one moment, though somebody else may be making the file just now."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:  # some errors end it by themselves
            db.execute("ROLLBACK")


def _casefold(text: Any) -> str:
    return str(text).casefold()


def _fill(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_OURS}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """The one statement for which SQLite itself does not wait its turn."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's own number for what went wrong, without its details; None where it is Python that speaks."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
