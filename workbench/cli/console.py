"""What verbs share: their usual options, and how they print."""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RUNS = Path("runs")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The option that says which run a verb works on."""
    parser.add_argument(
        "--run", default="demo", metavar="RUN", help="a run's folder, or its name in runs/ (default: demo)"
    )


def run_path(name: str) -> Path:
    """The folder of a run named on the command line: a bare name lies in `runs/`."""
    path = Path(name)
    return path if path.exists() or path.name != name else RUNS / name


def number(text: str) -> int:
    """How many: 2000000, 2M, 20k or 2e6."""
    unit = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        value = float(text.rstrip("kM").replace(",", "").replace("_", "")) * unit
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number such as 2000000, 2M or 20k")
    return int(value)


def say(args: argparse.Namespace, text: str = "") -> None:
    """A line for a person; scripts, which asked for JSON, do not get it. Of several processes one speaks."""
    if not args.json and _is_first():
        print(text, flush=True)


def begin() -> None:
    """What stands on a screen while the run, the subject and what reads it are loaded, which has no bar."""
    if sys.stderr.isatty():
        print("loading; each part of the work then shows how long it still takes", file=sys.stderr, flush=True)


def finish(args: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """The result for scripts, if they asked."""
    if args.json and _is_first():
        json.dump(result, sys.stdout, indent=2, default=str, allow_nan=False)
        print(flush=True)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"  # as `torchrun` says it; `models.ranks` would load torch


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A short table: numbers to the right, words to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    right = [all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) for i in range(len(columns))]

    def line(words: Sequence[str]) -> str:
        padded = [w.rjust(n) if r else w.ljust(n) for w, n, r in zip(words, widths, right, strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["─" * n for n in widths]), *map(line, cells)])


def size(n_bytes: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if n_bytes >= 10 or unit == "B" else f"{n_bytes:.1f} {unit}"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)
