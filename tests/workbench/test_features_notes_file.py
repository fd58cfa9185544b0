"""The file of the notes: any number of writers, exchanged or damaged, read-only, another program's."""

import gc
import multiprocessing
import os
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest

from workbench.features.notes.notes import ConflictError, Note, Notes, NotesError
from workbench.features.notes.revision import LIST, WORDS, Revision, now
from workbench.features.notes.store import NotesStore

D = "dictionary-a"


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "deep" / "notes.sqlite", author="anna")


def writer(path, who, n):
    """Append a line to the same note n times, reading again whenever somebody was faster."""
    notes = Notes(path, author=who)
    for i in range(n):
        while True:
            read = notes.of(D, 1)
            try:
                notes.save(D, 1, note=f"{read.note}\n{who} {i}", expected=read.revision)
                break
            except ConflictError:
                continue
        notes.add_to("all", D, 1000 * (ord(who[0]) + 1) + i)


def test_writers_in_two_processes_and_four_threads_lose_nothing(tmp_path):
    path, n = tmp_path / "notes.sqlite", 12
    at_once = multiprocessing.get_context("fork")

    def threads(*names):
        running = [threading.Thread(target=writer, args=(path, who, n)) for who in names]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    processes = [at_once.Process(target=threads, args=names) for names in (("anna", "ben"), ("carl", "dora"))]
    for process in processes:  # there is no file yet: they make it at once
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    notes = Notes(path)
    lines = notes.of(D, 1).note.split("\n")[1:]
    assert sorted(lines) == sorted(f"{who} {i}" for who in ("anna", "ben", "carl", "dora") for i in range(n))
    assert len([r for r in notes.history(D, 1) if r.about == WORDS]) == 4 * n
    places = [r.place for r in notes.revisions() if r.about == LIST]
    assert sorted(places) == list(range(4 * n)), "no two have the same place on the list"


def test_a_connection_is_not_carried_into_another_process(notes):
    notes.save(D, 1, label="before")
    child = multiprocessing.get_context("fork").Process(target=notes.save, args=(D, 1), kwargs={"label": "child"})
    child.start()
    child.join()
    assert child.exitcode == 0
    assert notes.of(D, 1).label == "child"
    assert len(notes.history(D, 1)) == 2


def test_a_file_that_is_exchanged_is_read_anew(notes, tmp_path):
    notes.save(D, 1, label="old")
    other = Notes(tmp_path / "other.sqlite")
    other.save(D, 1, label="new")
    del other
    gc.collect()
    for ending in ("-wal", "-shm"):
        notes.path.with_name(notes.path.name + ending).unlink(missing_ok=True)
    os.replace(tmp_path / "other.sqlite", notes.path)
    assert notes.of(D, 1).label == "new"
    notes.path.unlink()
    assert notes.of(D, 1) == Note()


def test_revisions_are_neither_changed_nor_deleted(notes):
    notes.save(D, 1, label="here")
    db = sqlite3.connect(notes.path)
    for statement in ("UPDATE revisions SET label = ''", "DELETE FROM revisions"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            db.execute(statement)


def damaged(path, how):
    if how == "text":
        path.write_text("these are my notes, by hand\n" * 50)
    elif how == "overwritten":
        Notes(path).merge(Revision(D, i, WORDS, "a", now(), note="x" * 500) for i in range(50))
        gc.collect()
        content = bytearray(path.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        path.write_bytes(content)
    elif how == "foreign row":
        Notes(path).save(D, 1, label="x")
        db = sqlite3.connect(path)
        db.execute("INSERT INTO revisions VALUES ('i', ?, 1, 'words', 'a', 'yesterday', '', '', '', 0, 0)", (D,))
        db.commit()
        db.close()


def test_a_time_after_which_there_is_none_is_damage(notes):
    notes.merge([Revision(D, 1, WORDS, "a", "9999-12-31T23:59:59.999999Z", label="last")])
    with pytest.raises(NotesError, match="is damaged or holds no notes .it holds something of 9999"):
        notes.save(D, 1, label="later")
    assert notes.of(D, 1).label == "last"


def test_a_file_that_somebody_makes_while_it_is_looked_at_is_no_other_programs(tmp_path):
    class Overtaken(sqlite3.Connection):
        """Between its first question and its second, another process makes the file."""

        def execute(self, statement, *values):
            found = super().execute(statement, *values)
            if statement == "PRAGMA application_id":
                known = found.fetchall()
                Notes(tmp_path / "notes.sqlite").save(D, 1, label="first")
                return super().execute("VALUES (?)", known[0])
            return found

    late = sqlite3.connect(tmp_path / "notes.sqlite", isolation_level=None, factory=Overtaken)
    late.execute("PRAGMA journal_mode = WAL")
    assert not NotesStore(tmp_path / "notes.sqlite")._is_ours(late)
    assert Notes(tmp_path / "notes.sqlite").of(D, 1).label == "first"


@pytest.mark.parametrize("how", ["text", "overwritten", "foreign row"])
def test_a_damaged_file_is_told_in_one_sentence_and_left_as_it_is(tmp_path, how):
    path = tmp_path / "notes.sqlite"
    damaged(path, how)
    gc.collect()
    before = path.read_bytes()
    for ask in (lambda n: n.table(D), lambda n: n.save(D, 1, label="y"), lambda n: n.history(D, 1)):
        with pytest.raises(NotesError, match="notes.sqlite is damaged or holds no notes") as caught:
            ask(Notes(path))
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_later_file_and_anothers_database_are_refused(notes, tmp_path):
    notes.save(D, 1, label="here")
    db = sqlite3.connect(notes.path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(NotesError, match="written by a later workbench .its format is 2"):
        Notes(notes.path).of(D, 1)
    foreign = tmp_path / "places.sqlite"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE places (url TEXT)")
    db.close()
    for ask in (lambda n: n.of(D, 1), lambda n: n.bookmark(D, 1)):
        with pytest.raises(NotesError, match="another program's database"):
            ask(Notes(foreign))


def as_a_guest(path, told):
    """What somebody who may only read can do there."""
    if os.geteuid() == 0:
        os.setuid(65534)
    notes = Notes(path, author="guest")
    try:
        notes.save(D, 1, label="mine")
        wrote = "written"
    except NotesError as error:
        wrote = str(error)
    told.send((notes.of(D, 1).label, len(notes.table(D)), notes.writable, wrote))


@pytest.mark.parametrize("left", ["closed", "open", "none"])
def test_where_nothing_can_be_written_reading_goes_on(left):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.sqlite"
        notes = Notes(path)
        if left != "none":
            notes.save(D, 1, label="owner's")
        if left == "closed":
            del notes
            gc.collect()
            assert not path.with_name("notes.sqlite-wal").exists()
        os.chmod(folder, 0o555)
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=as_a_guest, args=(path, there))
        child.start()
        child.join(30)
        assert here.poll(), "the guest came to an end without a word"
        label, n, writable, wrote = here.recv()
        os.chmod(folder, 0o755)
    assert (label, n) == (("", 0) if left == "none" else ("owner's", 1))
    assert not writable
    assert wrote.startswith("notes cannot be written in")
    assert "WORKBENCH_NOTES" in wrote
