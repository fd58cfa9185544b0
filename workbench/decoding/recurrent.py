"""`RecurrentDecoder`: a recurrent network of ours that reads a population, with the decoders' own signatures."""

from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from models import Dataset, Recurrent, RecurrentConfig, TrainConfig, load_model, train
from models.saving import checkpoint_steps
from probes.base import Array
from probes.population.base import Decoder

# Bins that are read at once when a long recording is decoded.
CHUNK = 8192
# Steps between looks at the held-out loss.
EVERY = 20
LEAST_HELD_OUT = 2


class RecurrentDecoder(Decoder):
    """A recurrent network from counts to variables, trained by gradient descent (Glaser et al. 2020, eNeuro 7:4).

    It reads each stretch of bins from its beginning and keeps its state to its end; counts are standardised, and a
    circular variable is read out as a vector of two. It is trained on windows of the first part of each stretch. The
    rest is held out: the weights are those of the step at which the loss was least there, and the covariance of the
    errors there is that of every estimate. One seed gives one decoder on one machine.

    Args:
        cell: `rnn`, `lstm`, `gru` or `mingru`.
        d_model: hidden units.
        n_layers: layers.
        ahead: bins after the decoded one that are read before it is told.
        window: bins of a training sequence; its first quarter is not judged, unless a stretch begins there.
        n_steps: of the optimiser, at most.
        batch_size: windows a step.
        lr: peak learning rate.
        weight_decay: AdamW's.
        held_out_share: of the end of each stretch.
        period: of circular outputs: one number for all, or one for each and None where it is linear.
        seed: of the weights and of the order.

    Attributes:
        n_steps_: after which the weights were taken.
        model_: the network, a `Recurrent`; its hooks are those of any subject.
        metrics_: its losses while it was trained, held-out ones too.
        error_covariance_: of what it reads out, on held-out bins.
    """

    def __init__(
        self,
        cell: str = "lstm",
        *,
        d_model: int = 64,
        n_layers: int = 1,
        ahead: int = 0,
        window: int = 80,
        n_steps: int = 400,
        batch_size: int = 32,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        held_out_share: float = 0.1,
        period: Any = None,
        seed: int = 0,
    ) -> None:
        self.cell = cell
        self.d_model = d_model
        self.n_layers = n_layers
        self.ahead = ahead
        self.window = window
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.held_out_share = held_out_share
        self.period = period
        self.seed = seed

    model_: Recurrent

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RecurrentDecoder":
        """Train on X [bins, neurons] and y [bins] or [bins, d].

        Raises:
            ValueError: what cannot be decoded, settings that no network has, or stretches all so short that nothing of
                them can be held out.
        """
        self._refuse_settings()
        counts, values, runs = self._training(X, y, groups)
        if self.ahead >= max(run.stop - run.start for run in runs):
            raise ValueError(f"ahead is {self.ahead}, and no stretch has as many bins: nothing would ever be told.")
        self.centre_, spread = counts.mean(0), counts.std(0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        vectors = self.outputs_.encode(values)
        self.target_centre_, target_spread = vectors.mean(0), vectors.std(0)
        self.target_scale_ = np.where(target_spread > 0, target_spread, 1.0)
        told = [self._told(counts[run]) for run in runs]
        asked = [self._asked(vectors[run]) for run in runs]
        dataset, ends = _windows(told, asked, self.window, self.held_out_share)
        warmup = min(50, self.n_steps // 10)
        config = TrainConfig(
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            lr=self.lr,
            warmup_steps=warmup,
            weight_decay=self.weight_decay,
            log_every=EVERY,
            eval_every=EVERY,
            checkpoint_every=EVERY,
            seed=self.seed,
        )
        shape = RecurrentConfig(
            cell=self.cell,
            n_layers=self.n_layers,
            d_model=self.d_model,
            d_in=counts.shape[1],
            d_out=vectors.shape[1],
            seed=self.seed,
        )
        # PyTorch's layers draw their first weights from the global generator, before ours are drawn.
        with TemporaryDirectory() as run, torch.random.fork_rng(devices=[]):
            self.metrics_ = train(Recurrent(shape), dataset, config, run=run)
            measured = self.metrics_.loc[self.metrics_["step"].isin(checkpoint_steps(run))].dropna(
                subset="heldout_loss"
            )
            self.n_steps_ = int(measured.loc[measured["heldout_loss"].idxmin(), "step"])
            self.model_ = cast(Recurrent, load_model(run, step=self.n_steps_))
        found = [self._vectors(counts[run]) for run in runs]
        held_out = [
            np.arange(max(end - self.ahead, 0), run.stop - run.start) for end, run in zip(ends, runs, strict=True)
        ]
        self.error_covariance_ = self.outputs_.residual_covariance(
            np.concatenate([values[run][rows] for run, rows in zip(runs, held_out, strict=True)]),
            np.concatenate([part[rows] for part, rows in zip(found, held_out, strict=True)]),
        )
        return self

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in every bin, with their standard deviation or covariance where that is asked for."""
        check_is_fitted(self)
        counts, runs = self._reading(X, groups)
        vectors = np.concatenate([self._vectors(counts[run]) for run in runs])
        return self._answer_of_vectors(vectors, self.error_covariance_, X, return_std=return_std, return_cov=return_cov)

    def _refuse_settings(self) -> None:
        for name, least in (
            ("ahead", 0),
            ("window", 4),
            ("d_model", 1),
            ("n_layers", 1),
            ("n_steps", 1),
            ("batch_size", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} is {value}: it must be a whole number of at least {least}.")
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"held_out_share is {self.held_out_share}: it must be above 0 and below 1.")

    def _told(self, counts: Float[np.ndarray, "n neurons"]) -> Float[Tensor, "steps neurons"]:
        """Standardised counts, and behind the last bin mean ones, for as long as the answer waits."""
        standard = (counts - self.centre_) / self.scale_
        return torch.from_numpy(np.pad(standard, ((0, self.ahead), (0, 0))).astype(np.float32))

    def _asked(self, vectors: Float[np.ndarray, "n k"]) -> Float[Tensor, "steps k"]:
        standard = (vectors - self.target_centre_) / self.target_scale_
        late = np.pad(standard, ((self.ahead, 0), (0, 0)), constant_values=np.nan)
        return torch.from_numpy(late.astype(np.float32))

    def _vectors(self, counts: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n k"]:
        """What is read out of one stretch."""
        states, parts = None, []
        with torch.inference_mode():
            for part in self._told(counts).split(CHUNK):
                output, states = self.model_.run_steps(part[None], states)
                parts.append(output[0])
        read = torch.cat(parts)[self.ahead :].double().numpy()
        return read * self.target_scale_ + self.target_centre_


def _windows(
    told: list[Float[Tensor, "_ neurons"]], asked: list[Float[Tensor, "_ k"]], window: int, share: float
) -> tuple[Dataset, list[int]]:
    """Half-overlapping windows of every stretch, those of its end held out; and where each stretch's end begins.

    Of a stretch that is too short for that nothing is held out, and nothing learned.
    """
    tokens, targets, mask, split, ends = [], [], [], [], []
    for x, y in zip(told, asked, strict=True):
        end = len(x) - max(LEAST_HELD_OUT, round(share * len(x)))
        if end < LEAST_HELD_OUT:
            ends.append(len(x))
            continue
        ends.append(end)
        for name, start, stop in (("train", 0, end), ("test", end, len(x))):
            for first in range(start, max(stop - window // 2, start + 1), max(window // 2, 1)):
                last = min(first + window, stop)
                goal = y[first:last].clone()
                if first > 0:
                    goal[: min(window // 4, (last - first) // 2)] = torch.nan
                short = window - (last - first)
                tokens.append(torch.nn.functional.pad(x[first:last], (0, 0, 0, short)))
                targets.append(torch.nn.functional.pad(goal, (0, 0, 0, short)))
                mask.append(torch.arange(window) < last - first)
                split.append(name)
    if not any(goal.isfinite().any() for goal in targets):
        longest = max(map(len, told))
        raise ValueError(
            f"the longest stretch has {longest} bins: too short to hold {share:.0%} of it out and learn from the rest."
        )
    table = pa.table({"name": [str(i) for i in range(len(split))], "split": split})
    return Dataset(torch.stack(tokens), torch.stack(mask), doc_table=table, targets=torch.stack(targets)), ends
