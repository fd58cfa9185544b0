"""What `python -m apps` tells the explorer it starts: where the runs are, and which to begin with."""

import os
from pathlib import Path

ROOT_VARIABLE = "WORKBENCH_EXPLORE_ROOT"
RUN_VARIABLE = "WORKBENCH_EXPLORE_RUN"


def root() -> Path:
    """The folder whose runs are shown."""
    return Path(os.environ.get(ROOT_VARIABLE, "runs"))


def first_run(names: list[str]) -> str:
    """The run that the explorer was started on, else the first."""
    wanted = os.environ.get(RUN_VARIABLE, "")
    return wanted if wanted in names else names[0]
