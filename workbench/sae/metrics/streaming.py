"""Streaming numbers about a dictionary: each is fed batch by batch and sums in float64.

x are the rows that should be rebuilt (those that were read, but for a transcoder), x̂ their reconstructions, f the
activations of the latents. None ranks dictionaries by itself; `workbench.sae.evaluate` reads them all, beside controls
of the same size.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.codes import Codes
from workbench.sae.stream import pairs_of

# Latents that fire less often than this are called ultra-low-density.
ULTRA_LOW_DENSITY = 1e-5


class Reading(NamedTuple):
    """One batch as a dictionary reads it."""

    x: Float[Tensor, "n d"]
    """What should be rebuilt; a crosscoder's layers side by side."""
    x_hat: Float[Tensor, "n d"]
    codes: Codes


class Metric(ABC):
    """A number, or a few that share their sums, over all rows seen so far."""

    @abstractmethod
    def update(self, reading: Reading) -> None:
        """Take one batch into account."""

    @abstractmethod
    def result(self) -> dict[str, float]:
        """The numbers by name. Not defined before the first row."""


class ExplainedVariance(Metric):
    """`mse` = E‖x − x̂‖², summed over the width; `explained_variance` = 1 − mse / (E‖x‖² − ‖E x‖²)."""

    def __init__(self) -> None:
        self.n = 0
        self.error = self.square = 0.0
        self.total: Tensor | float = 0.0

    def update(self, reading: Reading) -> None:
        x = reading.x.double()
        self.n += len(x)
        self.error += (x - reading.x_hat.double()).square().sum().item()
        self.square += x.square().sum().item()
        self.total = self.total + x.sum(0)

    def result(self) -> dict[str, float]:
        mean = torch.as_tensor(self.total) / self.n
        variance = self.square / self.n - mean.square().sum().item()
        mse = self.error / self.n
        return {"mse": mse, "explained_variance": 1 - mse / variance}


class Directions(Metric):
    """`cosine` = E cos(x, x̂); `shrinkage` = E ‖x̂‖/‖x‖; `relative_bias` = E‖x̂‖² / E[x·x̂].

    Rows of length zero have no direction: they are left out of `cosine` and `shrinkage`, and a reconstruction
    of length zero has a cosine of 0.
    """

    def __init__(self) -> None:
        self.n = 0
        self.cosine = self.shrinkage = self.hat_square = self.product = 0.0

    def update(self, reading: Reading) -> None:
        x, x_hat = reading.x.double(), reading.x_hat.double()
        product, length, hat_length = torch.linalg.vecdot(x, x_hat), x.norm(dim=1), x_hat.norm(dim=1)
        seen = length > 0
        both = seen & (hat_length > 0)
        self.n += int(seen.sum())
        self.cosine += (product[both] / (length[both] * hat_length[both])).sum().item()
        self.shrinkage += (hat_length[seen] / length[seen]).sum().item()
        self.hat_square += hat_length.square().sum().item()
        self.product += product.sum().item()

    def result(self) -> dict[str, float]:
        return {
            "cosine": self.cosine / self.n,
            "shrinkage": self.shrinkage / self.n,
            "relative_bias": self.hat_square / self.product if self.product else float("nan"),
        }


class Sparsity(Metric):
    """`l0` = E ‖f‖₀ and `l1` = E ‖f‖₁."""

    def __init__(self) -> None:
        self.n = 0
        self.active = self.sum = 0.0

    def update(self, reading: Reading) -> None:
        self.n += len(reading.x)
        self.active += reading.codes.l0().sum().item()
        self.sum += reading.codes.values.double().sum().item()

    def result(self) -> dict[str, float]:
        return {"l0": self.active / self.n, "l1": self.sum / self.n}


class Density(Metric):
    """How often each latent fires (`density`), and what follows for all of them.

    `dead_fraction`: never in the rows seen, whose number stands beside it as `rows`: a latent that fires once
    in a million rows looks dead in fewer. `ultra_low_fraction`: less than once in 100,000 rows, the dead
    included.
    """

    def __init__(self, d_sae: int) -> None:
        self.n = 0
        self.counts = torch.zeros(d_sae, dtype=torch.float64)

    def update(self, reading: Reading) -> None:
        self.n += len(reading.x)
        self.counts += reading.codes.fire_counts(len(self.counts)).cpu()

    @property
    def density(self) -> Float[Tensor, " d_sae"]:
        """The share of rows in which each latent is active."""
        return self.counts / self.n

    def result(self) -> dict[str, float]:
        return {
            "dead_fraction": (self.counts == 0).double().mean().item(),
            "ultra_low_fraction": (self.density < ULTRA_LOW_DENSITY).double().mean().item(),
            "rows": float(self.n),
        }


@torch.no_grad()
def measure(sae: SAE, batches: Iterable[Any]) -> dict[str, float]:
    """Every number of this file for one SAE, transcoder or crosscoder over batches such as it is trained on.

    A transcoder is measured against what it should write.

    Raises `ValueError` where there are no rows, or they do not fit, or are not finite.
    """
    metrics: list[Metric] = [ExplainedVariance(), Directions(), Sparsity(), Density(sae.cfg.d_sae)]
    rows = 0
    for x, y in pairs_of(sae.cfg, batches):
        if not (x.isfinite().all() and y.isfinite().all()):
            raise ValueError(f"rows hold NaN or infinity (among the {len(x):,} from row {rows:,} on): leave them out.")
        x = x.to(sae.W_enc.dtype)
        codes = sae.encode_rows(x)
        reading = Reading(y, sae.decode_of(x, codes).flatten(1), codes)
        rows += len(x)
        for metric in metrics:
            metric.update(reading)
    if rows == 0:
        raise ValueError("there are no rows to measure this SAE on.")
    return {name: value for metric in metrics for name, value in metric.result().items()}
