"""One SAE on its way from a first sample to its finished weights, a step at a time."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import ranks
from models.artifacts import write_json
from models.metrics_log import MetricsLog
from workbench.sae.base import SAE, TrainingLoss, TrainingStep, build_sae
from workbench.sae.checkpoint import CHECKPOINT, TrainingState, read_checkpoint, write_checkpoint
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.initialise import measure_rows
from workbench.sae.resampling import is_due, resample
from workbench.sae.saving import save_sae
from workbench.sae.sparsity import coefficient_at, first_coefficient, steered
from workbench.sae.stream import Named, Position, rows_of

LOG = "metrics.jsonl"
REPORT = "training.json"


class Trainer:
    """Weights, optimiser, state and log of one training.

    Attributes:
        sae: what is trained; on scaled rows until `finish`.
        state: None until `begin`, but for a training that goes on from its checkpoint.
    """

    def __init__(
        self,
        cfg: SAEConfig,
        train_cfg: SAETrainConfig,
        folder: Path | None,
        device: torch.device,
        on_log: Callable[[dict[str, float]], None] | None,
        **settings: Any,
    ) -> None:
        self.cfg, self.train_cfg, self.folder = cfg, train_cfg, folder
        self.settings = settings_of(cfg, train_cfg, **settings)
        self.sae = build_sae(cfg).to(device)
        self.optimiser = torch.optim.Adam(self.sae.parameter_groups(), lr=train_cfg.lr, fused=True)
        self.state = read_checkpoint(folder, self.sae, self.optimiser, self.settings) if folder is not None else None
        self.revive = train_cfg.revive or self.sae.revival
        self.log = _Log(folder / LOG if folder is not None and ranks.is_first() else None, on_log)
        self._room: dict[str, Tensor] = {}

    @property
    def position(self) -> Position:
        """Where in the source the next step's rows begin."""
        return Position(self.state.batches, self.state.rows) if self.state else Position()

    def begin(self, sample: Named) -> None:
        """Set out: from what the first rows are like, or from the checkpoint."""
        if self.state is None:
            self.state = self._measured(sample)
        self.log.begin(self.state)

    def _measured(self, sample: Named) -> TrainingState:
        read, written = (rows.to(self.sae.W_enc) for rows in rows_of(self.cfg, sample))
        if not read.isfinite().all() or not written.isfinite().all():
            raise ValueError("the first batches hold values that are not finite: training cannot begin.")
        n_layers, scaled = self.cfg.n_layers or 1, self.train_cfg.scale_inputs
        into = measure_rows(read, scaled, n_layers)
        out = into if written is read else measure_rows(written, scaled)
        self.sae.begin(self.train_cfg, read * into.scale, into.centre, out.centre)
        return TrainingState(
            scale_in=into.scale,
            scale_out=out.scale,
            last_fired=torch.zeros(self.cfg.d_sae, dtype=torch.int64, device=read.device),
            variance=out.variance,
            coefficient=first_coefficient(self.sae.sparsity or 0.0, self.train_cfg),
        )

    def step(self, batch: Named, position: Position) -> dict[str, float] | None:
        """Take one step, and return the record of the log where one is due.

        Args:
            batch: this process's rows.
            position: where the next step's begin.

        Raises `ValueError` where rows, loss or dictionary have come to nothing; the weights are then those before.
        """
        sae, state, cfg = self.sae, self.state, self.train_cfg
        assert state is not None
        x, y = self._scaled(batch)
        dead = self._dead()
        share = coefficient_at(state.coefficient, state.tokens, cfg)
        loss = self._loss(x, y, TrainingStep(dead, state.variance, share, cfg))
        if not math.isfinite(loss.total.item()):
            raise ValueError(self._not_finite(x))
        if dead.all():
            coefficient = f"sparsity coefficient than {state.coefficient:g}, or a smaller " if state.coefficient else ""
            raise ValueError(
                f"every latent is dead at step {state.step + 1}: a smaller {coefficient}lr may help.{self._kept()}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        _average_gradients(sae)
        sae.constrain_gradients()
        before, state.tokens = state.tokens, state.tokens + cfg.batch_size
        for group in self.optimiser.param_groups:
            group["lr"] = cfg.lr_at(state.tokens) * group["times"]
        self.optimiser.step()
        sae.constrain_weights()
        state.step += 1
        state.batches, state.rows = position
        fires = ranks.summed(loss.codes.fire_counts(self.cfg.d_sae))
        state.last_fired.masked_fill_(fires > 0, state.tokens)
        l0 = fires.sum() / (len(x) * ranks.world())
        terms = {name: ranks.mean(v) for name, v in ({"squared_error": loss.squared_error} | loss.terms).items()}
        if sae.sparsity is not None:
            state.coefficient = steered(state.coefficient, l0.item(), cfg)
            terms["sparsity"] = torch.tensor(state.coefficient)
        if self.revive == "resample" and is_due(before, state.tokens, cfg):
            self._resample(x, y)
        self.log.add(terms | {"l0": l0})
        if state.step % cfg.log_every == 0 or state.tokens >= cfg.n_tokens:
            return self.log.write(self._dead().sum().item() / self.cfg.d_sae)
        return None

    def checkpoint(self) -> None:
        """Keep all of this in the folder, where there is one."""
        if self.folder is not None and self.state is not None and ranks.is_first():
            write_checkpoint(self.folder, self.sae, self.optimiser, self.state, self.settings)

    def finish(self) -> SAE:
        """Fold the scales in, write the SAE and its report, and return it without gradients."""
        state = self.state
        assert state is not None
        self.sae.fold_scale(state.scale_in, state.scale_out)
        self.sae.requires_grad_(False).eval()
        if self.folder is not None and ranks.is_first():
            report = self.settings | {"seconds": state.seconds, "tokens": state.tokens, "sparsity": state.coefficient}
            write_json(self.folder / REPORT, report | {"input_scale": state.scale_in.tolist()})
            save_sae(self.sae, self.folder)
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return self.sae

    def _scaled(self, batch: Named) -> tuple[Tensor, Tensor]:
        assert self.state is not None
        read, written = rows_of(self.cfg, batch)
        x = self._in_room("x", read, self.state.scale_in)
        return x, x if written is read else self._in_room("y", written, self.state.scale_out)

    def _loss(self, x: Tensor, y: Tensor, step: TrainingStep) -> TrainingLoss:
        """What is minimised of one batch of scaled rows."""
        return self.sae.training_loss(x, y, step)

    def _in_room(self, name: str, rows: Tensor, scale: Tensor) -> Tensor:
        """Scaled rows; one room for all steps, for fresh memory costs more than the scaling does."""
        room = self._room.get(name)
        if room is None or room.shape != rows.shape:
            room = self._room[name] = torch.empty(rows.shape, dtype=self.cfg.torch_dtype, device=scale.device)
        return room.copy_(rows).mul_(scale)

    def _dead(self) -> Tensor:
        assert self.state is not None
        return self.state.tokens - self.state.last_fired >= self.train_cfg.dead_after_tokens()

    def _resample(self, x: Tensor, y: Tensor) -> None:
        assert self.state is not None
        dead = self._dead()
        # Every process has the same weights, and must have the same new ones: those of the first.
        if ranks.is_first():
            generator = torch.Generator().manual_seed(self.cfg.seed * 1_000_003 + self.state.step)
            resample(self.sae, self.optimiser, self.train_cfg, x, y, dead, generator)
        _same_everywhere(self.sae, self.optimiser)
        self.state.last_fired.masked_fill_(dead, self.state.tokens)

    def _kept(self) -> str:
        return " The last checkpoint is kept." if self.folder and (self.folder / CHECKPOINT).exists() else ""

    def _not_finite(self, x: Tensor) -> str:
        assert self.state is not None
        step = self.state.step + 1
        if not x.isfinite().all():
            return f"the batch of step {step} holds values that are not finite: training stopped there.{self._kept()}"
        return f"the loss is not finite at step {step}: a smaller lr than {self.train_cfg.lr:g} may help.{self._kept()}"


def settings_of(cfg: SAEConfig, train_cfg: SAETrainConfig, **more: Any) -> dict[str, Any]:
    """What a resumed training must share: all but how often it logs and writes checkpoints; `more` of its kind."""
    numeric = {k: v for k, v in asdict(train_cfg).items() if k not in ("log_every", "checkpoint_every_s")}
    return {"sae": cfg.to_dict(), "training": numeric | more}


def _average_gradients(sae: SAE) -> None:
    """Every process has the mean over its share of the rows: the mean of these is that over the batch."""
    for parameter in sae.parameters():
        if parameter.grad is not None:
            ranks.mean(parameter.grad)


def _same_everywhere(sae: SAE, optimiser: torch.optim.Adam) -> None:
    for parameter in sae.parameters():
        for tensor in (parameter.data, *optimiser.state[parameter].values()):
            ranks.from_first(tensor)


@dataclass
class _Log:
    """Means over the steps since the last record, appended to a file as lines of JSON."""

    path: Path | None
    on_log: Callable[[dict[str, float]], None] | None
    _pending: list[dict[str, Tensor]] = field(default_factory=list)

    def begin(self, state: TrainingState) -> None:
        self.state = state
        self._since = time.monotonic()
        self._tokens = state.tokens
        self._log = MetricsLog(self.path, state.step)

    def add(self, terms: dict[str, Tensor]) -> None:
        self._pending.append(terms)

    def write(self, dead_fraction: float) -> dict[str, float]:
        state, now = self.state, time.monotonic()
        names = sorted({name for terms in self._pending for name in terms})
        means = {name: torch.stack([t[name] for t in self._pending if name in t]).mean().item() for name in names}
        error = means.pop("squared_error")
        seconds = now - self._since
        state.seconds += seconds
        # A crosscoder's layers, or a transcoder's output, are in units of their own: only a common scale can be undone.
        in_units = {"mse": error / state.scale_out.item() ** 2} if state.scale_out.ndim == 0 else {}
        record = {
            "step": state.step,
            "tokens": state.tokens,
            "explained_variance": 1 - error / state.variance,
            "dead_fraction": dead_fraction,
            "tokens_per_s": (state.tokens - self._tokens) / seconds,
        }
        record |= in_units | means
        self._pending, self._since, self._tokens = [], now, state.tokens
        self._log.add(record)
        if self.on_log is not None:
            self.on_log(record)
        return record
