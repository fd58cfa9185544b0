"""One harvest, or one epoch of shuffled batches, in a process of its own.

    python -m benchmarks.store_worker harvest  SUBJECT FOLDER N_SEQ OUT
    python -m benchmarks.store_worker read     STORE MEMORY

Prints `ready` when all is loaded, and then one line of JSON with the seconds it took and the rows there were.
The tokens lie in files that are mapped, so that the dataset itself takes no memory of the process's own.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from models import Dataset, Transformer, TransformerConfig
from models.ranks import is_first, leave
from workbench.activations import ActivationStore, harvest

N_CTX = 128
TOKENS_PER_DOC = 10_000
# By name: the subject, a hook, rows a shard.
SUBJECTS = {
    "small": (
        TransformerConfig(n_layers=1, d_model=32, n_heads=1, d_mlp=32, n_ctx=N_CTX, d_vocab=256),
        "blocks.0.hook_resid_post",
        65_536,
    ),
    "demo": (
        TransformerConfig(n_layers=2, d_model=128, n_heads=4, d_mlp=512, n_ctx=N_CTX, d_vocab=2048),
        "blocks.1.mlp.hook_post",
        16_384,
    ),
}


def write_tokens(folder: Path, n_seq: int) -> None:
    """The files of a dataset: random tokens behind BOS, and which document each sequence is of."""
    rng = np.random.default_rng(0)
    with (folder / "tokens").open("wb") as tokens:
        for start in range(0, n_seq, 4096):
            block = rng.integers(1, 256, (min(4096, n_seq - start), N_CTX))
            block[:, 0] = 0
            block.tofile(tokens)
    (np.arange(n_seq) * N_CTX // TOKENS_PER_DOC).tofile(folder / "docs")
    np.ones((n_seq, N_CTX), bool).tofile(folder / "mask")


def map_dataset(folder: Path, n_seq: int) -> Dataset:
    """The first sequences of those files."""

    def mapped(name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_file(str(folder / name), shared=True, size=size, dtype=dtype)

    n_docs = n_seq * N_CTX // TOKENS_PER_DOC + 1
    return Dataset(
        tokens=mapped("tokens", n_seq * N_CTX, torch.int64).view(n_seq, N_CTX),
        mask=mapped("mask", n_seq * N_CTX, torch.bool).view(n_seq, N_CTX),
        docs=mapped("docs", n_seq, torch.int64),
        doc_table=pa.table({"name": [str(i) for i in range(n_docs)], "split": ["train"] * n_docs}),
    )


def _harvest(subject: str, folder: str, n_seq: str, out: str) -> int:
    cfg, hook, shard_rows = SUBJECTS[subject]
    model = Transformer(cfg).eval()
    data = map_dataset(Path(folder), int(n_seq))
    _ready()
    return len(harvest(model, data, [hook], out, dtype="float16", shard_rows=shard_rows))


def _read(path: str, memory: str) -> int:
    store = ActivationStore.open(path)
    _ready()
    return sum(len(batch) for batch in store.batches(store.hooks[0], 4096, epochs=1, memory=int(memory)))


def _ready() -> None:
    global _start
    _start = time.perf_counter()
    print("ready", flush=True)


_start = 0.0


def main() -> None:
    """Do it and report."""
    work, *args = sys.argv[1:]
    torch.set_num_threads(int(os.environ["THREADS"]))
    rows = {"harvest": _harvest, "read": _read}[work](*args)
    seconds = time.perf_counter() - _start
    if is_first():
        print(json.dumps({"rows": rows, "seconds": seconds}), flush=True)
    leave()


if __name__ == "__main__":
    main()
