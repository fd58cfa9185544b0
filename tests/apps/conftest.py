"""The explorer's runs: made once a session."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from altair.utils.schemapi import SchemaBase
from tiny_run import (
    make_aligned_run,
    make_circuits_run,
    make_dynamics_run,
    make_population_run,
    make_probed_run,
    make_recurrent_run,
    make_result_run,
    make_run,
    make_task_run,
)
from typechecker import unchecked


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs.

    `tiny` is whole; `unindexed` has a subject and nothing more. `gru` reads the same text, and `both-ways` in both
    directions; `flip-flop` and `sums` have learned tasks without text; `result` has tables and no subject;
    `probed` is `tiny` with probes and no dictionary; `dynamics` and `population` are `flip-flop` with fixed points, and
    with what was decoded; `circuits` is `tiny` with its heads surveyed and prompts patched, and `aligned` the same of a
    subject that reads a source.
    """
    root = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a subject only waits for a second thread
    with unchecked():
        make_run(root / "tiny")
        make_recurrent_run(root / "gru")
        make_recurrent_run(root / "both-ways", bidirectional=True)
        make_task_run(root / "flip-flop", vectors=True)
        make_task_run(root / "sums", vectors=False)
        make_result_run(root / "result")
        make_probed_run(root / "probed", root / "tiny")
        shutil.rmtree(root / "untrained-rows")
        make_dynamics_run(root / "dynamics", root / "flip-flop")
        make_population_run(root / "population", root / "flip-flop")
        make_circuits_run(root / "circuits", root / "tiny")
        make_aligned_run(root / "aligned")
    torch.set_num_threads(threads)
    for part in ("data", "model"):
        shutil.copytree(root / "tiny" / part, root / "unindexed" / part)
    return root


@pytest.fixture(scope="session", autouse=True)
def own_notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a person has written at home is not read here, and not written in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_NOTES", str(tmp_path_factory.mktemp("notes") / "notes.sqlite"))
        yield


@pytest.fixture
def explorer_environment(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The explorer as it was started on the run `tiny`."""
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(runs_root))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "tiny")
    return runs_root


@pytest.fixture(autouse=True)
def charts_are_held_against_their_schema_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the code of every figure is executed, and by the tests of figures: it is a fifth of a page's time."""
    if request.module.__name__ != "test_copied_code":
        checked = SchemaBase.to_dict
        monkeypatch.setattr(SchemaBase, "to_dict", lambda self, validate=True, **how: checked(self, False, **how))
