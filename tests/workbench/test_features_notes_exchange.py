"""Notes as a file to give away: nothing is lost on the way, merging is a union, what is no export is refused whole."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typechecker import unchecked

from workbench.features.notes.exchange import MAX_BYTES, from_json, to_json
from workbench.features.notes.notes import Notes
from workbench.features.notes.revision import BOOKMARK, LIST, WORDS, Revision, now

D = "dictionary-a"
WICKED = "<script>alert(1)</script> :material/home: 🧑‍🚀 ' OR 1=1 --"


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "deep" / "notes.sqlite", author="anna")


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


def test_an_export_that_is_wrongly_made_is_refused_in_words_that_can_be_printed():
    def refusal(entry):
        with pytest.raises(ValueError, match="revision 1 of it cannot be read") as caught:
            from_json(json.dumps({"format": "workbench notes", "version": 1, "revisions": [entry]}).encode(), "it")
        return str(caught.value).encode("utf8").decode("utf8")

    assert "it is about none of" in refusal({"about": ["words"]})
    assert "\\udc80" in refusal({"about": "bookmark", "\udc80": 1})


def test_equal_histories_give_equal_files():
    revisions = [Revision(D, i, WORDS, "a", now(), label=str(i)) for i in range(5)]
    assert to_json(revisions) == to_json(reversed(revisions))
    assert from_json(to_json(revisions).encode(), "it") == sorted(revisions, key=lambda r: (r.time, r.id))
