"""The trainer: any iterable of rows in, a sparse autoencoder out, exactly resumable."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models import ranks
from models.artifacts import write_json
from models.metrics_log import MetricsLog
from models.progress import progress
from workbench.sae.base import SAE, build_sae
from workbench.sae.checkpoint import CHECKPOINT, TrainingState, read_checkpoint, write_checkpoint
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.initialise import SAMPLE_ROWS, measure_inputs
from workbench.sae.saving import CONFIG_FILE, load_sae, save_sae
from workbench.sae.stream import Position, RowStream

LOG = "metrics.jsonl"
REPORT = "training.json"


def train_sae(
    cfg: SAEConfig,
    batches: Iterable[Float[Tensor, "_ d_in"]],
    train_cfg: SAETrainConfig | None = None,
    *,
    out: str | Path | None = None,
    on_log: Callable[[dict[str, float]], None] | None = None,
) -> SAE:
    """Train one sparse autoencoder.

    Args:
        cfg: what to train.
        batches: any iterable of [n, d_in]; the rows are regrouped into `train_cfg.batch_size`. It must yield
            `train_cfg.n_tokens` rows, in the same order again when a killed training is resumed.
        train_cfg: how to train.
        out: a folder that keeps the training: `metrics.jsonl` and, about every ten seconds, a checkpoint; in
            the end the SAE in SAELens's layout and `training.json`. A killed training with the same settings
            goes on from its checkpoint and ends, at the same number of threads, in the same weights bit for
            bit; a finished one is read back. Without it nothing is written.
        on_log: called with every record of the log.

    Returns:
        The SAE of unscaled inputs, in evaluation mode and without gradients.

    Raises:
        ValueError: rows of another width, too few rows, a batch that is not finite (the last good checkpoint
            stays), or a folder that belongs to a training with other settings.
    """
    train_cfg = train_cfg or SAETrainConfig()
    settings = {"sae": cfg.to_dict(), "training": _numeric_settings(train_cfg)}
    folder = Path(out) if out is not None else None
    ranks.join()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG_FILE).exists() and not (folder / CHECKPOINT).exists():
            return _read_finished(folder, settings)
    trainer = _Trainer(cfg, train_cfg, settings, batches, folder, on_log)
    trainer.run()
    sae = trainer.sae
    sae.fold_input_scale(trainer.state.scale)
    sae.requires_grad_(False).eval()
    if folder is not None and ranks.is_first():
        report = settings | {"seconds": trainer.state.seconds, "tokens": trainer.state.tokens}
        write_json(folder / REPORT, report | {"input_scale": trainer.state.scale})
        save_sae(sae, folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    ranks.barrier()
    return sae


class _Trainer:
    """One training from its first or its last checkpointed step to the end."""

    def __init__(
        self,
        cfg: SAEConfig,
        train_cfg: SAETrainConfig,
        settings: dict[str, Any],
        batches: Iterable[Tensor],
        folder: Path | None,
        on_log: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.train_cfg, self.settings, self.folder = train_cfg, settings, folder
        self.sae = build_sae(cfg)
        self.optimiser = torch.optim.Adam(self.sae.parameters(), lr=train_cfg.lr, fused=True)
        state = read_checkpoint(folder, self.sae, self.optimiser, settings) if folder is not None else None
        ranks.barrier()  # all have read it before the first may write another
        position = Position(state.batches, state.rows) if state else Position()
        source, size = _share(batches, train_cfg.batch_size)
        self.stream = RowStream(source, size, cfg.d_in, train_cfg.n_tokens // ranks.world(), position)
        self.scaled = torch.empty(size, cfg.d_in, dtype=cfg.torch_dtype)
        self.ahead: list[tuple[Tensor, Position]] = []
        self.state = state or self._begin(cfg)
        keeps_log = folder is not None and ranks.is_first()
        self.log = _Log(folder / LOG if folder is not None and keeps_log else None, on_log, self.state)

    def _begin(self, cfg: SAEConfig) -> TrainingState:
        """Read a first sample, which is trained on like all that follows, and set out from its centre."""
        self._read_ahead(min(SAMPLE_ROWS, self.train_cfg.n_tokens) // ranks.world())
        sample = ranks.joined(torch.cat([batch for batch, _ in self.ahead]).to(cfg.torch_dtype))
        if not sample.isfinite().all():
            raise ValueError("the first batches hold values that are not finite: training cannot begin.")
        inputs = measure_inputs(sample, self.train_cfg.scale_inputs)
        self.sae.b_dec.data.copy_(inputs.centre)
        return TrainingState(inputs.scale, inputs.variance, torch.zeros(cfg.d_sae, dtype=torch.int64))

    def _read_ahead(self, rows: int) -> None:
        while sum(len(batch) for batch, _ in self.ahead) < rows:
            self.ahead.append((self.stream.next_batch(), self.stream.position))

    def _next_batch(self) -> Tensor:
        if not self.ahead:
            self._read_ahead(1)
        batch, (self.state.batches, self.state.rows) = self.ahead.pop(0)
        return batch

    def run(self) -> None:
        n_tokens, state = self.train_cfg.n_tokens, self.state
        last_checkpoint = time.monotonic()
        shown = ranks.is_first()
        with progress(desc="training SAE", total=n_tokens, unit="tok", initial=state.tokens, shown=shown) as bar:
            while state.tokens < n_tokens:
                before = state.tokens
                self.log.add(self._step(self._next_batch()))
                if state.step % self.train_cfg.log_every == 0 or state.tokens >= n_tokens:
                    record = self.log.write(self._dead().sum().item() / self.sae.cfg.d_sae)
                    bar.set_postfix_str(f"EV {record['explained_variance']:.3f}, dead {record['dead_fraction']:.1%}")
                bar.update(min(state.tokens, n_tokens) - min(before, n_tokens))
                if self.folder and shown and time.monotonic() - last_checkpoint >= self.train_cfg.checkpoint_every_s:
                    write_checkpoint(self.folder, self.sae, self.optimiser, state, self.settings)
                    last_checkpoint = time.monotonic()

    def _step(self, batch: Tensor) -> dict[str, Tensor]:
        """Take one step, and return what is logged of it."""
        sae, state = self.sae, self.state
        # One room for all steps: fresh memory for a batch costs more than scaling it does.
        x = self.scaled.copy_(batch).mul_(state.scale)
        loss = sae.training_loss(x, self._dead(), state.variance, self.train_cfg)
        if not math.isfinite(loss.total.item()):
            raise ValueError(self._not_finite(batch))
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        _average_gradients(sae)
        sae.constrain_gradients()
        n = self.train_cfg.batch_size
        for group in self.optimiser.param_groups:
            group["lr"] = self.train_cfg.lr_at(state.tokens + n)
        self.optimiser.step()
        sae.constrain_weights()
        state.step += 1
        state.tokens += n
        fires = ranks.summed(loss.codes.fire_counts(sae.cfg.d_sae))
        state.last_fired.masked_fill_(fires > 0, state.tokens)
        terms = {"squared_error": loss.squared_error} | loss.terms
        return {name: ranks.mean(value) for name, value in terms.items()} | {"l0": fires.sum() / n}

    def _dead(self) -> Tensor:
        return self.state.tokens - self.state.last_fired >= self.train_cfg.dead_after_tokens()

    def _not_finite(self, batch: Tensor) -> str:
        step = self.state.step + 1
        kept = " The last checkpoint is kept." if self.folder and (self.folder / CHECKPOINT).exists() else ""
        if not batch.isfinite().all():
            return f"the batch of step {step} holds values that are not finite: training stopped there.{kept}"
        return f"the loss is not finite at step {step}: a smaller lr than {self.train_cfg.lr:g} may help.{kept}"


def _share(batches: Iterable[Tensor], batch_size: int) -> tuple[Iterable[Tensor], int]:
    """What this process reads of every batch, and how many rows that is: all of it, where it is alone."""
    if ranks.world() == 1:
        return batches, batch_size
    if not hasattr(batches, "part") or batches.batch_size != batch_size:  # type: ignore[attr-defined]
        raise ValueError(
            "several processes train one SAE from the batches of a store, of the size that is trained on: "
            f"give `store.batches(hook, {batch_size})`."
        )
    if batch_size % ranks.world():
        raise ValueError(f"batch_size is {batch_size}: it must be a multiple of the {ranks.world()} processes.")
    return batches.part(ranks.rank(), ranks.world()), batch_size // ranks.world()


def _average_gradients(sae: SAE) -> None:
    """Every process has the mean over its share of the rows: the mean of these is that over the batch."""
    for parameter in sae.parameters():
        if parameter.grad is not None:
            ranks.mean(parameter.grad)


@dataclass
class _Log:
    """Means over the steps since the last record, appended to a file as lines of JSON."""

    path: Path | None
    on_log: Callable[[dict[str, float]], None] | None
    state: TrainingState
    _pending: list[dict[str, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = time.monotonic()
        self._tokens = self.state.tokens
        self._log = MetricsLog(self.path, self.state.step)

    def add(self, terms: dict[str, Tensor]) -> None:
        self._pending.append(terms)

    def write(self, dead_fraction: float) -> dict[str, float]:
        state, now = self.state, time.monotonic()
        means = {name: torch.stack([t[name] for t in self._pending]).mean().item() for name in self._pending[0]}
        error = means.pop("squared_error")
        seconds = now - self._since
        state.seconds += seconds
        record = {
            "step": state.step,
            "tokens": state.tokens,
            "mse": error / state.scale**2,
            "explained_variance": 1 - error / state.variance,
            "dead_fraction": dead_fraction,
            "tokens_per_s": (state.tokens - self._tokens) / seconds,
        } | means
        self._pending, self._since, self._tokens = [], now, state.tokens
        self._log.add(record)
        if self.on_log is not None:
            self.on_log(record)
        return record


def _numeric_settings(train_cfg: SAETrainConfig) -> dict[str, Any]:
    """What a resumed training must share: all but how often it logs and writes checkpoints."""
    return {k: v for k, v in asdict(train_cfg).items() if k not in ("log_every", "checkpoint_every_s")}


def _read_finished(folder: Path, settings: dict[str, Any]) -> SAE:
    report = folder / REPORT
    found = json.loads(report.read_text("utf8")) if report.exists() else {}
    if any(found.get(name) != json.loads(json.dumps(value)) for name, value in settings.items()):
        raise ValueError(f"{folder} already holds an SAE of other settings: choose another folder.")
    return load_sae(folder)
