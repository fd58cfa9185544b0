"""Maximum likelihood reaches the Cramér–Rao bound of a Poisson population; linear readings of it do not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from probes.population import PoissonBayes
from probes.population.base import Decoder
from probes.population.linear_estimator import OptimalLinearEstimator
from probes.population.population_vector import PopulationVector
from probes.tuning import TuningCurves, cramer_rao, poisson_information
from workbench.figures import error_against_bound
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.error_curves import over_seeds

TITLE = "Maximum likelihood reaches the Fisher bound"
PAPER = "Seung & Sompolinsky 1993 (PNAS 90:10749); Salinas & Abbott 1994 (J. Comput. Neurosci. 1:89)"

SIZES = (8, 16, 32, 64, 128, 256)
DURATIONS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SECONDS, N_CELLS = 0.5, 64
# Von Mises curves, each of its own: concentration, peak above the base and base in Hz.
CONCENTRATION, PEAK, BASE = (1.0, 4.0), (10.0, 40.0), (1.0, 5.0)
# So fine that the width of a bin is nothing beside the bound.
N_BINS = 2400
N_FITTED, N_TESTED = 4000, 20_000
PERIOD = 2 * np.pi
# Where there are spikes enough: from these on.
LEAST_CELLS, LEAST_SECONDS = 64, 0.5
WITHIN = 0.1
LIKELIHOOD, VECTOR, LINEAR = "maximum likelihood", "population vector", "optimal linear estimator"
DEALT = "maximum likelihood, cells dealt"
CELLS, TIME = "cells", "seconds"


def reproduce(bench: Bench) -> list[Row]:
    """Squared errors beside the bound, of more and more cells, and of some cells for longer and longer."""
    lines = []
    for seed in range(5 if bench.full else 1):
        rng = np.random.default_rng(seed)
        for n in SIZES:
            lines += (
                errors_of(TunedCells.draw(n, rng), SECONDS, rng).assign(seed=seed, over=CELLS, n=n).to_dict("records")
            )
        cells = TunedCells.draw(N_CELLS, rng)
        for duration in DURATIONS:
            lines += errors_of(cells, duration, rng).assign(seed=seed, over=TIME, n=duration).to_dict("records")
    found = pd.DataFrame(lines)
    bench.table("errors", found)
    for over, name, counted in ((CELLS, "error_against_neurons", "neurons"), (TIME, "error_against_time", "seconds")):
        curves = over_seeds(found[found["over"] == over])
        bench.table(name, curves, error_against_bound(curves, slope=-0.5, x_title=counted, y_title="error (degrees)"))
    return rows_of(found)


@dataclass(frozen=True)
class TunedCells:
    """Poisson neurons whose rate is `b + a exp(κ (cos(θ − φ) − 1))`, in Hz.

    Attributes:
        preferred: φ, in radians.
        concentration: κ.
        peak: a.
        base: b.
    """

    preferred: Float[np.ndarray, " neuron"]
    concentration: Float[np.ndarray, " neuron"]
    peak: Float[np.ndarray, " neuron"]
    base: Float[np.ndarray, " neuron"]

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> "TunedCells":
        """`n` cells, each unlike the others."""
        return cls(rng.uniform(-np.pi, np.pi, n), *(rng.uniform(*ends, n) for ends in (CONCENTRATION, PEAK, BASE)))

    def rates(self, direction: Float[np.ndarray, " trial"]) -> Float[np.ndarray, "trial neuron"]:
        """In Hz."""
        return self.base + self._bump(direction)

    def slopes(self, direction: Float[np.ndarray, " trial"]) -> Float[np.ndarray, "trial neuron"]:
        """Derivatives of the rates, in Hz per radian."""
        return -self.concentration * np.sin(direction[:, None] - self.preferred) * self._bump(direction)

    def counts(
        self, direction: Float[np.ndarray, " trial"], seconds: float, rng: np.random.Generator
    ) -> Int[np.ndarray, "trial neuron"]:
        """Spikes of each trial."""
        return rng.poisson(seconds * self.rates(direction))

    def curves(self, seconds: float) -> TuningCurves:
        """The rates as exactly known curves, for trials of so many seconds."""
        edges = np.linspace(-np.pi, np.pi, N_BINS + 1)
        rates = self.rates((edges[1:] + edges[:-1]) / 2).T
        # Hours in every bin: what a decoder adds to curves that were measured is nothing beside them.
        return TuningCurves(rates, np.full(N_BINS, 1e6), (edges,), (PERIOD,), seconds)

    def bound(self, direction: Float[np.ndarray, " trial"], seconds: float) -> float:
        """The Cramér–Rao bound on the squared error, the mean over directions."""
        rates, slopes = self.rates(direction).T, self.slopes(direction).T
        return float(cramer_rao(poisson_information(rates, slopes[None], seconds)).mean())

    def _bump(self, direction: Float[np.ndarray, " trial"]) -> Float[np.ndarray, "trial neuron"]:
        return self.peak * np.exp(self.concentration * (np.cos(direction[:, None] - self.preferred) - 1))


def errors_of(cells: TunedCells, seconds: float, rng: np.random.Generator) -> pd.DataFrame:
    """Root mean squared errors in degrees of each decoder on the same trials, beside the root of the bound.

    Maximum likelihood and the optimal linear estimator know the curves; the population vector is fitted to trials.
    """
    curves = cells.curves(seconds)
    fitted, tested = (rng.uniform(-np.pi, np.pi, n) for n in (N_FITTED, N_TESTED))
    counts = cells.counts(tested, seconds, rng)
    likelihood = PoissonBayes.from_curves(curves, prior="uniform", estimate="mode")
    readings: list[tuple[str, Decoder, np.ndarray]] = [
        (LIKELIHOOD, likelihood, counts),
        (VECTOR, PopulationVector(period=PERIOD).fit(cells.counts(fitted, seconds, rng), fitted), counts),
        (LINEAR, OptimalLinearEstimator.from_curves(curves), counts),
        (DEALT, likelihood, counts[:, rng.permutation(counts.shape[1])]),
    ]
    bound = np.degrees(np.sqrt(cells.bound(tested, seconds)))
    lines = []
    for name, decoder, told in readings:
        missed = np.angle(np.exp(1j * (decoder.predict(told) - tested)))
        error = float(np.degrees(np.sqrt((missed**2).mean())))
        lines.append({"decoder": name, "error": error, "bound": bound, "spikes": counts.sum(1).mean()})
    return pd.DataFrame(lines)


def rows_of(found: pd.DataFrame) -> list[Row]:
    """Squared errors over the bound: of maximum likelihood at every n with spikes enough, of the others at the last."""
    found = found.assign(times=(found["error"] / found["bound"]) ** 2)
    rows = []
    for over, least, unit in (
        (CELLS, LEAST_CELLS, f"cells, {SECONDS} s"),
        (TIME, LEAST_SECONDS, f"s, {N_CELLS} cells"),
    ):
        part = found[found["over"] == over]
        last = part[part["n"] == part["n"].max()]

        def at_last(name: str, column: str, last: pd.DataFrame = last) -> list[float]:
            return last.loc[last["decoder"] == name, column].tolist()

        enough = part[(part["decoder"] == LIKELIHOOD) & (part["n"] >= least)]
        likelihood, few = (
            enough["times"].tolist(),
            part[(part["decoder"] == LIKELIHOOD) & (part["n"] == part["n"].min())],
        )
        spikes = f"{enough['spikes'].min():.0f} spikes or more"
        others = {name: at_last(name, "times") for name in (VECTOR, LINEAR)}
        rows += [
            Row(
                f"maximum likelihood, {least:g} to {part['n'].max():g} {unit}, {spikes}: squared error over the "
                f"Cramér–Rao bound; {part['seed'].nunique()} seed(s)",
                "1 in the limit",
                f"{spread(likelihood, 2)}; with {few['n'].iloc[0]:g} {spread(few['times'].tolist(), 2)}; cells dealt "
                f"{spread(at_last(DEALT, 'times'), 0)}",
                f"1 ± {WITHIN} at each, in every seed",
                bool(np.abs(np.subtract(likelihood, 1)).max() <= WITHIN),
            ),
            *(
                Row(
                    f"{name}, {part['n'].max():g} {unit}: the same",
                    "above it",
                    spread(times, 2),
                    f"> {1 + WITHIN} in every seed",
                    bool(np.min(times) > 1 + WITHIN),
                )
                for name, times in others.items()
            ),
            Row(
                f"the bound with {part['n'].max():g} {unit}, and the errors, degrees",
                "",
                f"{spread(at_last(LIKELIHOOD, 'bound'), 2)}; "
                + ", ".join(f"{name} {spread(at_last(name, 'error'), 2)}" for name in (LIKELIHOOD, VECTOR, LINEAR)),
            ),
        ]
    return rows
