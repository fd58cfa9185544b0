"""What every reproduction stands on: subjects that are kept, and made again when they were made otherwise."""

import dataclasses
import importlib

import altair as alt
import pandas as pd
import pytest

from models import recipes
from models.artifacts import ArtifactError
from workbench.figures.saved import read_figure
from workbench.reproductions import NAMES, Bench, Row, base, reproduce
from workbench.runs import Run, list_runs


def small(**changes):
    recipe = recipes.get("flip-flop-rnn").with_changes(n_steps=2)
    return dataclasses.replace(recipe, **({"n_train": 8, "n_test": 8} | changes))


@pytest.mark.parametrize("name", NAMES)
def test_each_names_its_paper(name):
    module = importlib.import_module(f"workbench.reproductions.{name}")
    assert module.TITLE
    assert any(character.isdigit() for character in module.PAPER)
    assert callable(module.reproduce)


def test_a_subject_is_trained_once_and_again_when_anything_about_it_changes(tmp_path):
    told = []
    bench = Bench(Run.create(tmp_path).path, full=False, tell=told.append)
    first = bench.subjects({"a": small()})["a"].find("model").id
    assert bench.subjects({"a": small()})["a"].find("model").id == first
    assert len(told) == 2  # training, trained; and nothing the second time
    for changed in (small(n_train=16), small().with_changes(seed=1), small().with_changes(n_steps=3)):
        told.clear()
        assert bench.subjects({"a": changed})["a"].find("model").id != first
        assert told[0] == "training a"


def test_subjects_trained_side_by_side_are_those_trained_alone(tmp_path):
    wanted = {f"seed-{seed}": small().with_changes(seed=seed) for seed in (0, 1)}
    together = Bench(Run.create(tmp_path / "both").path, full=True, tell=lambda text: None).subjects(wanted)
    for name, recipe in wanted.items():
        bench = Bench(Run.create(tmp_path / name).path, full=True, tell=lambda text: None)
        assert bench.subjects({name: recipe})[name].find("model").id == together[name].find("model").id


def test_the_table_is_kept_in_a_run_that_the_explorer_finds(tmp_path, monkeypatch):
    rows = [Row("accuracy", "1", "0.9", "≥ 1", False), Row("loss", "", "0.1")]

    def made(bench):
        bench.subjects({"seed-0": small()})
        bench.table("steps", pd.DataFrame({"step": [1, 2]}))
        return rows

    module = importlib.import_module("workbench.reproductions.flip_flop")
    monkeypatch.setattr(module, "reproduce", made)
    assert reproduce("flip_flop", tmp_path, full=False) == rows
    run = Run.open(tmp_path / "flip_flop/quick")
    assert {a.name for a in run.artifacts()} == {"steps", "result"}
    assert not any(a.stale for a in run.artifacts())
    table = pd.read_parquet(run.find("analysis", "result").path / "result.parquet")
    assert table["passed"].tolist() == [False, pd.NA]
    assert [r.name for r in list_runs(tmp_path)] == ["quick", "seed-0"]
    bench = Bench(run.path, full=False, tell=lambda text: None)
    bench.subjects({"seed-0": small().with_changes(seed=5)})
    assert run.refresh().find("analysis", "result").stale  # what it was made from has been trained anew


def test_the_middle_of_several_seeds_is_told_with_its_ends():
    assert base.spread([0.5]) == "0.500"
    assert base.spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0 to 3.0)"


def test_a_table_has_its_figure_beside_it(tmp_path):
    bench = Bench(tmp_path / "r", False, lambda _: None)
    frame = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    bench.table("curve", frame, alt.Chart(frame).mark_line().encode(x="x", y="y"))
    bench.table("bare", frame)
    assert read_figure(tmp_path / "r/analyses/curve")["mark"]["type"] == "line"
    assert not (tmp_path / "r/analyses/bare/figure.vl.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"data": {"url": "https://example.org/x.csv"}, "mark": "point"}'])
def test_a_figure_that_is_damaged_or_would_fetch_something_is_refused(tmp_path, text):
    (tmp_path / "figure.vl.json").write_text(text)
    with pytest.raises(ArtifactError):
        read_figure(tmp_path)
