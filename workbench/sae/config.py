"""What a sparse autoencoder is (`SAEConfig`) and how one is trained (`SAETrainConfig`)."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from models.checked_input import whole_number
from workbench.sae.registry import architecture_class

DTYPES = {"float32": torch.float32, "float64": torch.float64}
PRODUCTS = {"float32": None, "bfloat16": torch.bfloat16}
REVIVALS = ("aux", "resample", "none")


@dataclass(frozen=True)
class SAEConfig:
    """The shape of a dictionary, and where it reads. Raises `ValueError` where values do not fit together.

    It rebuilds what it reads; or, as a transcoder (`d_out`), it predicts another hook from the one it reads; or, as a
    crosscoder (`n_layers`), it reads and rebuilds several hooks of one width through one code.

    Attributes:
        d_in: width of the activations that are read; of each of the layers, for a crosscoder.
        d_sae: number of latents.
        k: latents that may be active at once, for the architectures that fix it.
        architecture: `standard`, `topk`, `batchtopk`, `jumprelu`, `gated` or `matryoshka_batchtopk`.
        hook_name: the hook whose activations are read, where there is one.
        model_name: the subject's name, for people and for SAELens.
        dtype: `float32` or `float64`.
        seed: of the first decoder directions.
        d_out: width of the activations that a transcoder writes.
        hook_name_out: the hook whose activations a transcoder writes.
        skip: whether a transcoder also has a linear map from what it reads to what it writes.
        n_layers: how many hooks a crosscoder reads and writes.
        hook_names: the hooks of a crosscoder.
        matryoshka_widths: the ascending numbers of latents that must each reconstruct by themselves; the last is
            `d_sae`.
    """

    d_in: int
    d_sae: int
    k: int | None = None
    architecture: str = "topk"
    hook_name: str = ""
    model_name: str = ""
    dtype: str = "float32"
    seed: int = 0
    d_out: int | None = None
    hook_name_out: str = ""
    skip: bool = False
    n_layers: int | None = None
    hook_names: Sequence[str] = ()
    matryoshka_widths: Sequence[int] = ()

    def __post_init__(self) -> None:
        for name in ("hook_names", "matryoshka_widths"):  # lists, where they come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, least in (("d_in", 1), ("d_sae", 1), ("d_out", 1), ("n_layers", 1), ("k", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None:
                whole_number(value, name, least)
        if self.dtype not in DTYPES:
            raise ValueError(f"an SAE cannot be of type {self.dtype!r}: choose {' or '.join(DTYPES)}.")
        if self.d_out is not None and self.n_layers is not None:
            raise ValueError("d_out makes a transcoder and n_layers a crosscoder: give one of them.")
        if self.skip and self.d_out is None:
            raise ValueError("skip is a transcoder's linear map: it needs d_out.")
        if self.hook_names and len(self.hook_names) != self.n_layers:
            raise ValueError(f"{len(self.hook_names)} hook_names do not make {self.n_layers} layers of a crosscoder.")
        architecture_class(self.architecture).check_config(self)

    @property
    def kind(self) -> str:
        """`sae`, `transcoder` or `crosscoder`."""
        return "transcoder" if self.d_out is not None else "crosscoder" if self.n_layers is not None else "sae"

    @property
    def width_in(self) -> int:
        """The width of what the encoder reads; a crosscoder's layers stand side by side."""
        return self.d_in * (self.n_layers or 1)

    @property
    def width_out(self) -> int:
        """The width of what the decoder writes."""
        return self.d_out if self.d_out is not None else self.width_in

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as PyTorch names it."""
        return DTYPES[self.dtype]

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON, without what has its default and came later than the first format."""
        found = asdict(self)
        later = {field.name: field.default for field in fields(self)[8:]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if later.get(k, ...) != v}


@dataclass(frozen=True)
class SAETrainConfig:
    """How an SAE is trained. Raises `ValueError` where a value makes no sense.

    The loss of a row is ‖y − ŷ‖² plus the sparsity term times its coefficient plus the auxiliary loss times its own,
    all divided by E‖y − E y‖², where y is what is to be rebuilt, scaled.

    Attributes:
        n_tokens: rows to train on; the last batch is whole, so it may be passed by less than one batch.
        batch_size: rows in one step of the optimiser.
        lr: peak learning rate of Adam.
        warm_up: share of `n_tokens` over which the rate climbs from zero.
        decay: share of `n_tokens` at the end over which it falls to zero.
        sparsity: coefficient of the sparsity term; the architecture's own where None. Those that fix k have none.
        sparsity_warm_up: share of `n_tokens` over which that coefficient climbs from zero.
        target_l0: active latents a row that the coefficient is steered towards, from a tenth of `sparsity` on.
        revive: what is done for dead latents: `aux`, the auxiliary loss; `resample`, new directions at a quarter,
            a half and three quarters of the training before `decay`; `none`; or the architecture's own where None.
        aux_coefficient: weight of the auxiliary loss.
        k_aux: dead latents that share the residual of one row; half of the width that is written but at most 512
            where None.
        dead_after: rows without firing after which a latent counts as dead while training; a twentieth of
            `n_tokens` but at most ten million where None.
        bandwidth: of the straight-through estimator of JumpReLU's thresholds, in units of the scaled rows.
        threshold: where JumpReLU's thresholds set out.
        threshold_lr: weight of a step in BatchTopK's running threshold.
        product: number format of the encoder's product, `float32` or `bfloat16`; all else stays in the SAE's own.
        scale_inputs: train on rows scaled to a mean distance of √d_in from their centre; the scale is folded into
            the finished weights.
        checkpoint_every_s: seconds between checkpoints.
        log_every: steps between two lines of the log.
    """

    n_tokens: int = 2_000_000
    batch_size: int = 4096
    lr: float = 3e-3
    warm_up: float = 0.05
    decay: float = 0.2
    sparsity: float | None = None
    sparsity_warm_up: float = 0.05
    target_l0: float | None = None
    revive: str | None = None
    aux_coefficient: float = 1 / 32
    k_aux: int | None = None
    dead_after: int | None = None
    bandwidth: float = 1.0
    threshold: float = 0.01
    threshold_lr: float = 0.1
    product: str = "float32"
    scale_inputs: bool = True
    checkpoint_every_s: float = 10.0
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in (
            "n_tokens",
            "batch_size",
            "lr",
            "target_l0",
            "k_aux",
            "dead_after",
            "bandwidth",
            "threshold_lr",
            "checkpoint_every_s",
            "log_every",
        ):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a number above zero, not {value}.")
        for name in ("aux_coefficient", "sparsity", "threshold", "sparsity_warm_up"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a number that is not negative, but it is {value}.")
        if self.warm_up < 0 or self.decay < 0 or self.warm_up + self.decay > 1:
            raise ValueError(
                f"warm_up {self.warm_up} and decay {self.decay} are shares of one training: "
                "neither may be negative, nor may they add to more than 1."
            )
        for name, choices in (("revive", (*REVIVALS, None)), ("product", tuple(PRODUCTS))):
            if getattr(self, name) not in choices:
                known = ", ".join(str(choice) for choice in choices if choice is not None)
                raise ValueError(f"{name} cannot be {getattr(self, name)!r}: choose one of {known}.")

    def lr_at(self, tokens: int) -> float:
        """The learning rate once `tokens` rows have been seen: a linear climb, a plateau, a linear fall."""
        done = tokens / self.n_tokens
        climb = done / self.warm_up if self.warm_up else 1.0
        fall = (1 - done) / self.decay if self.decay else 1.0
        return self.lr * max(0.0, min(1.0, climb, fall))

    def sparsity_share(self, tokens: int) -> float:
        """How much of the sparsity coefficient counts once `tokens` rows have been seen."""
        return min(1.0, tokens / self.n_tokens / self.sparsity_warm_up) if self.sparsity_warm_up else 1.0

    def aux_latents(self, width: int) -> int:
        """`k_aux`, or its default for this width of what is written."""
        return self.k_aux if self.k_aux is not None else max(1, min(512, width // 2))

    def dead_after_tokens(self) -> int:
        """`dead_after`, or its default for this length of training."""
        return self.dead_after if self.dead_after is not None else max(1, min(10_000_000, self.n_tokens // 20))

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON."""
        return asdict(self)
