"""What a Kalman filter and smoother know of every bin; the covariances, which no measurement changes, known once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import einsum
from jaxtyping import Float, Int

from probes.population.recursions import recur

# A covariance that changes by less than this share of itself is steady.
STEADY = 1e-12


@dataclass(frozen=True)
class Motion:
    """x_{t+1} = A x_t + w, of which the measurement of a bin tells HᵀQ⁻¹z.

    Attributes:
        A, W: the law, and the covariance of w.
        information: HᵀQ⁻¹H.
        start: the covariance before the first measurement.
    """

    A: Float[np.ndarray, "k k"]
    W: Float[np.ndarray, "k k"]
    information: Float[np.ndarray, "k k"]
    start: Float[np.ndarray, "k k"]

    def ahead(self, covariance: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
        """The covariance a bin later."""
        return symmetric(self.A @ covariance @ self.A.T + self.W)

    def measured(self, covariance: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
        """The covariance after a measurement; no matrix is inverted that could be singular."""
        return symmetric(np.linalg.solve(np.eye(len(covariance)) + covariance @ self.information, covariance))


@dataclass(frozen=True)
class StateEstimates:
    """Estimates of every bin. Bins whose covariances are the same share them.

    Attributes:
        states: less the mean.
        kind: of each bin, the number of its covariance.
        after: the covariances, of all that was measured.
    """

    states: Float[np.ndarray, "n k"]
    kind: Int[np.ndarray, " n"]
    after: Float[np.ndarray, "kind k k"]

    def covariances(self) -> Float[np.ndarray, "n k k"]:
        """Of every bin."""
        return self.after[self.kind]


@dataclass(frozen=True)
class Filtered(StateEstimates):
    """Those of a filter.

    Attributes:
        before: the covariances before the bin was measured.
        steady: the kind that most bins are of.
    """

    before: Float[np.ndarray, "kind k k"]
    steady: int


def filtered(motion: Motion, told: Float[np.ndarray, "n k"], runs: Sequence[slice], lag: int) -> Filtered:
    """Each bin from the measurements up to it.

    Args:
        motion: the law.
        told: HᵀQ⁻¹z of the bins in which z was measured; it speaks of the bins `lag` later.
        runs: the bins of each group.
        lag: may be negative. Bins of which no measurement of their group speaks follow from the law.
    """
    moved = np.zeros_like(told)
    for run in runs:
        size = run.stop - run.start - abs(lag)
        if size > 0:
            to, from_ = run.start + max(lag, 0), run.start + max(-lag, 0)
            moved[to : to + size] = told[from_ : from_ + size]
    lengths = [run.stop - run.start for run in runs]
    before, after = _until_steady(motion, max(lengths), max(lag, 0))
    steady = len(after) - 1
    kind = np.concatenate([np.minimum(np.arange(length), steady) for length in lengths])
    is_told = np.arange(len(after)) >= lag
    if lag < 0:
        kind, before, after = _with_untold(motion, kind, before, after, runs, -lag)
        is_told = np.arange(len(after)) <= steady
    eye = np.eye(len(motion.A))
    kept = np.where(is_told[:, None, None], eye - after @ motion.information, eye)
    states = recur(einsum(after[kind], moved, "n a b, n b -> n a"), kept @ motion.A, kind, runs, steady)
    return Filtered(states, kind, after, before, steady)


def _until_steady(
    motion: Motion, longest: int, untold: int
) -> tuple[Float[np.ndarray, "kind k k"], Float[np.ndarray, "kind k k"]]:
    """Covariances before and after the measurements of bins 0, 1, …, the first `untold` of which have none."""
    before = [motion.start]
    after: list[np.ndarray] = []
    while True:
        after.append(before[-1] if len(after) < untold else motion.measured(before[-1]))
        following = motion.ahead(after[-1])
        settled = _settled(before[-1], following)
        if len(after) >= longest or (settled and len(after) > untold):
            return np.stack(before), np.stack(after)
        before.append(following)


def _with_untold(
    motion: Motion,
    kind: Int[np.ndarray, " n"],
    before: Float[np.ndarray, "kind k k"],
    after: Float[np.ndarray, "kind k k"],
    runs: Sequence[slice],
    untold: int,
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "all k k"], Float[np.ndarray, "all k k"]]:
    """Kinds for the last bins of each run, of which no measurement speaks."""
    kind, more = kind.copy(), {}
    found: list[np.ndarray] = []
    for run in runs:
        first = max(run.start, run.stop - untold)
        last_told = int(kind[first - 1]) if first > run.start else -1
        if last_told not in more:
            more[last_told] = len(after) + len(found)
            covariance = motion.start if last_told < 0 else motion.ahead(after[last_told])
            for _ in range(untold):
                found.append(covariance)
                covariance = motion.ahead(covariance)
        kind[first : run.stop] = more[last_told] + np.arange(run.stop - first)
    return kind, np.concatenate([before, found]), np.concatenate([after, found])


def smoothed(motion: Motion, estimate: Filtered, runs: Sequence[slice]) -> StateEstimates:
    """Each bin from all measurements of its run: Rauch, Tung and Striebel's recursion, backward from the last bin."""
    kind, n_kinds = estimate.kind, len(estimate.after)
    pair = kind[:-1] * n_kinds + kind[1:]
    known, number = np.unique(np.append(pair, estimate.steady * (n_kinds + 1)), return_inverse=True)
    number, steady = number[:-1], int(number[-1])
    # A covariance before a measurement may be singular, where variables depend on each other.
    gains = np.stack(
        [
            estimate.after[one // n_kinds] @ motion.A.T @ np.linalg.pinv(estimate.before[one % n_kinds], hermitian=True)
            for one in known
        ]
    )
    ends = np.array([run.stop - 1 for run in runs])
    law = np.append(number, 0)
    own = estimate.states - einsum(gains[law] @ motion.A, estimate.states, "n a b, n b -> n a")
    own[ends] = estimate.states[ends]
    n = len(kind)
    backward = [slice(n - run.stop, n - run.start) for run in reversed(runs)]
    states = recur(own[::-1], gains, law[::-1], backward, steady)[::-1]
    return StateEstimates(states, *_smoothed_covariances(estimate, gains, law, runs, steady))


def _smoothed_covariances(
    estimate: Filtered,
    gains: Float[np.ndarray, "law k k"],
    law: Int[np.ndarray, " n"],
    runs: Sequence[slice],
    steady: int,
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "kind k k"]]:
    """Of runs of the same length alike, and of the bins far from both ends of one."""
    table: list[np.ndarray] = []
    kinds: dict[int, np.ndarray] = {}
    for run in runs:
        length = run.stop - run.start
        if length in kinds:
            continue
        kinds[length] = found = np.empty(length, np.int64)
        t = length - 1
        covariance = estimate.after[estimate.kind[run.start + t]]
        while True:
            found[t] = len(table)
            table.append(covariance)
            t -= 1
            if t < 0:
                break
            here = run.start + t
            gain, ahead = gains[law[here]], estimate.before[estimate.kind[here + 1]]
            following = symmetric(estimate.after[estimate.kind[here]] + gain @ (covariance - ahead) @ gain.T)
            if law[here] == steady and _settled(covariance, following):
                is_steady = law[run.start : here + 1] == steady
                same = len(is_steady) - int(np.argmin(is_steady[::-1])) if not is_steady.all() else 0
                found[same : t + 1] = len(table)
                t = same
            covariance = following
    return np.concatenate([kinds[run.stop - run.start] for run in runs]), np.stack(table)


def symmetric(matrix: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """Without what rounding has made of its two halves."""
    return (matrix + matrix.T) / 2


def _settled(earlier: Float[np.ndarray, "k k"], later: Float[np.ndarray, "k k"]) -> bool:
    """Whether it changes no more, whatever the units of the variables."""
    scale = np.sqrt(np.maximum(later.diagonal(), 0))
    return bool((np.abs(later - earlier) <= STEADY * np.outer(scale, scale)).all())
