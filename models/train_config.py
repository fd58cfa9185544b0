"""How a subject is trained."""

import math
from dataclasses import dataclass

from models.checked_input import whole_number

SCHEDULES = ("cosine", "constant")
DECAYED = ("matrices", "all")


@dataclass(frozen=True)
class TrainConfig:
    """How a subject is trained.

    Attributes:
        n_steps: optimiser steps; 0 for a subject that has nothing to learn, which is then measured only.
        batch_size: sequences a step.
        lr: peak learning rate of AdamW.
        schedule: after the warm-up: `cosine`, a decay to a tenth, or `constant`.
        warmup_steps: steps of linear warm-up.
        weight_decay: AdamW's.
        decayed: what it acts on: `matrices`, never biases and gains, or `all`.
        betas: AdamW's.
        max_grad_norm: gradients are scaled down to this norm; None leaves them.
        log_every: steps a line of `metrics.jsonl` stands for.
        eval_every: steps between measurements of the held-out loss.
        n_eval: held-out sequences measured each time (all of them at the end).
        checkpoint_every: steps between weights that are kept, besides the first, the last and powers of two.
        fresh: draw every batch anew from the task, instead of going through the dataset again and again; what is held
            out is left away.
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
    schedule: str = "cosine"
    decayed: str = "matrices"
    checkpoint_every: int | None = None
    fresh: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "log_every", "eval_every", "n_eval", "checkpoint_every"):
            value = getattr(self, name)
            least = 0 if name == "n_steps" else 1
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(f"{name} is {value}: it must be a whole number of at least {least}.")
        whole_number(self.seed, "seed")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is {self.lr}: it must be above zero.")
        for name, known in (("schedule", SCHEDULES), ("decayed", DECAYED)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown: there are {' and '.join(known)}.")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.lr
        done = (step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)
        return self.lr * (0.55 + 0.45 * math.cos(math.pi * done))
