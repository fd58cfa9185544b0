"""What a sparse autoencoder is (`SAEConfig`) and how one is trained (`SAETrainConfig`)."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from workbench.sae.registry import architecture_class

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class SAEConfig:
    """The shape of a dictionary, and where it reads. Raises `ValueError` where values do not fit together.

    Attributes:
        architecture: the name of an architecture; `topk` keeps the k largest pre-activations of every row.
        d_in: width of the activations that are read.
        d_sae: number of latents.
        k: latents that may be active at once, for the architectures that fix it.
        hook_name: the hook whose activations are read, where there is one.
        model_name: the subject's name, for people and for SAELens.
        dtype: `float32` or `float64`.
        seed: of the first decoder directions.
    """

    d_in: int
    d_sae: int
    k: int | None = None
    architecture: str = "topk"
    hook_name: str = ""
    model_name: str = ""
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("d_in", "d_sae"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"an SAE cannot be of type {self.dtype!r}: choose {' or '.join(DTYPES)}.")
        architecture_class(self.architecture).check_config(self)

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as PyTorch names it."""
        return DTYPES[self.dtype]

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SAETrainConfig:
    """How an SAE is trained. Raises `ValueError` where a value makes no sense.

    Attributes:
        n_tokens: rows to train on; the last batch is whole, so it may be passed by less than one batch.
        batch_size: rows in one step of the optimiser.
        lr: peak learning rate of Adam.
        warm_up: share of `n_tokens` over which the rate climbs from zero.
        decay: share of `n_tokens` at the end over which it falls to zero.
        aux_coefficient: weight of the auxiliary loss that revives dead latents.
        k_aux: dead latents that share the residual of one row; half of `d_in` but at most 512 where None.
        dead_after: rows without firing after which a latent counts as dead while training; a twentieth of
            `n_tokens` but at most ten million where None.
        scale_inputs: train on rows scaled to a mean length of √d_in; the scale is folded into the finished
            weights.
        checkpoint_every_s: seconds between checkpoints.
        log_every: steps between two lines of the log.
    """

    n_tokens: int = 2_000_000
    batch_size: int = 4096
    lr: float = 3e-3
    warm_up: float = 0.05
    decay: float = 0.2
    aux_coefficient: float = 1 / 32
    k_aux: int | None = None
    dead_after: int | None = None
    scale_inputs: bool = True
    checkpoint_every_s: float = 10.0
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in (
            "n_tokens",
            "batch_size",
            "lr",
            "k_aux",
            "dead_after",
            "checkpoint_every_s",
            "log_every",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above zero, not {value}.")
        if self.aux_coefficient < 0:
            raise ValueError(f"aux_coefficient must not be negative, but it is {self.aux_coefficient}.")
        if self.warm_up < 0 or self.decay < 0 or self.warm_up + self.decay > 1:
            raise ValueError(
                f"warm_up {self.warm_up} and decay {self.decay} are shares of one training: "
                "neither may be negative, nor may they add to more than 1."
            )

    def lr_at(self, tokens: int) -> float:
        """The learning rate once `tokens` rows have been seen: a linear climb, a plateau, a linear fall."""
        done = tokens / self.n_tokens
        climb = done / self.warm_up if self.warm_up else 1.0
        fall = (1 - done) / self.decay if self.decay else 1.0
        return self.lr * max(0.0, min(1.0, climb, fall))

    def aux_latents(self, d_in: int) -> int:
        """`k_aux`, or its default for this width."""
        return self.k_aux if self.k_aux is not None else max(1, min(512, d_in // 2))

    def dead_after_tokens(self) -> int:
        """`dead_after`, or its default for this length of training."""
        return self.dead_after if self.dead_after is not None else max(1, min(10_000_000, self.n_tokens // 20))

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON."""
        return asdict(self)
