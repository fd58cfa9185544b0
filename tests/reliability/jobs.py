"""The jobs that the reliability tests start, kill and start again, each in processes of its own.

python -m reliability.jobs JOB FOLDER [--die-after N]
"""

import argparse
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from models import Dataset, Transformer, TransformerConfig, ranks
from workbench.activations import ActivationStore, harvest, shard_files
from workbench.sae import SAEConfig, SAETrainConfig, train_sae

HOOKS = ["blocks.0.mlp.hook_post", "blocks.1.hook_resid_pre"]
N_CTX, D_VOCAB = 16, 50


def subject() -> Transformer:
    """Two small layers."""
    return Transformer(
        TransformerConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=0)
    ).eval()


def data(n_seq: int = 240) -> Dataset:
    """Sequences of many lengths, three a document, every fourth document held out, each token its own label."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, D_VOCAB, (n_seq, N_CTX), generator=generator)
    tokens[:, 0] = 0
    mask = torch.arange(N_CTX) < torch.randint(4, N_CTX + 1, (n_seq, 1), generator=generator)
    tokens[~mask] = 0
    docs = torch.arange(n_seq) // 3
    names = [f"doc {i}" for i in range(int(docs.max()) + 1)]
    table = pa.table({"name": names, "split": ["test" if i % 4 == 0 else "train" for i in range(len(names))]})
    return Dataset(tokens, mask, docs, pa.table({"id": pa.array(tokens[mask].numpy().astype(np.int16))}), table)


def record(folder: Path) -> ActivationStore:
    """A recording of some thirty shards."""
    return harvest(subject(), data(), HOOKS, folder / "activations" / "a", batch_size=4, shard_rows=80)


def dictionary(folder: Path) -> None:
    """An SAE of the recording."""
    store = ActivationStore.open(folder / "activations" / "a")
    cfg = SAEConfig(architecture="topk", d_in=store.width(HOOKS[0]), d_sae=128, k=4, hook_name=HOOKS[0])
    train_cfg = SAETrainConfig(n_tokens=20_000, batch_size=256)
    train_sae(cfg, store.batches(HOOKS[0], 256, split="train"), train_cfg, out=folder / "sae")


def die_after(n_shards: int) -> None:
    """The second process kills itself when it has written so many shards, as a machine does that loses power."""
    write, written = shard_files.write_shard, []

    def deadly(*shard: object) -> None:
        if ranks.rank() == 1 and len(written) == n_shards:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*shard)  # type: ignore[arg-type]
        written.append(shard)

    shard_files.write_shard = deadly  # type: ignore[assignment]


JOBS = {"record": record, "dictionary": dictionary}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-after", type=int)
    args = parser.parse_args()
    if args.die_after is not None:
        die_after(args.die_after)
    JOBS[args.job](args.folder)
    ranks.leave()
