"""Whether a dataset is one that a subject can be trained on: said in a sentence, before any long work."""

from torch import Tensor

from models.dataset import Dataset
from models.hooks import HookedModel
from models.loss import IGNORED
from models.train_config import TrainConfig


def check_fits(model: HookedModel, dataset: Dataset) -> None:
    """`ValueError` if a dataset has ids, classes, lengths or widths that the model does not know."""
    cfg, inputs = model.cfg, dataset.tokens
    takes_vectors = getattr(cfg, "d_in", None) is not None
    if takes_vectors != inputs.is_floating_point():
        wants, has = ("vectors", "tokens") if takes_vectors else ("tokens", "vectors")
        raise ValueError(f"this model takes {wants}, but the data is of {has}.")
    if takes_vectors and inputs.shape[-1] != cfg.d_in:
        raise ValueError(f"the data has {inputs.shape[-1]} numbers a step, but the model takes {cfg.d_in}.")
    if not takes_vectors and dataset.d_vocab > cfg.d_vocab:
        raise ValueError(
            f"the data has {dataset.d_vocab} token ids, but the model knows {cfg.d_vocab}: "
            f"set d_vocab to at least {dataset.d_vocab}."
        )
    _check_length(cfg, "sequences are", inputs)
    if getattr(model, "answers_once", False) and inputs.shape[1] != cfg.n_ctx:
        raise ValueError(f"sequences are {inputs.shape[1]} tokens long, but the model takes exactly {cfg.n_ctx}.")
    _check_source(cfg, dataset.source)
    if dataset.targets is not None:
        _check_targets(getattr(cfg, "d_out", None) or cfg.d_vocab, dataset.targets)


def check_learns(model: HookedModel, config: TrainConfig) -> None:
    """`ValueError` if a subject whose weights are all fixed is to take steps, or one that learns is to take none."""
    learns = any(weight.requires_grad for weight in model.parameters())
    if config.n_steps and not learns:
        raise ValueError(f"this subject has nothing to learn, but n_steps is {config.n_steps}: it must be 0.")
    if learns and not config.n_steps:
        raise ValueError("n_steps is 0, but this subject has weights to learn: it must be at least 1.")


def _check_length(cfg: object, what: str, tokens: Tensor) -> None:
    n_ctx = getattr(cfg, "n_ctx", None)
    if n_ctx is not None and tokens.shape[1] > n_ctx:
        raise ValueError(f"{what} {tokens.shape[1]} tokens long, but the model's context is {n_ctx}.")


def _check_source(cfg: object, source: Tensor | None) -> None:
    d_vocab_source = getattr(cfg, "d_vocab_source", None)
    if d_vocab_source is None or source is None:
        if d_vocab_source is not source:
            wants, has = ("a", "has none") if source is None else ("no", "has one")
            raise ValueError(f"this model reads {wants} source, but the data {has}.")
        return
    if int(source.max()) >= d_vocab_source:
        raise ValueError(f"the data's source has the id {int(source.max())}, but the model knows {d_vocab_source}.")
    _check_length(cfg, "sources are", source)


def _check_targets(d_out: int, targets: Tensor) -> None:
    if targets.is_floating_point():
        if targets.shape[-1] != d_out:
            raise ValueError(f"targets are of {targets.shape[-1]} numbers, but the model gives {d_out}.")
        return
    low, high = int(targets.min()), int(targets.max())
    if high >= d_out or (low < 0 and low != IGNORED):
        raise ValueError(f"targets run from {low} to {high}, but the model has {d_out} classes, 0 to {d_out - 1}.")
