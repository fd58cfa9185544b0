"""A variable that moves a little in each time bin: how probabilities on a grid spread, forwards and back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ive

from probes.tuning import TuningCurves

Likelihood = Callable[[Int[np.ndarray, " some"]], Float[np.ndarray, "some n_grid"]]
Block = tuple[Int[np.ndarray, " some"], Float[np.ndarray, "some n_grid"]]
# Groups that are stepped together, at most so many to a block of so many steps.
LEAST_STEPS = 16
# Squared bins: along an axis, steps with this variance lead everywhere alike, and SciPy's functions still reach it.
FLAT = 1e9


@dataclass(frozen=True)
class RandomWalk:
    """A Gaussian step along each axis in each time bin, among the visited bins, and rarely a leap to anywhere.

    The leap keeps every posterior defined: without it, a step that the walk does not expect would leave nothing.

    Attributes:
        kernels: of each axis the chance [bin, bin] to step from one bin to another; symmetric.
        prior: where one starts, and leaps to; zero where one cannot be [n_grid].
        jump: the chance of a leap.
    """

    kernels: tuple[Float[np.ndarray, "_ _"], ...]
    prior: Float[np.ndarray, " n_grid"]
    jump: float

    @classmethod
    def on(
        cls, curves: TuningCurves, sigma: Float[np.ndarray, " d"], prior: Float[np.ndarray, " n_grid"], jump: float
    ) -> "RandomWalk":
        """On the grid of some curves, with a step of that standard deviation along each axis."""
        kernels = [
            step_kernel(len(edge) - 1, edge[1] - edge[0], one, period is not None)
            for edge, period, one in zip(curves.edges, curves.period, sigma, strict=True)
        ]
        return cls(tuple(kernels), prior, jump)

    def forward(self, p: Float[np.ndarray, "group n_grid"]) -> Float[np.ndarray, "group n_grid"]:
        """Where one is a time bin later, from where one is; of bins where one cannot be it says nothing."""
        ahead = self._spread(p * self._per_reach)
        ahead += self._leap
        return ahead

    def backward(self, q: Float[np.ndarray, "group n_grid"]) -> Float[np.ndarray, "group n_grid"]:
        """The expectation of a function, zero where one cannot be, of where one is a time bin later."""
        before = self._spread(q)
        before *= self._per_reach
        before += (q @ self._leap)[:, None]
        return before

    @cached_property
    def _leap(self) -> Float[np.ndarray, " n_grid"]:
        return self.jump * self.prior

    @cached_property
    def _per_reach(self) -> Float[np.ndarray, " n_grid"]:
        """What steps from each bin are multiplied with, as those into walls and holes are not taken."""
        possible = self.prior > 0
        reach = self._spread(possible[None].astype(np.float64))[0]
        return np.divide(1 - self.jump, reach, out=np.zeros_like(reach), where=possible)

    def _spread(self, p: Float[np.ndarray, "group n_grid"]) -> Float[np.ndarray, "group n_grid"]:
        shape, after = p.shape, len(self.prior)
        for kernel in self.kernels:
            after //= len(kernel)
            if after == 1:  # kernels are symmetric; one product rather than many small ones
                p = p.reshape(-1, len(kernel)) @ kernel
            elif p.size == len(kernel) * after:
                p = kernel @ p.reshape(len(kernel), after)
            else:
                p = np.matmul(kernel, p.reshape(-1, len(kernel), after))
        return p.reshape(shape)


def step_kernel(n: int, width: float, sigma: float, circular: bool) -> Float[np.ndarray, "n n"]:
    """The chance that a step with that standard deviation leads from one bin into another.

    Lindeberg's discrete Gaussian, "Scale-space for discrete signals" (1990): e^{−t} I_k(t) from a bin to the k-th
    beside it, t = σ²/width². Its variance is σ² whatever the bins, and t steps of it are one of t times the variance.
    A Gaussian step from anywhere in a bin has no such law: where one is in the bin would be drawn anew every time, so
    that steps far smaller than a bin crossed its edge far too often (σ/width of the time, rather than σ²/width²).
    """
    offset = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    t = (sigma / width) ** 2
    if not circular:
        return ive(offset, min(t, FLAT))
    frequency = np.arange(n // 2 + 1)
    around = np.fft.irfft(np.exp(t * (np.cos(2 * np.pi * frequency / n) - 1)), n).clip(min=0)
    return around[np.minimum(offset, n - offset)]


def decoded(walk: RandomWalk, likelihood: Likelihood, runs: list[slice], n_bytes: int, smooth: bool) -> Iterator[Block]:
    """The posterior of every time bin given those before it in its group, or, smoothed, given all of its group.

    Groups are stepped side by side, in blocks of time bins that fit into memory; to smooth, the state at the start of
    each block is kept, and the blocks are gone through again from the last to the first.

    Args:
        walk: how the variable moves.
        likelihood: of time bins by number, with a largest value of one in each, and zero where one cannot be.
        runs: where each group's time bins lie.
        n_bytes: what a block may take.
        smooth: whether later time bins count.
    """
    longest_first = sorted(runs, key=lambda run: run.start - run.stop)
    most_groups = max(1, n_bytes // (8 * len(walk.prior) * LEAST_STEPS))
    for first in range(0, len(runs), most_groups):
        some = longest_first[first : first + most_groups]
        lane = _Lanes(
            walk, likelihood, np.array([run.start for run in some]), np.array([run.stop - run.start for run in some])
        )
        size = max(1, n_bytes // (8 * len(walk.prior) * len(some)))
        starts = list(range(0, int(lane.lengths[0]), size))
        states: list[np.ndarray | None] = [None]
        for start in starts:
            block = lane.filtered(start, start + size, states[-1])
            states.append(block.p[-1])
            if not smooth:
                yield block.rows, np.concatenate(block.p)
        later: _Later = None
        for number in reversed(range(len(starts))) if smooth else ():
            if number < len(starts) - 1:  # the last block is still there
                block = lane.filtered(starts[number], starts[number] + size, states[number])
            smoothed, later = lane.smoothed(block, later)
            yield block.rows, smoothed


_Later = tuple[Float[np.ndarray, "_ n_grid"], Float[np.ndarray, "_ n_grid"]] | None


@dataclass(frozen=True)
class _Filtered:
    """A block of time bins: their numbers, what was expected of each group step by step, and what was found."""

    rows: Int[np.ndarray, " some"]
    expected: list[np.ndarray]
    p: list[np.ndarray]


@dataclass(frozen=True)
class _Lanes:
    """Groups side by side, the longest first, so that those that still run are always the first ones."""

    walk: RandomWalk
    likelihood: Likelihood
    starts: Int[np.ndarray, " group"]
    lengths: Int[np.ndarray, " group"]

    def filtered(self, start: int, stop: int, before: Float[np.ndarray, "group n_grid"] | None) -> _Filtered:
        steps = np.arange(start, min(stop, int(self.lengths[0])))
        running = np.searchsorted(-self.lengths, -steps)
        rows = np.concatenate([self.starts[:k] + t for t, k in zip(steps, running, strict=True)])
        expected, found, end = [], [], 0
        likelihood = self.likelihood(rows)
        for k in running:
            if before is None:
                ahead = np.broadcast_to(self.walk.prior, (k, len(self.walk.prior)))
            else:
                ahead = self.walk.forward(before[:k])
            before = ahead * likelihood[end : end + k]
            before /= before.sum(1, keepdims=True)
            expected.append(ahead)
            found.append(before)
            end += k
        return _Filtered(rows, expected, found)

    def smoothed(self, block: _Filtered, later: _Later) -> tuple[Float[np.ndarray, "some n_grid"], _Later]:
        """Rauch's backward pass, on a grid: what is found later, over what was expected of it, carried back."""
        found = []
        for ahead, p in zip(reversed(block.expected), reversed(block.p), strict=True):
            if later is not None:
                after, was_expected = later
                # Nothing is found where nothing was expected.
                surprise = after / np.maximum(was_expected, np.finfo(float).tiny)
                p = p.copy()
                p[: len(after)] *= self.walk.backward(surprise)
            found.append(p)
            later = (p, ahead)
        return np.concatenate(found[::-1]), later
