"""`workbench reproduce`: published results re-made here, printed as published | ours | bar."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from workbench.cli.console import finish, say, table

ROOT = Path("runs/reproductions")
COLUMNS = ("result", "published", "ours", "bar", "met")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    from workbench.reproductions import NAMES

    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}, or all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="one seed, at most five minutes each (the default)")
    size.add_argument("--full", action="store_true", help="several seeds at the published size; bars are judged here")
    parser.add_argument("--markdown", action="store_true", help="print the tables as docs/reproductions.md has them")
    parser.add_argument(
        "--root", type=Path, default=ROOT, metavar="PATH", help=f"where runs are kept (default: {ROOT})"
    )


def run(args: argparse.Namespace) -> None:
    """What `workbench reproduce` does and prints."""
    from workbench.reproductions import NAMES

    if unknown := [name for name in args.names if name not in (*NAMES, "all")]:
        raise ValueError(f"no reproduction is called {unknown[0]!r}: there are {', '.join(NAMES)}, and all.")
    if not args.names:
        raise ValueError(f"name a result: there are {', '.join(NAMES)}, and all.")

    from workbench.reproductions import reproduce

    names = NAMES if "all" in args.names else args.names
    results = {}
    for name in names:
        say(args, f"\n── {name}")
        start = time.perf_counter()
        rows = reproduce(name, args.root, full=args.full, tell=lambda text: say(args, f"    {text}"))
        results[name] = {"rows": [asdict(row) for row in rows], "seconds": time.perf_counter() - start}
        cells = [[row.result, row.published, row.ours, row.bar, _judged(row.passed)] for row in rows]
        say(args, _markdown(cells) if args.markdown else table(COLUMNS, cells))
        say(args, f"{results[name]['seconds']:.0f} s; the runs are in {args.root / name}")
    if not args.full:
        say(args, "\nThese are quick versions, of one seed: bars are judged on --full.")
    finish(args, results)


def _markdown(cells: list[list[str]]) -> str:
    lines = [[*COLUMNS], ["---"] * len(COLUMNS), *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _judged(passed: bool | None) -> str:
    return {True: "yes", False: "NO", None: ""}[passed]
