"""How fast probes are fitted, beside scikit-learn on the same arrays.

    python -m benchmarks probes [--quick]

Logistic probes of many targets that share one X (20,000 × 256, float64 as scikit-learn's users have it), against a loop
over scikit-learn's; each is timed as it comes, and the optima are compared with one that is found to the last digit. A
path of 20 ridge penalties for 1,000 targets against `RidgeCV`, each in a process of its own, whose memory is measured.
"""

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV

from benchmarks.bars import row, show
from probes import LogisticProbe, RidgeProbe

ROWS, COLUMNS = 20_000, 256
FEW, MANY, LOOPED = 32, 1_000, 24
ALPHAS = tuple(np.logspace(-1, 5, 20))
BAR_FEW, BAR_MANY, BAR_COEF, BAR_LOSS, BAR_TIME, BAR_MEMORY = 10.0, 20.0, 1e-3, 1e-6, 1.0, 0.1


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rounds = 1 if quick else 3
    rows = [*_logistic(rounds), *_ridge(quick)]
    show(rows)
    return rows


def data(n_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and scores of targets in them with as much noise again: numbers; above one, labels."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, COLUMNS))
    directions = rng.standard_normal((COLUMNS, n_targets)) / 16
    return x, x @ directions + rng.standard_normal((ROWS, n_targets))


def _logistic(rounds: int) -> list[dict[str, Any]]:
    x, scores = data(MANY)
    labels = (scores > 1).astype(int)
    one = _best(rounds, lambda: [LogisticRegression().fit(x, y) for y in labels.T[:LOOPED]]) / LOOPED
    few = _best(rounds, lambda: LogisticProbe().fit(x, labels[:, :FEW]))
    many = _best(1, lambda: LogisticProbe().fit(x, labels))
    ours = LogisticProbe().fit(x, labels[:, :FEW])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = [LogisticRegression(tol=1e-10, max_iter=5_000, solver="newton-cg").fit(x, y) for y in labels.T[:4]]
    apart = max(float(np.abs(e.coef_[0] - ours.coef_[i]).max()) for i, e in enumerate(exact))
    lost = max(
        _objective(x, labels[:, i], ours.coef_[i], ours.intercept_[i])
        - _objective(x, labels[:, i], e.coef_[0], e.intercept_[0])
        for i, e in enumerate(exact)
    )
    return [
        row("probes: one of scikit-learn's logistic regressions", one * 1e3, "ms"),
        row(f"probes: {FEW} targets, against a loop", few * 1e3, "ms", FEW * one / few, BAR_FEW),
        row(f"probes: {MANY:,} targets, against a loop", many, "s", MANY * one / many, BAR_MANY),
        row("probes: coefficients, distance from the optimum", apart, "", bar=BAR_COEF, at_most=True),
        row("probes: mean loss above the optimum's", lost, "", bar=BAR_LOSS, at_most=True),
    ]


def _objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float) -> float:
    """scikit-learn's, divided by the number of rows."""
    z = x @ w + b
    return float(np.mean(np.logaddexp(0, z) - y * z) + 0.5 * w @ w / len(x))


def _ridge(quick: bool) -> list[dict[str, Any]]:
    n_targets = 200 if quick else MANY
    ours, theirs = (_alone(name, n_targets) for name in ("ours", "theirs"))
    same = float(np.mean(np.isclose(ours["alpha"], theirs["alpha"])))
    what = f"probes: {len(ALPHAS)} ridge penalties × {n_targets:,} targets"
    return [
        row(f"{what}, against RidgeCV", ours["seconds"], "s", theirs["seconds"] / ours["seconds"], BAR_TIME),
        row(f"{what}, memory", ours["mb"], "MB", ours["mb"] / theirs["mb"], BAR_MEMORY, at_most=True),
        row(f"{what}, targets of the same choice", same, "", bar=1.0),
    ]


def _alone(name: str, n_targets: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.probes", "--worker", name, str(n_targets)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _work(name: str, n_targets: int) -> None:
    """In a process of its own: fit once small to have everything loaded, then what is measured."""
    x, y = data(n_targets)
    model = RidgeProbe(ALPHAS) if name == "ours" else RidgeCV(ALPHAS, alpha_per_target=True)
    model.fit(x[:600], y[:600, :2])
    before, seen, done = _resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(_resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    model.fit(x, y)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    json.dump({"seconds": seconds, "mb": max(seen) - before, "alpha": np.asarray(model.alpha_).tolist()}, sys.stdout)


def _resident() -> float:
    """Megabytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _best(rounds: int, work: Callable[[], Any]) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("WHO", "TARGETS"))
    args = parser.parse_args()
    if args.worker:
        _work(args.worker[0], int(args.worker[1]))
    else:
        main(args.quick)
