"""The one training loop: schedule, checkpoints, exact resume, metrics, progress."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.artifacts import MANIFEST, Draft, Manifest, publishing
from models.baselines import ngram_losses
from models.dataset import Dataset
from models.hooks import HookedModel
from models.metrics_log import MetricsLog
from models.progress import progress
from models.saving import model_config, write_model

RESUME = "resume.safetensors"
LOG = "metrics.jsonl"
Batch = tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]


@dataclass(frozen=True)
class TrainConfig:
    """How a subject is trained.

    Attributes:
        n_steps: optimiser steps.
        batch_size: sequences a step.
        lr: peak learning rate of AdamW; warmed up linearly, then decayed by a cosine to a tenth.
        warmup_steps: steps of linear warm-up.
        weight_decay: on matrices; never on biases and gains.
        betas: AdamW's.
        max_grad_norm: gradients are scaled down to this norm; None leaves them.
        log_every: steps a line of `metrics.jsonl` stands for.
        eval_every: steps between measurements of the held-out loss.
        n_eval: held-out sequences measured each time (all of them at the end).
        resume_every_s: seconds of work that a kill can lose.
        seed: order of the batches.
    """

    n_steps: int
    batch_size: int = 32
    lr: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    max_grad_norm: float | None = 1.0
    log_every: int = 10
    eval_every: int = 100
    n_eval: int = 128
    resume_every_s: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "log_every", "eval_every", "n_eval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1.")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)
        return self.lr * (0.55 + 0.45 * math.cos(math.pi * done))


def train(model: HookedModel, dataset: Dataset, config: TrainConfig, run: str | Path | None = None) -> pd.DataFrame:
    """Train `model` in place on the dataset's `train` documents and return its metrics.

    Args:
        model: a subject; called as `model(tokens, return_type="loss", mask=mask)`.
        dataset: held-out loss is measured on its `test` documents where it has any.
        config: the schedule.
        run: a run's folder. Its `model/` then holds the weights, the metrics and log-spaced checkpoints, and a
            killed training, called again with the same arguments, goes on from its last checkpoint with the same
            losses as one never interrupted. The dataset is saved to `data/` if it has not been.

    Returns:
        One row a line of `metrics.jsonl`: step, tokens, train_loss, heldout_loss, lr, tokens_per_s; the row of
        step 0 holds the n-gram baselines.

    Raises:
        ValueError: the dataset does not fit the model, or there is no `train` document.
        FloatingPointError: the loss is no longer a number.
    """
    loop = _Loop(model, dataset, config)
    if run is None:
        return loop.run(None)
    path, data = Path(run) / "model", Path(run) / "data"
    saved_here = (data / MANIFEST).exists() and Manifest.read(data).id == dataset.id
    data_id = dataset.id if saved_here and dataset.id else dataset.save(run)
    settings = model_config(model) | {"training": asdict(config)}
    with publishing(path, "model", inputs={"data": data_id}, config=settings, seed=config.seed) as draft:
        metrics = loop.run(draft)
        write_model(model, draft.path)
        last = metrics.iloc[-1]
        draft.results = {"heldout_loss": None if math.isnan(last["heldout_loss"]) else last["heldout_loss"]}
        draft.scratch = {RESUME}
    model.artifact_id = Manifest.read(path).id
    return metrics


def heldout_loss(model: HookedModel, batch: Batch, batch_size: int = 64) -> float:
    """Mean cross-entropy, in nats a real token, over sequences the model was not trained on."""
    tokens, mask = batch
    was_training = model.training
    model.eval()
    total = count = 0.0
    with torch.inference_mode():
        for start in range(0, len(tokens), batch_size):
            part, real = tokens[start : start + batch_size], mask[start : start + batch_size]
            n = float(real[:, 1:].sum())
            total += float(model(part, return_type="loss", mask=real)) * n
            count += n
    model.train(was_training)
    return total / count


class _Loop:
    """One training: what changes from step to step, and how it is put away and taken up again."""

    def __init__(self, model: HookedModel, dataset: Dataset, config: TrainConfig) -> None:
        self.model, self.config = model, config
        train_rows, test_rows = dataset.sequences("train"), dataset.sequences("test")
        if not len(train_rows):
            raise ValueError("the dataset has no document in the split 'train'.")
        if dataset.d_vocab > model.cfg.d_vocab:
            raise ValueError(
                f"the data has {dataset.d_vocab} token ids, but the model knows {model.cfg.d_vocab}: "
                f"set d_vocab to at least {dataset.d_vocab}."
            )
        if dataset.tokens.shape[1] > model.cfg.n_ctx:
            raise ValueError(
                f"sequences are {dataset.tokens.shape[1]} tokens long, but the model's context is {model.cfg.n_ctx}."
            )
        self.train_set: Batch = (dataset.tokens[train_rows], dataset.mask[train_rows])
        self.test_set: Batch | None = (dataset.tokens[test_rows], dataset.mask[test_rows]) if len(test_rows) else None
        self.optimizer = torch.optim.AdamW(_decay_groups(model, config), lr=config.lr, betas=config.betas, fused=True)
        self.tokens_seen = self._batch_tokens = 0
        self._epoch = -1

    def run(self, draft: Draft | None) -> pd.DataFrame:
        config, model = self.config, self.model
        first = self._resume(draft) if draft and draft.resumed else 0
        log = MetricsLog(draft.path / LOG if draft else None, first if first else -1)
        if first == 0:
            log.add(self._step_zero())
            self._checkpoint(draft, 0)
        model.train()
        window: list[float] = []
        window_tokens, since, saved = 0, time.perf_counter(), time.perf_counter()
        kept_steps = _log_spaced(config.n_steps)
        bar = progress(desc="training", total=config.n_steps, unit="step", initial=first)
        for step in range(first, config.n_steps):
            window.append(self._step(step))
            window_tokens += self._batch_tokens
            done = step + 1
            if done % config.log_every == 0 or done == config.n_steps:
                line = {
                    "step": done,
                    "tokens": self.tokens_seen,
                    "train_loss": sum(window) / len(window),
                    "lr": config.lr_at(step),
                    "tokens_per_s": window_tokens / (time.perf_counter() - since),
                }
                if done % config.eval_every == 0 or done == config.n_steps:
                    line["heldout_loss"] = self._heldout(everything=done == config.n_steps)
                log.add(line)
                bar.set_postfix(loss=f"{line['train_loss']:.3f}")
                window, window_tokens, since = [], 0, time.perf_counter()
                # Only here, where the log is whole, so that log and weights are always of one step.
                if draft and time.perf_counter() - saved > config.resume_every_s and done < config.n_steps:
                    self._save(draft, done)
                    saved = time.perf_counter()
            if done in kept_steps:
                self._checkpoint(draft, done)
            bar.update()
        bar.close()
        model.eval()
        return pd.DataFrame(log.lines)

    def _step(self, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(step)
        tokens, mask = self._batch(step)
        self._batch_tokens = int(mask.sum())
        self.tokens_seen += self._batch_tokens
        loss = self.model(tokens, return_type="loss", mask=mask)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step + 1}: lower the learning rate.")
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)
        self.optimizer.step()
        return value

    def _batch(self, step: int) -> Batch:
        """The batch of a step depends on the seed and the step alone, so a resumed run sees the same ones."""
        tokens, mask = self.train_set
        n, size = len(tokens), min(self.config.batch_size, len(tokens))
        epoch, place = divmod(step, n // size)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.config.seed, epoch]).permutation(n)
            self._epoch = epoch
        chosen = torch.from_numpy(self._order[place * size : (place + 1) * size])
        return tokens[chosen], mask[chosen]

    def _step_zero(self) -> dict[str, Any]:
        line = {"step": 0, "tokens": 0, "heldout_loss": self._heldout(everything=False)}
        if self.test_set and not self.train_set[0].is_floating_point():
            line |= ngram_losses(self.train_set, self.test_set, self.model.cfg.d_vocab)
        return line

    def _heldout(self, *, everything: bool) -> float:
        if self.test_set is None:
            return math.nan
        n = len(self.test_set[0])
        # Evenly spread over the documents, and the same sequences each time.
        chosen = torch.arange(n) if everything else torch.arange(0, n, max(1, n // self.config.n_eval))
        return heldout_loss(self.model, (self.test_set[0][chosen], self.test_set[1][chosen]))

    def _checkpoint(self, draft: Draft | None, step: int) -> None:
        if draft is None:
            return
        folder = draft.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        weights = {k: v.contiguous() for k, v in self.model.state_dict().items()}
        part = folder / f"step-{step}.part"
        save_file(weights, part)
        part.rename(folder / f"step-{step}.safetensors")

    def _save(self, draft: Draft, step: int) -> None:
        state = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{i}.{k}": v for k, v in values.items()}
        state["counters"] = torch.tensor([step, self.tokens_seen])
        part = draft.path / (RESUME + ".part")
        save_file(state, part)
        part.rename(draft.path / RESUME)

    def _resume(self, draft: Draft) -> int:
        if not (draft.path / RESUME).exists():
            return 0
        state = load_file(draft.path / RESUME)
        step, self.tokens_seen = state.pop("counters").tolist()
        prefix = "model."
        self.model.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, i, name = key.split(".")
                moments.setdefault(int(i), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        return step


def _decay_groups(model: HookedModel, config: TrainConfig) -> list[dict[str, Any]]:
    named = [(name.split(".")[-1], p) for name, p in model.named_parameters() if p.requires_grad]
    # TransformerLens's biases have a head axis, so the number of axes alone does not tell a bias.
    is_matrix = {id(p): p.ndim >= 2 and not name.startswith("b") for name, p in named}
    return [
        {"params": [p for _, p in named if is_matrix[id(p)]], "weight_decay": config.weight_decay},
        {"params": [p for _, p in named if not is_matrix[id(p)]], "weight_decay": 0.0},
    ]


def _log_spaced(n_steps: int) -> set[int]:
    """1, 2, 4, … and the last step: early changes are fast, later ones slow."""
    return {2**i for i in range(n_steps.bit_length()) if 2**i <= n_steps} | {n_steps}
