"""The activation store: how fast it is filled and read, how much memory that takes, and how both grow.

    python -m benchmarks.store [--quick] [PART ...]

Four parts, each a module of its own: filling (`store_filling`), reading beside the readers of SAELens and
dictionary_learning (`store_reading`), growth of memory and time with the tokens (`store_growth`), and filling by two
processes (`store_ranks`).
"""

import argparse
import importlib
from typing import Any

from benchmarks.bars import show

PARTS = ("filling", "reading", "growth", "ranks")


def main(quick: bool = False, parts: tuple[str, ...] = PARTS) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rows: list[dict[str, Any]] = []
    for part in parts:
        found = importlib.import_module(f"benchmarks.store_{part}").main(quick=quick)
        show(found)
        rows += found
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=PARTS, help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    main(args.quick, tuple(args.parts))
