"""How the error of what a population represents falls with its size: once for noise, twice for distortion."""

import numpy as np
import pandas as pd
import torch

from models.spiking import Population, PopulationConfig
from probes.population import OptimalLinearDecoder
from workbench.figures import error_against_bound
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.error_curves import log_slope, over_seeds

TITLE = "Populations represent with an error that falls with their size"
PAPER = "Eliasmith & Anderson 2003, Neural Engineering (MIT Press), chapter 2"

SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
# Cells differ, small populations most: one number of a seed is the mean over so many populations.
N_POPULATIONS = 20
SIGMA = 0.1
N_TESTED = 1000
NOISE, DISTORTION = "noise", "distortion"
# The decoders, and what they are held against: those of other points, and the same ones dealt to other cells.
SOLVED, OF_SHUFFLED, DEALT = "solved", "of shuffled points", "dealt to other cells"
SLOPES = {NOISE: (-1.0, 0.2, "∝ 1/N"), DISTORTION: (-2.0, 0.4, "∝ 1/N²")}


def reproduce(bench: Bench) -> list[Row]:
    """Measure both errors of populations of each size, with the decoders that are best and with the controls."""
    lines = []
    for seed in range(5 if bench.full else 1):
        for n in SIZES:
            parts = [errors_of(n, seed * N_POPULATIONS + part) for part in range(N_POPULATIONS)]
            means = pd.DataFrame(parts).mean().items()
            lines += [{"seed": seed, "n": n, "decoder": name, "error": error} for name, error in means]
    found = pd.DataFrame(lines)
    bench.table("errors", found)
    curves = over_seeds(found)
    bench.table("error_against_neurons", curves, error_against_bound(curves, slope=-1, y_title="squared error"))
    return rows_of(found)


def errors_of(n: int, seed: int) -> dict[str, float]:
    """Squared errors of one population of n LIF cells at points between those at which it was measured.

    Distortion is the error without noise. Noise is what Gaussian noise on the rates, of σ a tenth of the largest, adds
    to the decoded value.
    """
    cells = PopulationConfig(n_neurons=n, neuron="lif_rate", max_rates=(100, 200), intercepts=(-0.95, 0.95))
    population = Population(cells, torch.float64)
    population.reset_parameters(torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    x, tested = population.points.numpy()[:, 0], np.linspace(-1, 1, N_TESTED)
    rates = population.activities(population.points).numpy()
    new = population.activities(torch.from_numpy(tested)[:, None]).numpy()
    solved = OptimalLinearDecoder(SIGMA).fit(rates, x).coef_
    decoders = {
        SOLVED: solved,
        OF_SHUFFLED: OptimalLinearDecoder(SIGMA).fit(rates, rng.permutation(x)).coef_,
        DEALT: rng.permutation(solved),
    }
    noise = SIGMA * rates.max() * rng.standard_normal(new.shape)
    found = {NOISE: float(((noise @ solved) ** 2).mean())}
    for name, decoder in decoders.items():
        found[label(name)] = float(((new @ decoder - tested) ** 2).mean())
    return found


def label(decoders: str) -> str:
    """The name of a distortion."""
    return DISTORTION if decoders == SOLVED else f"{DISTORTION}, decoders {decoders}"


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The two slopes; what is left at the largest size."""

    def slopes(name: str) -> list[float]:
        return [log_slope(one["n"], one["error"]) for _, one in found[found["decoder"] == name].groupby("seed")]

    def largest(name: str) -> list[float]:
        return found.loc[(found["decoder"] == name) & (found["n"] == SIZES[-1]), "error"].tolist()

    controls = {name: slopes(label(name)) for name in (OF_SHUFFLED, DEALT)}
    without = "; ".join(f"decoders {name} {spread(values, 2)}" for name, values in controls.items())
    rows = []
    for name, (goal, within, law) in SLOPES.items():
        values = slopes(name)
        rows.append(
            Row(
                f"squared error by {name}, {SIZES[0]} to {SIZES[-1]} LIF cells: slope on both logarithms; "
                f"{len(values)} seed(s) of {N_POPULATIONS} populations",
                law,
                spread(values, 2) + (f"; {without}" if name == DISTORTION else ""),
                f"−{-goal:.0f} ± {within} in every seed",
                bool(np.abs(np.subtract(values, goal)).max() <= within),
            )
        )
    left = {name: spread(np.log10(largest(name)).tolist(), 2) for name in (NOISE, DISTORTION, *map(label, controls))}
    others = ", ".join(f"decoders {name} {left[label(name)]}" for name in controls)
    return [
        *rows,
        Row(
            f"log₁₀ of the squared error with {SIZES[-1]} cells: {NOISE}, {DISTORTION}",
            "",
            f"{left[NOISE]}, {left[DISTORTION]}; {others}",
        ),
    ]
