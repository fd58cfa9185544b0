"""What the Bayesian decoders have in common: a prior, and how far the variable moves from one time bin to the next."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from probes.base import as_numpy
from probes.population.grid_decoder import GridDecoder
from probes.population.random_walk import RandomWalk, decoded
from probes.population.scores import errors

PRIORS = ("occupancy", "uniform")
# Of what is found of a block of time bins, so much is held at once: to smooth it is needed twice, to filter it is not.
CHUNK_BYTES, PASSING_SHARE = 64 << 20, 16


class BayesDecoder(GridDecoder):
    """A grid decoder with a prior and, if wanted, a continuity constraint.

    Attributes:
        prior_: of each visited bin [V].
        continuity_: standard deviation [d] of the step along each axis in one time bin; None without the constraint.
    """

    prior: Any
    continuity: Any
    jump: float
    smooth: bool
    prior_: Float[np.ndarray, " visited"]
    continuity_: Float[np.ndarray, " d"] | None

    def _refuse_settings(self) -> None:
        super()._refuse_settings()
        if isinstance(self.prior, str) and self.prior not in PRIORS:
            raise ValueError(f"prior is {self.prior!r}: choose occupancy or uniform, or give an array of the bins.")
        if isinstance(self.continuity, str) and self.continuity != "fit":
            raise ValueError(f"continuity is {self.continuity!r}: give a standard deviation, 'fit', or None.")
        if self.smooth and self.continuity is None:
            raise ValueError("smooth needs a continuity: without one, later time bins say nothing of earlier ones.")
        if not 0 < self.jump < 1:
            raise ValueError(f"jump is {self.jump}: it must be above 0 and below 1.")

    def _take_prior(self) -> None:
        """Prior probabilities of the visited bins."""
        curves = self.curves_
        if isinstance(self.prior, str):
            prior = curves.probability if self.prior == "occupancy" else curves.visited.astype(np.float64)
        else:
            prior = as_numpy(self.prior).astype(np.float64)
            if prior.shape != curves.shape or not (np.isfinite(prior) & (prior >= 0)).all():
                raise ValueError(f"prior has shape {prior.shape}: it must be {curves.shape}, finite, and not negative.")
        prior = prior.ravel()[self.visited_]
        if not prior.sum() > 0:
            raise ValueError("the prior is zero in every bin that was visited: nothing could be decoded.")
        self.prior_ = prior / prior.sum()

    def _take_continuity(self, values: Float[np.ndarray, "n d"] | None, runs: list[slice]) -> None:
        """The size of a step: what was given, or the root mean square of the steps in training."""
        d = len(self.curves_.period)
        if self.continuity is None:
            self.continuity_ = None
        elif isinstance(self.continuity, str):
            if values is None:
                raise ValueError("continuity='fit' needs training data: with curves that are given, give a number.")
            period = self.curves_.period
            steps = np.concatenate([errors(values[run][:-1], values[run][1:], period) for run in runs])
            if not len(steps):
                raise ValueError("no group has two time bins in a row: there is no continuity to fit.")
            self.continuity_ = np.sqrt((steps**2).mean(0))
        else:
            sigma = np.asarray(self.continuity, np.float64)
            if sigma.shape not in ((), (d,)) or not (np.isfinite(sigma) & (sigma >= 0)).all():
                raise ValueError(
                    f"continuity is {self.continuity}: it must be one standard deviation, or one for each of {d} axes."
                )
            self.continuity_ = np.broadcast_to(sigma, (d,)).copy()

    def _log_prior(self) -> Float[np.ndarray, " visited"]:
        return np.log(self.prior_, out=np.full(self.prior_.shape, -np.inf), where=self.prior_ > 0)

    def _posteriors(
        self, X: Float[np.ndarray, "n neurons"], runs: list[slice]
    ) -> Iterator[tuple[Int[np.ndarray, " some"], Float[np.ndarray, "some visited"]]]:
        if self.continuity_ is None:
            yield from super()._posteriors(X, runs)
            return
        possible, n_grid = np.where(self.prior_ > 0, 0.0, -np.inf), self.curves_.occupancy.size

        def likelihood(rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some n_grid"]:
            scores = self._log_likelihood(X[rows]) + possible
            scores -= scores.max(1, keepdims=True)
            everywhere = np.zeros((len(rows), n_grid))
            everywhere[:, self.visited_] = np.exp(scores, out=scores)
            return everywhere

        prior = np.zeros(n_grid)
        prior[self.visited_] = self.prior_
        walk = RandomWalk.on(self.curves_, self.continuity_, prior, self.jump)
        n_bytes = CHUNK_BYTES if self.smooth else CHUNK_BYTES // PASSING_SHARE
        for rows, p in decoded(walk, likelihood, runs, n_bytes, self.smooth):
            yield rows, p[:, self.visited_]
