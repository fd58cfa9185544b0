"""The one training loop: schedule, checkpoints, exact resume, metrics, progress."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.artifacts import MANIFEST, Draft, Manifest, publishing
from models.baselines import ngram_losses
from models.dataset import Dataset
from models.evaluation import Batch, evaluate
from models.fitness import check_fits, check_learns
from models.hooks import HookedModel
from models.metrics_log import MetricsLog
from models.progress import progress
from models.saving import model_config, write_model
from models.tasks.base import Task, example_keys
from models.tensor_files import save_tensors
from models.train_config import TrainConfig

RESUME = "resume.safetensors"
LOG = "metrics.jsonl"
EVAL_BATCH = 64


def train(
    model: HookedModel,
    dataset: Dataset,
    config: TrainConfig,
    run: str | Path | None = None,
    task: Task | None = None,
) -> pd.DataFrame:
    """Train `model` in place on the dataset's `train` documents and return its metrics.

    Args:
        model: a subject; called as `model(**dataset.batch(…), return_type="loss")`.
        dataset: held-out loss is measured on its `test` documents where it has any.
        config: the schedule.
        run: a run's folder. Its `model/` then holds the weights, the metrics and log-spaced checkpoints, and a
            killed training, called again with the same arguments, goes on from its last checkpoint with the same
            losses as one never interrupted. A model or dataset that is there and is another is replaced.
        task: what the dataset was drawn from: its accuracy is then measured too, and `config.fresh` draws from it.

    Returns:
        One row a line of `metrics.jsonl`: step, tokens, train_loss, heldout_loss, heldout_accuracy, lr, tokens_per_s;
        the row of step 0 holds the n-gram baselines of what is predicted token by token.

    Raises:
        ValueError: the dataset does not fit the model, there is no `train` document, fresh batches have no task, or a
            subject that has nothing to learn is to be trained, or one that has is not.
        FloatingPointError: the loss is no longer a number.
    """
    loop = _Loop(model, dataset, config, task)
    if run is None:
        return loop.run(None)
    path, data = Path(run) / "model", Path(run) / "data"
    saved_here = (data / MANIFEST).exists() and Manifest.read(data).id == dataset.id
    data_id = dataset.id if saved_here and dataset.id else dataset.save(run)
    settings = training_settings(model, config, task)
    with publishing(path, "model", inputs={"data": data_id}, config=settings, seed=config.seed) as draft:
        metrics = loop.run(draft)
        write_model(model, draft.path)
        last = metrics.iloc[-1]
        held_out = [name for name in ("heldout_loss", "heldout_accuracy") if name in last]
        draft.results = {name: None if math.isnan(last[name]) else last[name] for name in held_out}
        draft.scratch = {RESUME}
    model.artifact_id = Manifest.read(path).id
    return metrics


def training_settings(model: HookedModel, config: TrainConfig, task: Task | None = None) -> dict[str, Any]:
    """What a trained subject's manifest says of how it was made."""
    settings = model_config(model) | {"training": asdict(config)}
    return settings if task is None else settings | {"task": task.to_dict()}


class _Loop:
    """One training: what changes from step to step, and how it is put away and taken up again."""

    def __init__(self, model: HookedModel, dataset: Dataset, config: TrainConfig, task: Task | None) -> None:
        self.model, self.config, self.task = model, config, task
        train_rows, test_rows = dataset.sequences("train"), dataset.sequences("test")
        if not len(train_rows):
            raise ValueError("the dataset has no document in the split 'train'.")
        if config.fresh and task is None:
            raise ValueError("fresh batches are drawn from a task: give the task, or leave `fresh` out.")
        check_learns(model, config)
        check_fits(model, dataset)
        self.train_set = dataset.batch(train_rows)
        self.test_set = dataset.batch(test_rows) if len(test_rows) else None
        held_out = self.test_set if config.fresh and self.test_set else None
        self.held_out = frozenset(example_keys(held_out["input"], held_out.get("source"))) if held_out else frozenset()
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
        kept_steps = _kept_steps(config)
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
                    line |= self._heldout(everything=done == config.n_steps)
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
        batch = self._batch(step)
        self._batch_tokens = int(batch["mask"].sum()) if "mask" in batch else batch["input"].shape[:2].numel()
        self.tokens_seen += self._batch_tokens
        loss = self.model(**batch, return_type="loss")
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
        n = len(self.train_set["input"])
        if self.config.fresh and self.task is not None:
            return self.task.batch(self.config.batch_size, self.config.seed, step, without=self.held_out)
        size = min(self.config.batch_size, n)
        if size == n:
            return self.train_set
        epoch, place = divmod(step, n // size)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.config.seed, epoch]).permutation(n)
            self._epoch = epoch
        chosen = torch.from_numpy(self._order[place * size : (place + 1) * size])
        return {name: value[chosen] for name, value in self.train_set.items()}

    def _step_zero(self) -> dict[str, Any]:
        line = {"step": 0, "tokens": 0} | self._heldout(everything=self.config.n_steps == 0)
        if self.test_set and self.train_set.keys() == {"input", "mask"} and not self.task:
            train_set, test_set = ((part["input"], part["mask"]) for part in (self.train_set, self.test_set))
            line |= ngram_losses(train_set, test_set, self.model.cfg.d_vocab)
        return line

    def _heldout(self, *, everything: bool) -> dict[str, float]:
        if self.test_set is None:
            return {"heldout_loss": math.nan}
        n = len(self.test_set["input"])
        # Evenly spread over the documents, and the same sequences each time.
        chosen = torch.arange(n) if everything else torch.arange(0, n, max(1, n // self.config.n_eval))
        batch = {name: value[chosen] for name, value in self.test_set.items()}
        found = evaluate(self.model, batch, right=self.task.right if self.task else None, batch_size=EVAL_BATCH)
        return {f"heldout_{name}": value for name, value in found.items()}

    def _checkpoint(self, draft: Draft | None, step: int) -> None:
        if draft is None:
            return
        folder = draft.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        save_tensors(self.model.state_dict(), folder / f"step-{step}.safetensors")

    def _save(self, draft: Draft, step: int) -> None:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{i}.{k}": v for k, v in values.items()}
        state["counters"] = torch.tensor([step, self.tokens_seen])
        save_tensors(state, draft.path / RESUME)

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
    if config.decayed == "all":
        return [{"params": [p for _, p in named], "weight_decay": config.weight_decay}]
    return [
        {"params": [p for _, p in named if is_matrix[id(p)]], "weight_decay": config.weight_decay},
        {"params": [p for _, p in named if not is_matrix[id(p)]], "weight_decay": 0.0},
    ]


def _kept_steps(config: TrainConfig) -> set[int]:
    """1, 2, 4, … and the last step, for early changes are fast and later ones slow; and every so many, if asked."""
    n = config.n_steps
    evenly = range(config.checkpoint_every, n, config.checkpoint_every) if config.checkpoint_every else ()
    return {2**i for i in range(n.bit_length()) if 2**i <= n} | set(evenly) | {n}
