"""`make bench`: every benchmark in turn, one table at the end.

    python -m benchmarks [--quick] [NAME ...]

A benchmark is a module with `main(quick=False)` that returns rows: name, value, unit, ratio, bar, passed.
"""

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path

import torch

from workbench.cli.console import table

BENCHMARKS = (
    "startup",
    "training",
    "recurrent",
    "generation",
    "store",
    "sae",
    "sae_exchange",
    "probes",
    "population",
    "interventions",
    "demo",
    "explorer",
)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the named benchmarks (all of them where none is named); 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    torch.set_num_threads(2)
    RESULTS.mkdir(exist_ok=True)
    rows = []
    for name in args.names or BENCHMARKS:
        print(f"── {name}", flush=True)
        try:
            found = importlib.import_module(f"benchmarks.{name}").main(quick=args.quick)
        except Exception as error:  # the others' figures are not lost by it, and the table says so
            traceback.print_exc()
            found = [
                {"name": f"{name}: {error}", "value": None, "unit": "", "ratio": None, "bar": None, "passed": False}
            ]
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2))
        rows += found
    print()
    print(table(["what", "value", "unit", "ratio", "bar", "passed"], [_cells(row) for row in rows]))
    return 0 if all(row["passed"] is not False for row in rows) else 1


def _cells(row: dict) -> list:
    passed = {True: "yes", False: "NO", None: ""}[row["passed"]]
    return [row["name"], row["value"], row["unit"], row["ratio"], row["bar"] or "", passed]


if __name__ == "__main__":
    sys.exit(main())
