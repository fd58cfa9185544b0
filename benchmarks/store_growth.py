"""How memory and time grow with the tokens, of a harvest and of an epoch of shuffled batches.

Bars: the anonymous resident memory's slope is below 1 MB per million tokens from 1M to 20M, and the slope of seconds
against tokens, both as logarithms, at most 1.05 from 10⁵ to 10⁷. A small subject (one layer, d 32), float16; each
work in a fresh process of one thread, whose memory is watched from outside from when its dataset or store is open.
The smallest store is larger than the memory the reader is given there, so that none is read at once.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bars import row
from benchmarks.store_worker import N_CTX, write_tokens
from workbench.activations.batches import MEMORY

# By whether it is the quick run.
MEMORY_SIZES = {
    False: (1_000_000, 5_000_000, 10_000_000, 20_000_000),
    True: (500_000, 1_000_000, 2_000_000, 4_000_000),
}
TIME_SIZES = {False: (100_000, 1_000_000, 10_000_000), True: (10_000, 100_000, 1_000_000)}
LITTLE_MEMORY = 8 * 2**20
WATCHED_EVERY_S = 0.005


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`."""
    rounds = 1 if quick else 3
    memory_sizes, time_sizes = MEMORY_SIZES[quick], TIME_SIZES[quick]
    memory: dict[tuple[str, int], list[float]] = defaultdict(list)
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokens(folder, -(-max(memory_sizes) // N_CTX))
        for _ in range(rounds):
            for size in sorted({*memory_sizes, *time_sizes}):
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    store = str(Path(out, "store"))
                    harvested = watched("harvest", "small", str(folder), str(-(-size // N_CTX)), store)
                    read = watched("read", store, str(LITTLE_MEMORY))
                    memory["harvest", size].append(harvested["peak_mb"])
                    memory["an epoch of batches", size].append(read["peak_mb"])
                    if size in time_sizes:
                        seconds["harvest", size].append(harvested["seconds"])
                        again = watched("read", store, str(MEMORY))
                        seconds["an epoch of batches", size].append(again["seconds"])
    rows = []
    for work in ("harvest", "an epoch of batches"):
        peaks = [statistics.median(memory[work, size]) for size in memory_sizes]
        times = [statistics.median(seconds[work, size]) for size in time_sizes]
        for size, peak in zip(memory_sizes, peaks, strict=True):
            rows.append(row(f"store: {work}, {size:,} tokens, peak memory", peak, "MB"))
        slope = _slope(np.array(memory_sizes) / 1e6, np.array(peaks))
        rows.append(row(f"store: {work}, memory against tokens", slope, "MB/M tokens", bar=1.0, at_most=True))
        for size, taken in zip(time_sizes, times, strict=True):
            rows.append(row(f"store: {work}, {size:,} tokens", size / taken, "tokens/s"))
        slope = _slope(np.log(time_sizes), np.log(times))
        rows.append(row(f"store: {work}, log seconds against log tokens", slope, "", bar=1.05, at_most=True))
    return rows


def watched(*args: str) -> dict[str, float]:
    """What `store_worker` says of its work, and the most anonymous memory it had while at it."""
    command = [sys.executable, "-m", "benchmarks.store_worker", *args]
    env = os.environ | {"THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{' '.join(args)} failed")
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _anonymous_mb(process.pid))
            time.sleep(WATCHED_EVERY_S)
        said = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(args)} failed")
    return json.loads(said.splitlines()[-1]) | {"peak_mb": peak}


def _anonymous_mb(pid: int) -> float:
    """Anonymous resident memory of a process; 0 of one that is ending."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0])
