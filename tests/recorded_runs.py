"""A run that is made in a second: a subject as it was initialised, and what it holds at three hooks."""

from pathlib import Path

from reliability.jobs import D_VOCAB, HOOKS, N_CTX, data

from models import Transformer, TransformerConfig
from models.saving import save_model
from workbench.cli.harvest import make_recording
from workbench.runs import Run

MLP, RESID = HOOKS
UP = "blocks.0.hook_resid_post"  # one tensor with RESID


def make_run(path: Path, seed: int, n_seq: int = 240, seed_of_sample: int = 0) -> Path:
    """The run, with a recording called `all`; every run of `n_seq` sequences has the same data."""
    run = Run.create(path)
    data(n_seq).save(run.path)
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=seed)
    save_model(Transformer(cfg).eval(), run.path, run.refresh().inputs(run.refresh().find("dataset")))
    make_recording(run.refresh(), [MLP, RESID, UP], "all", n_tokens=2000, seed=seed_of_sample, device="cpu")
    return path
