"""`python -m apps --run RUN`: start the explorer on this machine and say where it answers."""

import argparse
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from apps.environment import ROOT_VARIABLE, RUN_VARIABLE
from models.artifacts import ArtifactError
from workbench.runs import Run, is_run

HERE = Path(__file__).parent
HOST = "127.0.0.1"
FIRST_PORT, LAST_PORT = 8501, 8599
BAD_INPUT = 2
PATIENCE_S = 60


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; 2 on bad input."""
    args = _parse(arguments)
    try:
        root, run = _where(Path(args.run))
        port = _port(args.port)
    except (ValueError, OSError) as error:
        print(f"workbench explore: {error}", file=sys.stderr)
        return BAD_INPUT
    os.environ |= {ROOT_VARIABLE: str(root), RUN_VARIABLE: run}
    threading.Thread(target=_announce, args=(f"http://{HOST}:{port}",), daemon=True).start()
    # In this very process: whoever ends it ends the server, and nothing is left behind.
    from streamlit.web import cli

    cli.main(_streamlit_arguments(port), prog_name="streamlit", standalone_mode=False)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="workbench explore", description="Open the explorer.")
    parser.add_argument("--run", default="runs", metavar="RUN", help="a run, or a folder of runs (default: runs)")
    parser.add_argument("--port", type=int, help=f"default: the first free one from {FIRST_PORT} on")
    return parser.parse_args(arguments)


def _where(path: Path) -> tuple[Path, str]:
    """The folder of runs to show, and the run to begin with."""
    path = path.absolute()
    if is_run(path):
        return path.parent, Run.open(path).path.name
    if path.is_dir():
        return path, ""
    raise ArtifactError(f"there is no run at {path}: `workbench demo` makes a first one.")


def _port(wanted: int | None) -> int:
    """The port asked for, or the first free one. Raises `ValueError` if there is none."""
    if wanted is not None and not 1 <= wanted <= 65535:
        raise ValueError(f"{wanted} is not a port: choose one from 1024 to 65535.")
    for port in [wanted] if wanted else range(FIRST_PORT, LAST_PORT + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    taken = f"port {wanted} is" if wanted else f"all ports from {FIRST_PORT} to {LAST_PORT} are"
    raise ValueError(f"{taken} taken: choose a free one with --port.")


def _streamlit_arguments(port: int) -> list[str]:
    options = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",  # it imports every module of torch to look for changes
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        # It complains where a choice that another run left is set back to the default.
        "global.disableWidgetStateDuplicationWarning": "true",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
        "theme.base": HERE / "theme.toml",
    }
    return ["run", str(HERE / "explorer.py"), *(f"--{name}={value}" for name, value in options.items())]


def _announce(address: str) -> None:
    """Say where the explorer is once it answers."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                print(f"\n  The explorer is at {address}  (Ctrl-C stops it)\n", flush=True)
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
