"""What people write about features: what stands, its history, its lists, and whose it is."""

from datetime import UTC, datetime, timedelta

import pytest

from models.artifacts import Manifest
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import ConflictError, Note, Notes
from workbench.features.notes.revision import BOOKMARK, MAX_LABEL, MAX_NOTE, WORDS, Revision, moment_after

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
