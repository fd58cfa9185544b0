"""The jobs that the reliability tests start, kill and start again, each in processes of its own.

python -m reliability.jobs JOB FOLDER [--die-after N]
"""

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from models import Dataset, TrainConfig, Transformer, TransformerConfig, ranks, train
from models.artifacts import publishing, write_json
from workbench.activations import ActivationStore, harvest, shard_files
from workbench.features import build_index
from workbench.sae import SAEConfig, SAETrainConfig, load_sae, train_sae

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


def train_subject(folder: Path) -> Path:
    """A subject of twenty-four steps, which can be taken up at every sixth."""
    cfg = TrainConfig(n_steps=24, batch_size=16, warmup_steps=2, log_every=6, eval_every=6, resume_every_s=0.0)
    train(subject(), data(), cfg, run=folder)
    return folder / "model"


def record(folder: Path) -> Path:
    """A recording of some thirty shards."""
    return harvest(subject(), data(), HOOKS, folder / "activations" / "a", batch_size=4, shard_rows=80).path


def dictionary(folder: Path) -> Path:
    """An SAE of the recording."""
    path = folder / "saes" / "s"
    store = ActivationStore.open(folder / "activations" / "a")
    cfg = SAEConfig(architecture="topk", d_in=store.width(HOOKS[0]), d_sae=128, k=4, hook_name=HOOKS[0])
    train_cfg = SAETrainConfig(n_tokens=20_000, batch_size=256, checkpoint_every_s=0.1)
    with ranks.publishing_together(path, "sae", inputs={"activations/a": store.id}, config=cfg.to_dict()) as draft:
        train_sae(cfg, store.batches(HOOKS[0], 256, split="train"), train_cfg, out=draft.path)
    return path


def index(folder: Path) -> Path:
    """The index of the SAE."""
    store, sae = ActivationStore.open(folder / "activations" / "a"), load_sae(folder / "saes" / "s")
    path = folder / "features" / "f"
    if not path.exists():
        build_index(sae, store, subject(), path, data())
    return path


def publish(folder: Path) -> Path:
    """Twenty versions of one artifact, each in the place of the last."""
    path = folder / "analyses" / "versions"
    for version in range(20):
        with publishing(path, "analysis", config={"version": version}) as draft:
            for name in ("first.json", "second.json"):
                write_json(draft.path / name, version)
    return path


def die_after(n_shards: int) -> None:
    """The second process kills itself when it has written so many shards, as a machine does that loses power."""
    write, written = shard_files.write_shard, []

    def deadly(*shard: object) -> None:
        if ranks.rank() == 1 and len(written) == n_shards:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*shard)  # type: ignore[arg-type]
        written.append(shard)

    shard_files.write_shard = deadly  # type: ignore[assignment]


JOBS: dict[str, Callable[[Path], Path]] = {
    job.__name__: job for job in (train_subject, record, dictionary, index, publish)
}


def run_job(name: str, folder: Path) -> None:
    """A job in a process that was made for it."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    JOBS[name](folder)


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
