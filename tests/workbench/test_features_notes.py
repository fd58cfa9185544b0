"""What people write about features: nobody's words are lost, whoever else writes, wherever the file has been."""

import gc
import json
import multiprocessing
import os
import sqlite3
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typechecker import unchecked

from models.artifacts import Manifest
from workbench.features.notes.exchange import MAX_BYTES, from_json, to_json
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import ConflictError, Note, Notes, NotesError
from workbench.features.notes.revision import BOOKMARK, LIST, MAX_LABEL, MAX_NOTE, WORDS, Revision, moment_after, now
from workbench.features.notes.store import NotesStore

D = "dictionary-a"
WICKED = "<script>alert(1)</script> :material/home: 🧑‍🚀 ' OR 1=1 --"


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "deep" / "notes.sqlite", author="anna")


def test_what_was_written_is_read(notes):
    assert notes.of(D, 3) == Note()
    saved = notes.save(D, 3, label="  opens a\n docstring ", note="see 17\r\n\tand 20\n\n")
    assert (saved.label, saved.note, saved.author) == ("opens a docstring", "see 17\n\tand 20", "anna")
    notes.bookmark(D, 3)
    notes.add_to("brackets", D, 3)
    again = Notes(notes.path).of(D, 3)
    assert again == Note(saved.label, saved.note, True, ("brackets",), saved.revision, "anna", saved.changed)
    assert Notes(notes.path).of("dictionary-b", 3) == Note(), "another dictionary's feature 3 is another feature"


def test_reading_makes_no_file(notes):
    assert notes.table(D).empty
    assert notes.lists() == {}
    assert notes.search("x").empty
    assert not notes.path.parent.exists()


def test_any_characters_are_kept_as_they_are(notes):
    notes.save(D, 0, label=WICKED, note=WICKED + "\n%_\\")
    notes.add_to(WICKED, D, 0)
    assert notes.of(D, 0).label == WICKED
    assert notes.members(WICKED) == [(D, 0)]
    assert notes.search("' or 1=1")["feature"].tolist() == [0]
    assert notes.search("%_\\")["feature"].tolist() == [0]
    assert notes.search("alert(2)").empty


def test_every_change_stays_in_the_history(notes):
    notes.save(D, 1, label="one")
    notes.by("ben").save(D, 1, note="because")
    notes.save(D, 1, label="two")
    notes.bookmark(D, 1)
    notes.bookmark(D, 1, on=False)
    told = [(r.about, r.author, r.label, r.note, r.on) for r in notes.history(D, 1)]
    assert told == [
        (BOOKMARK, "anna", "", "", False),
        (BOOKMARK, "anna", "", "", True),
        (WORDS, "anna", "two", "because", False),
        (WORDS, "ben", "one", "because", False),
        (WORDS, "anna", "one", "", False),
    ]
    assert notes.of(D, 1).bookmarked is False


def test_the_same_again_is_no_revision(notes):
    notes.save(D, 1, label="one")
    for _ in range(2):
        notes.save(D, 1, label="one ", expected="long ago")
        notes.bookmark(D, 1)
        notes.add_to("l", D, 1)
    notes.save(D, 2, label="", note="")
    assert len(notes.revisions()) == 3


def test_nobody_writes_over_what_they_have_not_read(notes):
    read = notes.save(D, 1, label="first")
    theirs = notes.by("ben").save(D, 1, label="second", note="theirs")
    with pytest.raises(ConflictError, match="ben has written about feature 1") as caught:
        notes.save(D, 1, label="third", expected=read.revision)
    assert caught.value.theirs == theirs
    assert notes.of(D, 1) == theirs
    with pytest.raises(ConflictError):
        notes.save(D, 1, label="third", expected=""), "nothing had been written when it was read"
    assert notes.save(D, 1, label="third", expected=theirs.revision).label == "third"


def test_a_list_keeps_its_order(notes):
    notes.add_to("heads", D, 5, 2, 9)
    notes.add_to("heads", "dictionary-b", 1)
    notes.add_to("heads", D, 2)
    assert notes.members("heads") == [(D, 5), (D, 2), (D, 9), ("dictionary-b", 1)]
    notes.take_from("heads", D, 5, 77)
    notes.reorder("heads", [("dictionary-b", 1), (D, 9), (D, 2)])
    notes.add_to("heads", D, 5)
    assert notes.members("heads") == [("dictionary-b", 1), (D, 9), (D, 2), (D, 5)]
    notes.add_to("one", D, 5)
    assert notes.lists() == {"heads": 4, "one": 1}
    assert notes.lists(D) == {"heads": 3, "one": 1}
    notes.take_from("one", D, 5)
    assert notes.lists() == {"heads": 4}, "a list without features is none"
    with pytest.raises(ValueError, match="name each of its features once"):
        notes.reorder("heads", [(D, 9)])


def test_the_table_has_what_stands(notes):
    notes.save(D, 7, note="only a note")
    notes.bookmark(D, 2)
    notes.add_to("b", D, 2)
    notes.add_to("a", D, 2)
    notes.save(D, 4, label="gone")
    notes.save(D, 4, label="")
    table = notes.table(D)
    assert table["feature"].tolist() == [2, 7]
    assert table["bookmarked"].tolist() == [True, False]
    assert table["lists"].tolist() == [("a", "b"), ()]


def test_search_finds_each_word_in_label_or_note(notes):
    notes.save(D, 1, label="Straße", note="of the docstring")
    notes.save("dictionary-b", 2, label="docstring")
    assert notes.search("STRASSE doc")["feature"].tolist() == [1]
    assert notes.search("docstring")["feature"].tolist() == [1, 2]
    assert notes.search("docstring", D)["feature"].tolist() == [1]
    notes.save(D, 1, note="")
    assert notes.search("docstring", D).empty, "what was written once and stands no more is not found"


def test_a_clock_that_is_behind_does_not_hide_what_is_written(notes):
    ahead = (datetime.now(UTC) + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    notes.merge([Revision(D, 1, WORDS, "ben", ahead, label="from a clock that is ahead")])
    assert notes.save(D, 1, label="mine").label == "mine"
    assert moment_after(ahead) > ahead


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"label": "x" * (MAX_LABEL + 1)}, "a label has at most 200 characters, not 201"),
        ({"note": "x" * (MAX_NOTE + 1)}, "a note has at most 20,000 characters"),
        ({"label": "bell\a"}, "a label is one line of text without control characters"),
        ({"note": "\x1b[2J"}, "a note is text without control characters"),
        ({"note": "half \ud83d"}, "a note is text without control characters"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_changes(notes, words, sentence):
    before = notes.save(D, 1, label="here", note="there")
    with pytest.raises(ValueError, match=sentence):
        notes.save(D, 1, **words)
    assert notes.of(D, 1) == before
    for wrong in (-1, 2**31, 1.5, True):
        with pytest.raises(ValueError, match="whole number"):
            notes.bookmark(D, wrong)
    with pytest.raises(ValueError, match="the name of a list has 1 to 100 characters"):
        notes.add_to("  ", D, 1)


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


def test_an_export_is_read_back_whole(notes, tmp_path):
    notes.save(D, 1, label=WICKED, note="line\nline")
    notes.bookmark(D, 1)
    notes.add_to("l", D, 4, 1)
    notes.take_from("l", D, 4)
    notes.save("dictionary-b", 1, label="another's")
    assert notes.export(tmp_path / "all.json") == 6
    copy = Notes(tmp_path / "copy.sqlite")
    merged = copy.import_(tmp_path / "all.json")
    assert (merged.new, merged.known, merged.conflicts) == (6, 0, ())
    assert copy.revisions() == notes.revisions()
    assert copy.of(D, 1) == notes.of(D, 1)
    again = copy.import_(tmp_path / "all.json")
    assert (again.new, again.known) == (0, 6)
    assert copy.to_json() == (tmp_path / "all.json").read_text("utf8")
    assert notes.export(tmp_path / "some.json", [D]) == 5


def test_words_written_on_both_sides_are_both_kept_with_the_later_on_top(notes, tmp_path):
    other = Notes(tmp_path / "other.sqlite", author="ben")
    notes.save(D, 1, label="shared")
    other.merge(notes.revisions())
    notes.save(D, 1, label="mine")
    notes.save(D, 2, label="mine alone")
    other.save(D, 1, label="theirs")
    merged = notes.merge(other.revisions())
    assert merged.conflicts == ((D, 1),)
    assert notes.of(D, 1).label == "theirs"
    assert [r.label for r in notes.history(D, 1)] == ["theirs", "mine", "shared"]
    assert other.merge(notes.revisions()).conflicts == ()
    behind = Notes(tmp_path / "behind.sqlite")
    behind.merge(r for r in notes.revisions() if r.label == "shared")
    assert behind.merge(notes.revisions()).conflicts == (), "later words that follow on ours are no conflict"
    assert other.to_json() == notes.to_json()


times = st.integers(0, 3).map(lambda n: f"2026-01-01T00:00:0{n}.000000Z")
who = {"dictionary": st.sampled_from([D, "b"]), "feature": st.integers(0, 2), "author": st.sampled_from("ab")}
words = st.builds(Revision, **who, time=times, about=st.just(WORDS), label=st.sampled_from(["", "x", "y"]))
marks = st.builds(Revision, **who, time=times, about=st.just(BOOKMARK), on=st.booleans())
places = st.builds(
    Revision, **who, time=times, about=st.just(LIST), list_name=st.sampled_from("lm"), on=st.booleans(),
    place=st.integers(0, 2),
)  # fmt: skip
histories = st.lists(words | marks | places, max_size=8)


def merged(*parts):
    with tempfile.TemporaryDirectory() as folder:
        notes = Notes(Path(folder) / "notes.sqlite")
        for part in parts:
            notes.merge(part)
        stands = {(d, f): notes.of(d, f) for d in (D, "b") for f in range(3)}
        return notes.to_json(), stands, [notes.members(name) for name in "lm"]


@settings(deadline=None, max_examples=20)
@given(histories, histories)
def test_merging_is_a_union_in_any_order_and_any_number_of_times(one, other):
    with unchecked():
        both = merged(one, other)
        assert both == merged(other, one) == merged(other, one, other, [*one, *other])
        ids = {r.id for r in [*one, *other]}
        assert {r.id for r in from_json(both[0].encode(), "it")} == ids


def revision(**changes):
    return Revision(D, 1, WORDS, "a", now(), label="x").to_dict() | changes


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89PNG", "is no export of notes: it is not JSON"),
        (b"[" * 100_000, "is no export of notes: it is not JSON"),
        (b"[1, 2]", 'it does not say "format": "workbench notes"'),
        ({"format": "workbench notes", "version": 2}, "was written by a later workbench"),
        ({"format": "workbench notes", "version": 1}, "has no list of revisions"),
        ([{"about": "weather"}], "revision 1 of .* is about none of words, bookmark, list"),
        ([revision(), revision(extra=1)], "revision 2 of .* has too many or too few entries \\(extra\\)"),
        ([revision(feature=10**30)], "a feature's number is a whole number from 0"),
        ([revision(feature="1")], "a feature's number is a whole number"),
        ([revision(label=["x"])], "a label is one line of text"),
        ([revision(author="\ud800")], "an author's name is one line of text"),
        ([revision(time="yesterday")], "a time is written like"),
        ([revision(time="9999-12-31T23:59:59.999999Z")], "which has not come yet"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_whole(notes, tmp_path, content, sentence):
    notes.save(D, 1, label="here")
    path = tmp_path / "in.json"
    whole = {"format": "workbench notes", "version": 1}
    if isinstance(content, list):
        content = {**whole, "revisions": [revision(author="good"), *content][-2:] if len(content) == 2 else content}
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with unchecked(), pytest.raises(ValueError, match=sentence):
        notes.import_(path)
    assert len(notes.revisions()) == 1


def test_a_file_that_is_too_large_is_not_read(notes, tmp_path):
    with (tmp_path / "in.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match="larger than 32 MB"):
        notes.import_(tmp_path / "in.json")


def test_an_export_replaces_nothing_but_an_export(notes, tmp_path):
    notes.save(D, 1, label="here")
    notes.export(tmp_path / "out.json")
    notes.save(D, 1, label="there")
    assert notes.export(tmp_path / "out.json") == 2
    (tmp_path / "README.md").write_text("# mine")
    with pytest.raises(ValueError, match="README.md is not replaced, for it is somebody's"):
        notes.export(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == "# mine"


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


def test_an_export_that_is_wrongly_made_is_refused_in_words_that_can_be_printed():
    def refusal(entry):
        with pytest.raises(ValueError, match="revision 1 of it cannot be read") as caught:
            from_json(json.dumps({"format": "workbench notes", "version": 1, "revisions": [entry]}).encode(), "it")
        return str(caught.value).encode("utf8").decode("utf8")

    assert "it is about none of" in refusal({"about": ["words"]})
    assert "\\udc80" in refusal({"about": "bookmark", "\udc80": 1})


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


def test_the_default_place_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_NOTES", raising=False)
    assert Notes().path == tmp_path / "workbench" / "notes.sqlite"
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "mine.sqlite"))
    assert Notes().path == tmp_path / "mine.sqlite"


def test_a_dictionary_keeps_its_name_when_its_index_is_made_anew():
    def index(columns=None, **inputs):
        config = {"hook_name": "blocks.0.hook_out", "seed": len(inputs)} | ({"columns": columns} if columns else {})
        return Manifest("features", {"data": "d", "model": "m", **inputs}, config)

    first = index(**{"saes/small": "s", "activations/mlp": "one"})
    again = index(**{"saes/renamed": "s", "activations/mlp": "two", "labels/more": "l"})
    assert first.id != again.id
    assert dictionary_id(first) == dictionary_id(again) == "s"
    assert dictionary_id(index(**{"../other/saes/small": "s"})) == "s"
    probes = dictionary_id(index("probes", **{"probes/all": "p", "saes/small": "s"}))
    assert probes == "probes of blocks.0.hook_out of p", "one table has the probes of several hooks"
    units = dictionary_id(index("units"))
    assert units == dictionary_id(index("units", **{"activations/x": "one"})) != dictionary_id(index("heads"))
    assert units == "units of blocks.0.hook_out of m"
    alone = Manifest("features", {"activations": "a"}, {"hook_name": "h"})
    assert dictionary_id(alone) == alone.id


def test_equal_histories_give_equal_files():
    revisions = [Revision(D, i, WORDS, "a", now(), label=str(i)) for i in range(5)]
    assert to_json(revisions) == to_json(reversed(revisions))
    assert from_json(to_json(revisions).encode(), "it") == sorted(revisions, key=lambda r: (r.time, r.id))
