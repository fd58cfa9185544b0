"""Runs with a file or a name that is not as it was written: one sentence, and no page falls over."""

import os
import shutil
from pathlib import Path

import pytest
from test_views import copied, opened, words

from apps import serve_results
from models.artifacts import ArtifactError


def test_a_run_whose_name_is_not_utf8_is_left_out_and_named(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_EXPLORE_RUN", raising=False)
    shutil.copytree(runs_root / "result", tmp_path / "result")
    shutil.copytree(os.fsencode(runs_root / "result"), os.fsencode(tmp_path) + b"/caf\xe9")
    app = opened()
    assert "1 run is left out" in words(app)
    assert "udce9 is no name in UTF-8" in words(app)
    assert app.title[0].value == "result"


@pytest.mark.parametrize(
    ("content", "sentence"), [('{"loss": 1}\n', "has no step"), ("{\n", "is damaged"), ("[]\n", "has no step")]
)
def test_a_log_that_is_none_is_told(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, sentence: str
) -> None:
    run = copied("unindexed/model", runs_root, tmp_path, monkeypatch)
    (run / "model" / "metrics.jsonl").write_text(content)
    app = opened()
    assert len(app.error) == 1
    assert sentence in words(app)


@pytest.mark.parametrize(("kept", "sentence"), [(0, "No log of its training was kept"), (2, "How it learned")])
def test_of_a_log_that_is_being_written_the_whole_lines_are_shown(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, sentence: str
) -> None:
    run = copied("unindexed/model", runs_root, tmp_path, monkeypatch)
    log = run / "model" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:kept]) + '{"step": 3, "lo' * bool(kept))
    app = opened()
    assert not app.error
    assert sentence in words(app)


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_dictionarys_numbers_that_are_none_are_damage(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ArtifactError, match="metrics.json is damaged"):
        serve_results.dictionary_metrics(tmp_path)
