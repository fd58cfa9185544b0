"""Speed of training a TopK SAE at the demo's shape, beside SAELens on the same rows.

Each library trains in a process of its own, in turn, with the same rows, steps, batch size and learning rates; the
figures are medians over the rounds. What the finished SAEs explain of held-out rows stands beside their speed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import saelens_python

D_IN, D_SAE, K = 512, 2048, 12
# Two million rows within a minute.
BAR_TOKENS_PER_S = 2_000_000 / 60
BAR_RATIO = 3.0


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    steps, rounds = (25, 1) if quick else (75, 3)
    pythons = {"ours": Path(sys.executable), "saelens": saelens_python()}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            results[name].append(_train(python, name, steps))
    speed = {name: statistics.median(r["tokens_per_s"] for r in found) for name, found in results.items()}
    explained = {name: found[-1]["explained_variance"] for name, found in results.items()}
    print(f"TopK {D_IN} → {D_SAE}, k {K}, {steps} steps of 4096")
    for name in pythons:
        print(f"  {name:<10}{speed[name]:>10,.0f} tokens/s   explained variance {explained[name]:.4f}")
    ratio = speed["ours"] / speed["saelens"]
    return [
        {
            "name": "sae: training a TopK SAE",
            "value": speed["ours"],
            "unit": "tokens/s",
            "ratio": speed["ours"] / BAR_TOKENS_PER_S,
            "bar": 1.0,
            "passed": speed["ours"] >= BAR_TOKENS_PER_S,
        },
        {
            "name": "sae: SAELens 6.54 on the same rows",
            "value": speed["saelens"],
            "unit": "tokens/s",
            "ratio": ratio,
            "bar": BAR_RATIO,
            "passed": ratio >= BAR_RATIO,
        },
        {
            "name": "sae: explained variance, ours − SAELens",
            "value": explained["ours"] - explained["saelens"],
            "unit": "",
            "ratio": None,
            "bar": -0.005,
            "passed": explained["ours"] - explained["saelens"] >= -0.005,
        },
    ]


def _train(python: Path, library: str, steps: int) -> dict[str, float]:
    worker = Path(__file__).with_name("sae_worker.py")
    # -P: this folder's own modules must not stand in for the library's.
    command = [python, "-P", worker, library, *map(str, (steps, D_IN, D_SAE, K))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
