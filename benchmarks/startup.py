"""How long `workbench --help` takes to answer. Bar: under 0.7 s.

python -m benchmarks.startup
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

BAR_S = 0.7


def main(quick: bool = False) -> list[dict]:
    """Rows for the table of `make bench`."""
    jobs = {
        "python that does nothing": [sys.executable, "-c", "pass"],
        "workbench --help": [str(Path(sys.executable).with_name("workbench")), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(3 if quick else 9):
        for name, command in jobs.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, times in seconds.items():
        median, bar = statistics.median(times), name.startswith("workbench")
        rows.append(
            {
                "name": name,
                "value": median,
                "unit": "s",
                "ratio": None,
                "bar": f"< {BAR_S}" if bar else None,
                "passed": median < BAR_S if bar else None,
            }
        )
    return rows


if __name__ == "__main__":
    for row in main():
        print(f"{row['name']:30s} {row['value']:.3f} {row['unit']} {row['bar'] or ''}")
