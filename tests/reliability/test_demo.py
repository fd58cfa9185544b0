"""The demo, killed in the middle, finishes what was left, and then has nothing to do."""

import json
import random

import pytest

from models.artifacts import Manifest
from workbench.cli import demo, dictionaries
from workbench.cli.main import main
from workbench.runs import Run

VERBS = ["demo", "train", "harvest", "sae", "index", "explore", "reproduce", "ls"]
SMALL = {"N_ROWS": 6000, "N_TRAIN_ROWS": 20_000, "D_SAE": 128, "K": 4, "N_PROBE_ROWS": 2_000, "N_HEAD_TOKENS": 400}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A demo of few steps and rows, on a little corpus that a model can learn."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(24):
        rng = random.Random(i)
        lines = [f'She {rng.choice(VERBS)}: "the {rng.choice(VERBS)} {rng.random()}" (quietly).' for _ in range(80)]
        (folder / f"{i:02d}.txt").write_text("\n".join(lines))
    for size, value in SMALL.items():
        monkeypatch.setattr(demo, size, value)
    return ["demo", "--run", str(tmp_path / "run"), "--corpus", str(folder), "--steps", "8", "--no-explore"]


def test_the_demo_finishes_what_a_kill_left_and_then_has_nothing_to_do(words, tmp_path, monkeypatch, capsys):
    measure = dictionaries.Measurer.measure
    monkeypatch.setattr(dictionaries.Measurer, "measure", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(words) == 130
    model = (tmp_path / "run/model/manifest.json").stat().st_mtime_ns

    monkeypatch.setattr(dictionaries.Measurer, "measure", measure)
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    for stage in demo.BUDGET:
        assert f"] {stage}:" in out
        assert f"{stage} took" in out
    assert "trained" in out
    assert "random" in out
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("manifest.json")}
    assert made[tmp_path / "run/model/manifest.json"] == model

    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["explorer"] is None
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("manifest.json")} == made
    same, other = (Manifest.read(tmp_path / name / "data").id for name in ("run", "run-gru"))
    assert same == other
    assert Run.open(tmp_path / "run-gru").model().cfg.cell == "gru"
