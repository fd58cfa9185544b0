"""`TunedPopulation`: cells that fire as their tuning curves say, with everything about them known."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from models.checked_input import checked_vectors, whole_number
from models.dataset import Dataset
from models.hooks import HookedModel, attached
from models.readout import asked_for, squared_error
from models.tuned.config import TunedPopulationConfig

__all__ = ["TunedPopulation", "TunedPopulationConfig", "population_dataset"]

WALK = ("x", "y", "heading")  # the labels that a population's input is made of


class TunedPopulation(HookedModel):
    """Independent Poisson cells of known tuning, over vectors such as x, y, cos h, sin h.

    Hooks: `hook_rates [batch, time, neuron]`, in Hz, and `hook_counts`, the spikes of each step, drawn from the rates.

    The counts of a sequence follow from the config's seed, the number of the trial and the real steps of the sequence
    itself: they are the same however sequences are batched, padded and ordered. A sequence shown twice in one trial is
    therefore answered alike; another trial draws anew.
    """

    def __init__(self, cfg: TunedPopulationConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.field = cfg.make_field()
        self.hook_rates, self.hook_counts = HookPoint(), HookPoint()
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    @property
    def variables(self) -> tuple[str, ...]:
        """What slopes and Fisher information are with respect to: metres, radians, or the inputs of linear cells."""
        return self.field.variables

    def rates(self, x: Float[Tensor, "*points d_in"]) -> Float[Tensor, "*points neuron"]:
        """The tuning curves at points, in Hz."""
        return self._scaled(self.field.shape_and_slopes(x)[0])

    def slopes(self, x: Float[Tensor, "*points d_in"]) -> Float[Tensor, "*points neuron variable"]:
        """The derivatives of the rates with respect to `variables`, in Hz a unit."""
        return self._span * self.field.shape_and_slopes(x)[1]

    def fisher_information(
        self, x: Float[Tensor, "*points d_in"], seconds: float
    ) -> Float[Tensor, "*points variable variable"]:
        """What the cells' spikes in so many seconds say about `variables`: `J = T Σ f′ f′ᵀ / f`.

        No unbiased estimate from the counts has a covariance below J⁻¹. Cells that are silent at a point say nothing.
        """
        shape, slopes = self.field.shape_and_slopes(x)
        rates, slopes = self._scaled(shape), self._span * slopes
        weight = torch.where(rates > 0, 1 / rates, 0.0)
        return seconds * torch.einsum("... n v, ... n w, ... n -> ... v w", slopes, slopes, weight)

    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
        trial: int = 0,
    ) -> Any:
        """Run the population.

        Args:
            input: vectors `[batch, time, d_in]`, one a step of `dt`.
            return_type: `"logits"`: counts or rates `[batch, time, neuron]`, as the config says. `"loss"`: their mean
                squared error against the targets. `"both"`: the pair. None: nothing, for those who only want the hooks.
            loss_per_token: the loss of each step, 0 at padding.
            mask: True where a step is real; there are no spikes elsewhere.
            targets: vectors `[batch, time, neuron]`.
            trial: which repetition this is: each has spikes of its own.

        Raises:
            ValueError: the input is empty, too long, not of `d_in` numbers, NaN or infinite; mask or targets do not
                fit it; a hook has made a rate negative.
        """
        cfg = self.cfg
        x = checked_vectors(input, cfg.d_in, cfg.n_ctx, cfg.device, cfg.dtype)
        asked = asked_for(x, mask, targets, return_type, cfg.n_neurons)
        whole_number(trial, "trial")
        output = self.hook_rates(self.rates(x))
        if cfg.output == "counts" or attached(self.hook_counts):
            counts = self.hook_counts(self._counts(x, output, mask, trial))
            output = counts if cfg.output == "counts" else output
        if return_type is None:
            return None
        if asked is None:
            return output
        loss = squared_error(output, asked, loss_per_token)
        return loss if return_type == "loss" else (output, loss)

    @property
    def _span(self) -> float:
        return self.cfg.max_rate - self.cfg.background

    def _scaled(self, shape: Tensor) -> Tensor:
        return self.cfg.background + self._span * shape

    def _counts(self, x: Tensor, rates: Tensor, mask: Tensor | None, trial: int) -> Float[Tensor, "batch time neuron"]:
        expected = rates.detach().double().cpu().numpy() * self.cfg.dt
        if not ((expected >= 0) & (expected < np.inf)).all():
            raise ValueError("a rate is negative, infinite or no number after its hooks: no spikes can be drawn.")
        shown = x.detach().float().cpu().numpy() + np.float32(0)  # −0 is 0
        counts = np.zeros_like(expected)
        n_real = [x.shape[1]] * len(x) if mask is None else mask.sum(1).tolist()
        for row, n in enumerate(n_real):
            digest = hashlib.blake2b(np.ascontiguousarray(shown[row, :n]).astype("<f4").tobytes(), digest_size=16)
            rng = np.random.default_rng([self.cfg.seed, trial, int.from_bytes(digest.digest(), "little")])
            counts[row, :n] = rng.poisson(expected[row, :n])
        return torch.from_numpy(counts).to(x)


def population_dataset(walks: Dataset) -> Dataset:
    """The same walks as a population is told of them: x, y, cosine and sine of the head direction at every step.

    Args:
        walks: a dataset with the labels `x`, `y` and `heading`, such as `Navigation` gives. Its labels, documents and
            splits are kept.

    Raises:
        ValueError: one of these labels is not there, or has no value at a real position.
    """
    missing = [name for name in WALK if walks.labels is None or name not in walks.labels.column_names]
    if missing or walks.labels is None:
        raise ValueError(f"the dataset has no label {', '.join(missing)}: x, y and heading say where a walker is.")
    for name in WALK:
        if walks.labels[name].null_count:
            raise ValueError(f"the label {name} is missing at {walks.labels[name].null_count} positions.")
    x, y, heading = (walks.labels[name].to_numpy() for name in WALK)
    told = torch.zeros(*walks.mask.shape, 4)
    told[walks.mask] = torch.from_numpy(np.stack([x, y, np.cos(heading), np.sin(heading)], 1)).float()
    return Dataset(tokens=told, mask=walks.mask, docs=walks.docs, labels=walks.labels, doc_table=walks.doc_table)
