"""`workbench explore`: start the explorer as a process of its own, on this machine only."""

import argparse
import subprocess
import sys
from pathlib import Path

from models.artifacts import ArtifactError
from workbench.cli.console import RUNS, run_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="RUN", help="a run's folder or name, or a folder of runs (default: runs)")
    parser.add_argument("--port", type=int, help="default: the first free one from 8501 on")


def run(args: argparse.Namespace) -> None:
    path = RUNS if args.run is None else run_path(args.run)
    if not path.is_dir():
        raise ArtifactError(f"there is no run at {path}: `workbench demo` makes a first one.")
    sys.exit(subprocess.call(command(path, args.port)))


def command(path: Path, port: int | None = None) -> list[str]:
    """What starts the explorer. `-P`: a folder called `models` where the user stands must not shadow ours."""
    return [sys.executable, "-P", "-m", "apps", "--run", str(path), *(["--port", str(port)] if port else [])]
