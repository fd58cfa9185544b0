"""`workbench explore`: start the explorer as a process of its own, on this machine only."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models.artifacts import ArtifactError
from workbench.cli.console import RUNS, finish, run_path

PATIENCE_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--run", metavar="RUN", help="a run's folder or name, or a folder of runs (default: runs)")
    add_port(parser)


def add_port(parser: argparse.ArgumentParser) -> None:
    """The option that says where the explorer answers."""
    parser.add_argument("--port", type=_port, help="the explorer's (default: the first free one from 8501 on)")


def run(args: argparse.Namespace) -> None:
    """What `workbench explore` does and prints."""
    path = RUNS if args.run is None else run_path(args.run)
    if not path.is_dir():
        raise ArtifactError(f"there is no run at {path}: `workbench demo` makes a first one.")
    if args.json:
        address, process = start_in_background(path, args.port)
        finish(args, {"address": address, "process": process})
    elif code := subprocess.call(command(path, args.port)):
        sys.exit(code)


def command(path: Path, port: int | None = None) -> list[str]:
    """What starts the explorer. `-P`: a folder called `models` where the user stands must not shadow ours."""
    return [sys.executable, "-P", "-m", "apps", "--run", str(path), *(["--port", str(port)] if port else [])]


def start_in_background(path: Path, port: int | None = None) -> tuple[str, int]:
    """Start the explorer so that it outlives this process: its address, once it answers, and its process.

    Raises `OSError` with what it said if it does not answer.
    """
    with tempfile.NamedTemporaryFile("w+", prefix="workbench-explorer-", suffix=".log") as log:
        server = subprocess.Popen(
            command(path, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        give_up = time.monotonic() + PATIENCE_S
        while server.poll() is None and time.monotonic() < give_up:
            if words := [word for word in Path(log.name).read_text().split() if word.startswith("http://")]:
                return words[0], server.pid
            time.sleep(0.2)
        server.terminate()
        raise OSError(f"the explorer did not start: {Path(log.name).read_text().strip()}")


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: choose one from 1024 to 65535")
    return int(text)
