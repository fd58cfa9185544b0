"""How fast populations are decoded, connected and run, beside the loops and products that the field's scripts use.

    python -m benchmarks population [--quick]

100 neurons × 20,000 time bins: a Kalman filter and Poisson–Bayes decoding (20 × 20 places), against loops over bins
(`population_loops`) that are given the same parameters. The optimal linear decoder of 5,000 neurons from 1,000
samples, dual against primal. Decoded connections against the dense product, fixed points of a GRU, and spiking cells
in real time (`population_subjects`). Whatever is compared in speed is compared in what it gives, in the same run.
"""

import argparse
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks import population_loops, population_subjects
from benchmarks.bars import row, show
from benchmarks.turns import take_turns
from probes.population import KalmanFilter, OptimalLinearDecoder, PoissonBayes

NEURONS, BINS, TRAINING, PLACES, DT = 100, 20_000, 6_000, 20, 0.05
CELLS, SAMPLES = 5_000, 1_000
BAR_LOOP, BAR_DUAL, BAR_SAME = 20.0, 5.0, 1e-6


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rounds, n_bins = (1, BINS // 10) if quick else (3, BINS)
    rows = [
        *_kalman(rounds, n_bins),
        *_bayes(rounds, n_bins),
        *_optimal_linear(rounds, CELLS // 2 if quick else CELLS, SAMPLES // 2 if quick else SAMPLES),
        *population_subjects.rows(quick),
    ]
    show(rows)
    return rows


def recording(n_bins: int, seed: int) -> tuple[Float[np.ndarray, "bin neuron"], Float[np.ndarray, "bin d"]]:
    """Spike counts of place cells while something wanders about the unit square, and where it is."""
    rng = np.random.default_rng(seed)
    x = 0.5 + 0.5 * np.sin(rng.standard_normal((n_bins, 2)).cumsum(0) * 0.1)
    centres = np.random.default_rng(0).random((NEURONS, 2))
    apart = ((x[:, None] - centres) ** 2).sum(-1)
    return rng.poisson(DT * (1 + 20 * np.exp(-apart / (2 * 0.15**2)))).astype(float), x


def _kalman(rounds: int, n_bins: int) -> list[dict[str, Any]]:
    def with_velocity(x: Float[np.ndarray, "bin d"]) -> Float[np.ndarray, "bin state"]:
        return np.concatenate([x, np.gradient(x, DT, axis=0)], axis=1)

    counts, x = recording(TRAINING, 1)
    decoder = KalmanFilter().fit(counts, with_velocity(x))
    counts, _ = recording(n_bins, 2)

    def loop() -> Float[np.ndarray, "bin state"]:
        model = (decoder.A_, decoder.W_, decoder.H_, decoder.Q_, decoder.covariance_)
        return population_loops.kalman(*model, counts - decoder.neuron_mean_) + decoder.mean_

    (ours, told), (theirs, truth) = take_turns(rounds, lambda: decoder.predict(counts), loop)
    return _against(f"Kalman filter, {NEURONS} neurons × {n_bins:,} bins", ours, theirs, told, truth, BAR_LOOP)


def _bayes(rounds: int, n_bins: int) -> list[dict[str, Any]]:
    counts, x = recording(TRAINING, 1)
    decoder = PoissonBayes(PLACES, range=(0, 1), dt=DT).fit(counts, x)
    counts, _ = recording(n_bins, 2)
    # Silent neurons tell nothing, and places that were never visited have no prior: neither side reads them.
    given = (decoder.expected_, decoder.prior_, decoder.curves_.grid[decoder.visited_])
    seen = counts[:, decoder.used_]
    names = ("bayes_by_neuron", "bayes_by_bin", "bayes_by_product")
    loops = [lambda name=name: getattr(population_loops, name)(*given, seen) for name in names]
    (ours, told), *theirs = take_turns(rounds, lambda: decoder.predict(counts), *loops)
    what = f"Poisson–Bayes, {len(given[0])} neurons × {n_bins:,} bins × {len(given[2])} places"
    (by_neuron, truth), *others = theirs
    found = _against(what, ours, by_neuron, told, truth, BAR_LOOP)
    for name, (seconds, truth) in zip(("all neurons of a bin at once", "a matrix product a bin"), others, strict=True):
        assert np.abs(told - truth).max() < BAR_SAME
        found.append(row(f"population: the same against {name}", seconds, "s", seconds / ours))
    return found


def _against(
    what: str, ours: float, theirs: float, told: np.ndarray, truth: np.ndarray, bar: float
) -> list[dict[str, Any]]:
    return [
        row(f"population: {what}, the loop", theirs, "s"),
        row(f"population: {what}", ours, "s", theirs / ours, bar),
        row("population: its estimates, distance from the loop's", _apart(told, truth), "", bar=BAR_SAME, at_most=True),
    ]


def _optimal_linear(rounds: int, n_cells: int, n_samples: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n_samples, 2))
    along = np.exp(1j * rng.uniform(0, 2 * np.pi, n_cells))
    drive = x @ np.stack([along.real, along.imag]) + rng.uniform(-1, 1, n_cells)
    rates = 100 * np.maximum(drive, 0)

    def fit(solver: str) -> OptimalLinearDecoder:
        return OptimalLinearDecoder(solver=solver).fit(rates, x)

    (dual, a), (primal, b) = take_turns(rounds, lambda: fit("dual"), lambda: fit("primal"))
    what = f"optimal linear decoder, {n_cells:,} neurons, {n_samples:,} samples"
    same = _apart(a.coef_, b.coef_) / float(np.abs(b.coef_).max())
    return [
        row(f"population: {what}, primal", primal, "s"),
        row(f"population: {what}, dual", dual, "s", primal / dual, BAR_DUAL),
        row("population: dual less primal, of the largest weight", same, "", bar=BAR_SAME, at_most=True),
    ]


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
