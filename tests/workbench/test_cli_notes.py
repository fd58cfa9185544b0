"""`workbench notes`: what people wrote about a run's features; there and back as a file."""

import json

import pandas as pd
import pytest

from models.artifacts import publishing
from workbench.cli import main as cli
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import Notes
from workbench.runs import Run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two dictionaries, the first with an index: all that the verb looks at."""
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "notes.sqlite"))
    made = Run.create(tmp_path / "run")
    for seed, name in enumerate(("small", "large")):
        with publishing(made.path_of("sae", name), "sae", config={"sae": {}}, seed=seed):
            pass
    made = made.refresh()
    inputs = made.inputs(made.find("sae", "small"))
    with publishing(made.path_of("features", "index"), "features", inputs=inputs, config={"hook_name": "h"}) as draft:
        names = pd.DataFrame({"feature": [0, 1], "name": ["in docstring", "this token is: 'self'"]})
        names.to_parquet(draft.path / "features.parquet")
    return made.refresh()


@pytest.fixture
def keys(run):
    return {"index": dictionary_id(run.find("features").manifest), "large": run.find("sae", "large").id}


def asked(run, *options, capsys):
    assert cli.main(["notes", "--run", str(run.path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def refused(run, *options, capsys):
    assert cli.main(["notes", "--run", str(run.path), *options]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence


def test_what_people_wrote_stands_beside_the_measured_name(run, keys, capsys):
    notes = Notes(author="anna")
    notes.save(keys["index"], 1, label="method receiver", note="fires in\nmethods")
    notes.bookmark(keys["large"], 9)
    notes.save("another run's", 1, label="not ours")
    found = asked(run, capsys=capsys)["notes"]
    told = [(n["dictionary"], n["feature"], n["measured"], n["label"], n["bookmarked"]) for n in found]
    assert sorted(told) == [
        ("index", 1, "this token is: 'self'", "method receiver", False),
        ("large", 9, "", "", True),
    ]
    assert "fires in\nmethods" in {n["note"] for n in found}
    assert len(asked(run, "--dictionary", "large", capsys=capsys)["notes"]) == 1
    assert len(asked(run, "--dictionary", "small", capsys=capsys)["notes"]) == 1, (
        "an index's notes are its dictionary's"
    )
    assert [n["feature"] for n in asked(run, "--search", "METHOD", capsys=capsys)["notes"]] == [1]


def test_a_list_is_told_in_its_order(run, keys, capsys):
    Notes().add_to("tour", keys["index"], 1, 0)
    Notes().add_to("tour", keys["large"], 4)
    Notes().bookmark(keys["large"], 5)
    told = asked(run, "--list", "tour", capsys=capsys)
    assert [n["feature"] for n in told["notes"]] == [1, 0, 4]
    assert told["lists"] == {"tour": 3}
    assert "no list 'walk' has a feature of this run: there are tour" in refused(run, "--list", "walk", capsys=capsys)


def test_there_and_back(run, keys, capsys, tmp_path, monkeypatch):
    Notes(author="anna").save(keys["index"], 1, label="hers")
    Notes().save("another run's", 1, label="not ours")
    file = str(tmp_path / "notes.json")
    assert asked(run, "--export", file, capsys=capsys) == {"path": file, "revisions": 1}
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "elsewhere.sqlite"))
    Notes(author="ben").save(keys["index"], 1, label="his, later")
    merged = asked(run, "--import", file, capsys=capsys)["merged"]
    assert merged == {"new": 1, "known": 0, "conflicts": [[keys["index"], 1]]}, "both wrote, neither having read"
    assert asked(run, "--import", file, capsys=capsys)["merged"]["known"] == 1
    assert [r.label for r in Notes().history(keys["index"], 1)] == ["his, later", "hers"]


def test_a_terminal_is_told_nothing_that_it_would_obey(run, keys, capsys):
    Notes().save(keys["index"], 0, label="turned \u202e round", note="one\n\ttwo " + "x" * 100)
    assert cli.main(["notes", "--run", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "\u202e" not in out
    assert "one  two xxx" in out
    assert "x" * 60 not in out
    assert out.splitlines()[-1] == f"next: workbench explore --run {run.path}"


def test_where_nothing_is_written_that_is_said(run, capsys):
    assert cli.main(["notes", "--run", str(run.path)]) == 0
    assert "nothing is written about these features." in capsys.readouterr().out


def test_bad_input_is_one_sentence(run, capsys, tmp_path, monkeypatch):
    assert "has no dictionary 'gone': there are index, large, small" in refused(
        run, "--dictionary", "gone", capsys=capsys
    )
    assert "nowhere.json: No such file" in refused(run, "--import", str(tmp_path / "nowhere.json"), capsys=capsys)
    (tmp_path / "other.json").write_text("{}")
    assert "is no export of notes" in refused(run, "--import", str(tmp_path / "other.json"), capsys=capsys)
    assert "is not replaced" in refused(run, "--export", str(tmp_path / "other.json"), capsys=capsys)
    (tmp_path / "torn.sqlite").write_text("torn " * 100)
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "torn.sqlite"))
    assert "torn.sqlite is damaged or holds no notes" in refused(run, capsys=capsys)
