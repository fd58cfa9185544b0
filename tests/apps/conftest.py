"""The explorer's runs: made once a session."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_run import make_run


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: `tiny`, which is whole, and `unindexed`, which has a subject and nothing more."""
    root = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a subject only waits for a second thread
    make_run(root / "tiny")
    torch.set_num_threads(threads)
    for part in ("data", "model"):
        shutil.copytree(root / "tiny" / part, root / "unindexed" / part)
    return root


@pytest.fixture
def explorer_environment(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The explorer as it was started on the run `tiny`."""
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(runs_root))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "tiny")
    return runs_root
