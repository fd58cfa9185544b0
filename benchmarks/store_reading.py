"""Shuffled batches of a store, beside what takes them and beside the readers of two other libraries.

Bars: 10 × the rate at which this workbench's SAE trainer takes rows (the fastest we know of), 5 × SAELens's activation
store, 5 × dictionary_learning's buffer; each serves batches of 4,096 of the same million rows of d 512, float16 on
disk, float32 as given, from a warm page cache, in a process of its own with nothing else running. How each is set up,
`store_reading_worker` says.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.bars import row
from benchmarks.peers import dictionary_learning_python, saelens_python
from benchmarks.sae import demo_speed
from benchmarks.store_reading_worker import BATCH, HOOK, N_CTX
from models import Dataset, Transformer, TransformerConfig
from workbench.activations import harvest

PEERS = {"saelens": "SAELens 6.54", "dictionary_learning": "dictionary_learning 0.1"}
BAR_TRAINER, BAR_PEERS = 10.0, 5.0


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`."""
    n_seq, steps, rounds = (2048, 25, 1) if quick else (8192, 75, 3)
    n_batches = n_seq * N_CTX // BATCH
    pythons = {
        "ours": Path(sys.executable),
        "saelens": saelens_python(),
        "dictionary_learning": dictionary_learning_python(),
    }
    served: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    trained: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        _record(store, n_seq)
        for _ in range(rounds):
            for name, python in pythons.items():
                served[name].append(_worker(python, "store_reading_worker.py", name, store, n_batches))
            trained.append(demo_speed(steps))
    first = statistics.median(found["first"] for found in served["ours"])
    steady = {name: statistics.median(found["steady"] for found in all_) for name, all_ in served.items()}
    trainer = statistics.median(trained)
    ours = steady["ours"]
    return [
        row("store: shuffled batches, first epoch", first, "rows/s"),
        row("store: shuffled batches", ours, "rows/s"),
        row("store: what the SAE trainer takes", trainer, "rows/s", ours / trainer, BAR_TRAINER),
        *(
            row(f"store: {title}, the same rows", steady[name], "rows/s", ours / steady[name], BAR_PEERS)
            for name, title in PEERS.items()
        ),
    ]


def _record(store: Path, n_seq: int) -> None:
    """Rows of the demo's subject, d 512, float16."""
    cfg = TransformerConfig(n_layers=1, d_model=128, n_heads=4, d_mlp=512, n_ctx=128, d_vocab=2048)
    tokens = torch.randint(1, 2048, (n_seq, 128), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    harvest(Transformer(cfg).eval(), Dataset(tokens), [HOOK], store, dtype="float16")


def _worker(python: Path, file: str, *args: object) -> dict[str, float]:
    # -P: this folder's own modules must not stand in for the library's.
    command = [python, "-P", Path(__file__).with_name(file), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{file} {args[0]} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
