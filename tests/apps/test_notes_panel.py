"""What people wrote, on the screen: beside what was measured, as plain text, and with nothing lost when two write."""

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from test_views import component, opened, unescaped_tags, words
from tiny_run import D_SAE

from apps.notes_list import told
from workbench.features import FeatureIndex
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import Merged, Notes
from workbench.runs import Run

WICKED = "<script>window.wicked = 1</script> :material/home: **bold** $x$ :red[r]"


@pytest.fixture
def index(runs_root: Path) -> FeatureIndex:
    return FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)


@pytest.fixture
def feature(index: FeatureIndex) -> int:
    return int(index.table["density"].idxmax())


@pytest.fixture
def key(index: FeatureIndex, feature: int) -> tuple[str, int]:
    return dictionary_id(index.manifest), feature


@pytest.fixture
def book(explorer_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "notes.sqlite"))
    return Notes(author="ben")


def button(app: AppTest, key: str) -> Any:
    return next(b for b in app.button if b.key == key)


def field(app: AppTest, label: str) -> Any:
    return next(e for e in [*app.text_input, *app.text_area] if e.label == label)


def form_open(app: AppTest) -> bool:
    return any(e.label == "Note" for e in app.text_area)


def panel(feature: int) -> AppTest:
    return opened("features", feature=str(feature))


def plain_text(app: AppTest) -> list[str]:
    return [e.value for e in app.get("text")]


def draft(app: AppTest, label: str, note: str = "") -> AppTest:
    button(app, "note_edit").click()
    app.run()
    field(app, "Label").set_value(label)
    field(app, "Note").set_value(note)
    return app.run()


def press(app: AppTest, key: str) -> AppTest:
    button(app, key).click()
    app.run()
    assert not app.exception
    return app


def test_a_label_and_a_note_are_written_and_stand_beside_the_measured_name(
    book: Notes, key: tuple[str, int], index: FeatureIndex
) -> None:
    app = panel(key[1])
    assert not form_open(app), "nothing asks to be written in before somebody wants to"
    app = press(draft(app, "mine", "first\nsecond"), "note_save")
    stands = book.of(*key)
    assert (stands.label, stands.note) == ("mine", "first\nsecond")
    assert app.title[0].value.replace("\\", "") == index.table["name"][key[1]], "the measured name keeps its place"
    assert f"**mine** · :gray[{stands.author}," in words(app)
    assert "first\nsecond" in plain_text(app)
    assert not form_open(app), "the form is shut"


def test_what_people_wrote_is_shown_as_it_is(book: Notes, key: tuple[str, int]) -> None:
    writer = book.by("<b>ben</b>")
    writer.save(*key, label=WICKED, note=WICKED)
    writer.add_to(WICKED, *key)
    app = panel(key[1])
    assert WICKED in words(app)
    assert WICKED in plain_text(app)
    assert unescaped_tags(app) == []
    assert app.multiselect[0].value == [WICKED]
    rows = component(opened("features"), "link_table", "window.wicked")["rows"]
    assert WICKED in {row[2]["text"] for row in rows}


def test_bookmarks_come_and_go(book: Notes, key: tuple[str, int]) -> None:
    app = press(panel(key[1]), "note_bookmark")
    assert book.of(*key).bookmarked
    assert button(app, "note_bookmark").label == "Bookmarked"
    press(app, "note_bookmark")
    assert not book.of(*key).bookmarked


def test_lists_are_joined_begun_and_left(book: Notes, key: tuple[str, int]) -> None:
    book.add_to("old", key[0], key[1] + 1)
    app = panel(key[1])
    assert app.multiselect[0].options == ["old"]
    app.multiselect[0].set_value(["old"]).run()
    assert book.of(*key).lists == ("old",)
    book.add_to("new", *key)
    app.run()
    assert app.multiselect[0].value == ["new", "old"], "what another page did is seen"
    app.multiselect[0].set_value(["new"]).run()
    assert book.lists() == {"new": 1, "old": 1}
    assert book.members("old") == [(key[0], key[1] + 1)]


@pytest.mark.parametrize(
    ("choice", "label", "note"),
    [
        ("note_mine", "mine", "my note"),
        ("note_theirs", "theirs", "their note"),
        ("note_both", "theirs / mine", "their note\n\nmy note"),
    ],
)
def test_of_two_texts_one_or_both_stand_and_none_is_lost(
    book: Notes, key: tuple[str, int], choice: str, label: str, note: str
) -> None:
    app = draft(panel(key[1]), "mine", "my note")
    book.save(*key, label="theirs", note="their note")
    app = press(app, "note_save")
    assert book.of(*key).label == "theirs", "nothing is written over"
    assert "ben has written about this feature since you opened it" in words(app)
    assert {"my note", "their note"} <= set(plain_text(app))
    app = press(app, choice)
    stands = book.of(*key)
    assert (stands.label, stands.note) == (label, note)
    assert "theirs" in {r.label for r in book.history(*key)}
    assert "which shall stand" not in words(app)
    assert not form_open(app)


def test_who_writes_a_third_time_is_seen_too(book: Notes, key: tuple[str, int]) -> None:
    app = draft(panel(key[1]), "mine")
    book.save(*key, label="theirs")
    app = press(app, "note_save")
    book.by("carl").save(*key, label="carl's")
    app = press(app, "note_mine")
    assert "carl has written about this feature" in words(app)
    press(app, "note_mine")
    assert [r.label for r in book.history(*key)] == ["mine", "carl's", "theirs"]


def test_a_draft_waits_while_another_feature_is_looked_at(book: Notes, key: tuple[str, int]) -> None:
    app = draft(panel(key[1]), "half a thought", "unfinished")
    app.query_params["feature"] = str((key[1] + 1) % D_SAE)
    app.run()
    assert not form_open(app), "another feature has its own"
    app.query_params["feature"] = str(key[1])
    app.run()
    assert field(app, "Label").value == "half a thought"
    press(app, "note_save")
    assert book.of(*key).note == "unfinished"


def test_whoever_writes_may_say_so(book: Notes, key: tuple[str, int]) -> None:
    app = draft(panel(key[1]), "mine")
    field(app, "Written by").set_value("dora").run()
    press(press(app, "note_save"), "note_bookmark")
    assert {r.author for r in book.history(*key)} == {"dora"}


def test_what_cannot_be_a_note_is_said_and_the_draft_stays(book: Notes, key: tuple[str, int]) -> None:
    app = press(draft(panel(key[1]), "bell\a"), "note_save")
    assert "A label is one line of text without control characters" in words(app)
    assert field(app, "Label").value == "bell\a"
    assert book.history(*key) == []


def test_the_list_is_filtered_and_searched_by_what_people_wrote(
    book: Notes, key: tuple[str, int], index: FeatureIndex
) -> None:
    live = index.table[~index.table["dead"].astype(bool)]["feature"].tolist()
    one, two, three = live[:3]
    book.save(key[0], one, label="zebra crossing")
    book.save(key[0], two, note="a zebra, at length")
    book.bookmark(key[0], three)
    book.add_to("tour", key[0], three, one)

    def shown(**asked: str) -> set[int]:
        return set(component(opened("features", **asked), "link_table")["ids"])

    assert shown(q="ZEBRA") == {one, two}
    assert shown(noted="bookmarked") == {three}
    assert shown(noted="has a label or note") == {one, two}
    assert shown(noted="in the list tour") == {one, three}
    assert len(shown(noted="in the list that is gone")) > 3, "a link to a list that is gone shows all"
    table = component(opened("features", noted="in the list tour"), "link_table")
    assert [c["label"] for c in table["columns"]][:3] == ["#", "name", "label"]
    assert {row[2]["text"] for row in table["rows"]} == {"★", "zebra crossing"}


def test_a_list_without_labels_has_no_column_for_them(book: Notes) -> None:
    assert "label" not in [c["label"] for c in component(opened("features"), "link_table")["columns"]]


def test_damaged_notes_are_told_and_the_page_goes_on(book: Notes, key: tuple[str, int]) -> None:
    book.path.write_text("torn " * 100)
    app = panel(key[1])
    assert "notes.sqlite is damaged or holds no notes" in words(app)
    assert component(app, "token_strip")["strips"]
    assert component(opened("features"), "link_table")["ids"]


def test_where_nothing_can_be_written_what_is_there_is_shown(
    book: Notes, key: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    book.save(*key, label="theirs")
    monkeypatch.setattr(Notes, "writable", False)
    app = panel(key[1])
    assert "theirs" in words(app)
    assert "Notes may only be read here" in words(app)
    assert button(app, "note_bookmark").disabled
    assert button(app, "note_edit").disabled


def test_a_file_is_brought_in_once_and_the_list_shows_it(book: Notes, key: tuple[str, int], tmp_path: Path) -> None:
    other = Notes(tmp_path / "other.sqlite", author="carl")
    other.save(*key, label="from a file")
    app = opened("features")
    app.session_state["notes_file"] = True
    app.run()
    app.file_uploader[0].upload("notes.json", other.to_json().encode(), "application/json").run()
    assert book.of(*key).label == "from a file"
    assert "New revisions: 1. There already: 0." in [e.value for e in app.success]
    assert "from a file" in json.dumps(component(app, "link_table")["rows"])


def test_what_was_written_on_both_sides_is_named() -> None:
    sentence = told(Merged(2, 0, tuple(("d", n) for n in range(10))))
    assert "feature 0, 1, 2, 3, 4, 5, 6, 7 and 2 more" in sentence
