"""Filling a store with one process and with two, each of one thread, under `torchrun`. No bar: it is a report.

The demo's subject over 2,048 sequences of 128 tokens, 16 shards.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bars import row
from benchmarks.store_worker import write_tokens


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`."""
    n_seq, rounds = (512, 1) if quick else (2048, 3)
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder), n_seq)
        for i in range(rounds):
            for n, found in rates.items():
                found.append(_rate(n, "harvest", "demo", folder, str(n_seq), str(Path(folder, f"{i}-{n}"))))
    rate = {n: statistics.median(found) for n, found in rates.items()}
    names = {1: "store: harvest by one process of one thread", 2: "store: harvest by two processes of one thread each"}
    return [row(name, rate[n], "tokens/s", rate[n] / rate[1]) for n, name in names.items()]


def _rate(n: int, *args: str) -> float:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    done = subprocess.run(
        [*torchrun, "-m", "benchmarks.store_worker", *args],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    said = json.loads(done.stdout.splitlines()[-1])
    return said["rows"] / said["seconds"]
