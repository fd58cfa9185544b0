"""A small subject with its recording, in the place of the Python-source transformer, and what it stands in."""

import pyarrow as pa
import torch

from models import Dataset, Transformer, TransformerConfig
from models.train_config import TrainConfig
from models.training import train
from workbench.activations import harvest
from workbench.reproductions import Bench
from workbench.reproductions.python_source import HOOK, RECORDING, PythonSource
from workbench.runs import Run

N_CTX, D_VOCAB, D_MLP = 16, 30, 16


def small_text(n_seq: int = 160) -> Dataset:
    """Random tokens in documents of five sequences, every fourth of them held out; token 29 never occurs."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, D_VOCAB - 1, (n_seq, N_CTX), generator=generator)
    tokens[:, 0] = 0
    docs = torch.arange(n_seq) // 5
    names = [f"doc {i}" for i in range(int(docs.max()) + 1)]
    splits = ["train" if i % 4 else "test" for i in range(len(names))]
    flat = tokens.flatten().numpy()
    labels = pa.table(
        {"is_large": pa.array(flat > 20, mask=flat == 0), "is_fifth": pa.array(flat % 5 == 1, mask=flat == 0)}
    )
    return Dataset(
        tokens, torch.ones_like(tokens, dtype=torch.bool), docs, labels, pa.table({"name": names, "split": splits})
    )


def small_bench(path) -> Bench:
    """A bench under a root of its own."""
    return Bench(Run.create(path / "reproductions/result/quick").path, full=False, tell=lambda text: None)


def small_source(path) -> PythonSource:
    """The subject, untrained, and its recording, in a run beside the benches of that root."""
    run = Run.create(path / "reproductions/python-source")
    dataset = small_text()
    dataset.save(run.path)
    cfg = TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=D_MLP, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=0)
    train(Transformer(cfg), dataset, TrainConfig(n_steps=1), run=run.path)
    run = run.refresh()
    store = harvest(run.model(), dataset, [HOOK], run.path_of("activations", RECORDING))
    return PythonSource(run.refresh(), store)
