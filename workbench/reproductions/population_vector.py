"""The population vector: its error falls as one over the root of its size, and uneven directions bias it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from probes.population.base import Decoder
from probes.population.linear_estimator import OptimalLinearEstimator
from probes.population.population_vector import PopulationVector
from workbench.figures import error_against_bound
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.error_curves import log_slope, over_seeds

TITLE = "The population vector, its error and its bias"
PAPER = "Georgopoulos, Schwartz & Kettner 1986 (Science 233:1416); Salinas & Abbott 1994 (J. Comput. Neurosci. 1:89)"

SIZES = (8, 16, 32, 64, 128, 256, 512)
# Where a few cells happen to lie differs: one number of a seed is over so many populations of each size.
N_POPULATIONS = 10
N_FITTED, N_TESTED = 1000, 1000
SECONDS = 0.5
BASELINE, DEPTH = (15.0, 25.0), (0.5, 1.0)
# Preferred directions: von Mises about 0, of this concentration; 0 spreads them evenly.
EVEN, UNEVEN = 0.0, 2.0
N_BIASED, N_BIAS_FITTED, N_DIRECTIONS, N_REPEATS = 128, 4000, 24, 1000
PERIOD = 2 * np.pi
SLOPE, WITHIN, TIMES = -0.5, 0.1, 3.0
VECTOR, LINEAR, SHUFFLED = "population vector", "optimal linear estimator", "population vector, shuffled directions"
UNEVENLY = f"{VECTOR}, uneven directions"


def reproduce(bench: Bench) -> list[Row]:
    """Errors against the size, with even and with uneven preferred directions; the bias of both decoders."""
    errors, biases = [], []
    for seed in range(5 if bench.full else 1):
        rng = np.random.default_rng(seed)
        for n in SIZES:
            measured = [errors_of(n, rng) for _ in range(N_POPULATIONS)]
            means = pd.DataFrame(measured).mean().items()
            errors += [{"seed": seed, "n": n, "decoder": name, "error": error} for name, error in means]
        biases += [bias.assign(seed=seed) for bias in biases_of(CosineCells.draw(N_BIASED, UNEVEN, rng), rng)]
    found, biased = pd.DataFrame(errors), pd.concat(biases, ignore_index=True)
    bench.table("errors", found)
    curves = over_seeds(found)
    bench.table("error_against_neurons", curves, error_against_bound(curves, slope=-0.5, y_title="error (degrees)"))
    bench.table("bias", biased)
    return rows_of(found, biased)


@dataclass(frozen=True)
class CosineCells:
    """Poisson neurons whose rate is `b + m cos(θ − φ)` (Georgopoulos et al. 1982), in Hz.

    Attributes:
        preferred: φ, in radians.
        baseline: b.
        modulation: m, at most b.
    """

    preferred: Float[np.ndarray, " neuron"]
    baseline: Float[np.ndarray, " neuron"]
    modulation: Float[np.ndarray, " neuron"]

    @classmethod
    def draw(cls, n: int, concentration: float, rng: np.random.Generator) -> "CosineCells":
        """`n` cells; the higher the concentration, the more of them prefer directions near 0."""
        baseline = rng.uniform(*BASELINE, n)
        return cls(rng.vonmises(0, concentration, n), baseline, baseline * rng.uniform(*DEPTH, n))

    def counts(
        self, direction: Float[np.ndarray, " trial"], rng: np.random.Generator
    ) -> Int[np.ndarray, "trial neuron"]:
        """Spikes in `SECONDS` of each trial."""
        rates = self.baseline + self.modulation * np.cos(direction[:, None] - self.preferred)
        return rng.poisson(SECONDS * rates)


def errors_of(n: int, rng: np.random.Generator) -> dict[str, float]:
    """Root mean squared errors (degrees) of a population of each kind, fitted to some trials and tested on others."""
    even, uneven = CosineCells.draw(n, EVEN, rng), CosineCells.draw(n, UNEVEN, rng)
    made = {
        VECTOR: (even, PopulationVector(period=PERIOD)),
        UNEVENLY: (uneven, PopulationVector(period=PERIOD)),
        f"{LINEAR}, uneven directions": (uneven, OptimalLinearEstimator(N_DIRECTIONS, period=PERIOD)),
        SHUFFLED: (even, PopulationVector(period=PERIOD, level=1.0)),
    }
    found = {}
    for name, (cells, decoder) in made.items():
        fitted, tested = rng.uniform(-np.pi, np.pi, N_FITTED), rng.uniform(-np.pi, np.pi, N_TESTED)
        told = rng.permutation(fitted) if name == SHUFFLED else fitted
        decoder.fit(cells.counts(fitted, rng), told)
        missed = turned(decoder.predict(cells.counts(tested, rng)) - tested)
        found[name] = float(np.degrees(np.sqrt((missed**2).mean())))
    return found


def biases_of(cells: CosineCells, rng: np.random.Generator) -> list[pd.DataFrame]:
    """The bias of both decoders at each direction, fitted to the same trials and tested on the same others."""
    fitted = rng.uniform(-np.pi, np.pi, N_BIAS_FITTED)
    counts = cells.counts(fitted, rng)
    direction = np.linspace(-np.pi, np.pi, N_DIRECTIONS, endpoint=False)
    tested = np.repeat(direction, N_REPEATS)
    new = cells.counts(tested, rng)
    decoders: dict[str, Decoder] = {
        VECTOR: PopulationVector(period=PERIOD),
        LINEAR: OptimalLinearEstimator(N_DIRECTIONS, period=PERIOD),
    }
    tables = []
    for name, decoder in decoders.items():
        told = decoder.fit(counts, fitted).predict(new).reshape(N_DIRECTIONS, N_REPEATS)
        bias = mean_error(told, direction)
        tables.append(pd.DataFrame({"decoder": name, "direction": np.degrees(direction), "bias": np.degrees(bias)}))
    return tables


def mean_error(
    told: Float[np.ndarray, "direction trial"], direction: Float[np.ndarray, " direction"]
) -> Float[np.ndarray, " direction"]:
    """The direction of the mean of unit vectors that were told, less the true one; radians."""
    return np.angle(np.exp(1j * (told - direction[:, None])).mean(1))


def turned(angle: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Differences of directions, from −π to π."""
    return np.angle(np.exp(1j * angle))


def rows_of(found: pd.DataFrame, biased: pd.DataFrame) -> list[Row]:
    """The slope with even directions; the bias with uneven ones, and what is left of it."""

    def slopes(name: str) -> list[float]:
        return [log_slope(one["n"], one["error"]) for _, one in found[found["decoder"] == name].groupby("seed")]

    def largest(name: str) -> list[float]:
        return found.loc[(found["decoder"] == name) & (found["n"] == SIZES[-1]), "error"].tolist()

    size = biased.assign(square=biased["bias"] ** 2).groupby(["decoder", "seed"])["square"].mean() ** 0.5
    vector, linear = size[VECTOR], size[LINEAR]
    fewer = (vector / linear).tolist()
    even = slopes(VECTOR)
    others = ", ".join(f"{name} {spread(largest(name), 2)}" for name in found["decoder"].unique() if name != VECTOR)
    return [
        Row(
            f"population vector, even directions, {SIZES[0]} to {SIZES[-1]} cosine cells: slope of the error on both "
            f"logarithms; {len(even)} seed(s) of {N_POPULATIONS} populations",
            "∝ N^−½",
            f"{spread(even, 2)}; uneven directions {spread(slopes(UNEVENLY), 2)}; "
            f"shuffled directions {spread(slopes(SHUFFLED), 2)}",
            f"−{-SLOPE} ± {WITHIN} in every seed",
            bool(np.abs(np.subtract(even, SLOPE)).max() <= WITHIN),
        ),
        Row(
            f"error with {SIZES[-1]} cells, degrees",
            "",
            f"{spread(largest(VECTOR), 2)}; {others}; chance {180 / np.sqrt(3):.0f}",
        ),
        Row(
            f"bias with uneven directions, {N_BIASED} cells, root mean square over {N_DIRECTIONS} directions, degrees",
            "the population vector is biased",
            f"{VECTOR} {spread(vector.tolist(), 2)}; {LINEAR} {spread(linear.tolist(), 2)}",
        ),
        Row(
            "the same: population vector's, times the optimal linear estimator's",
            "the optimal linear estimator corrects it",
            spread(fewer, 1),
            f"≥ {TIMES:.0f} in every seed",
            bool(np.min(fewer) >= TIMES),
        ),
    ]
