"""The two errors of a population, and slopes of curves whose power is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.spiking import Population, PopulationConfig
from workbench.reproductions import nef_error_laws as result
from workbench.reproductions.error_curves import log_slope, over_seeds


def test_the_slope_is_the_power():
    n = np.array([4.0, 8, 64, 512])
    assert log_slope(n, 3 * n**-1.5) == pytest.approx(-1.5)


def test_seeds_become_their_median_and_ends_and_one_seed_has_none():
    lines = [("a", 8, seed, error, 0.5) for seed, error in enumerate((3.0, 1.0, 2.0))] + [("b", 8, 0, 7.0, 0.5)]
    found = pd.DataFrame(lines, columns=["decoder", "n", "seed", "error", "bound"])
    table = over_seeds(found).set_index("decoder")
    assert table.loc["a", ["error", "low", "high", "bound"]].tolist() == [2, 1, 3, 0.5]
    assert table.loc["b", "error"] == 7
    assert table.loc["b", ["low", "high"]].isna().all()
    assert "bound" not in over_seeds(found.drop(columns="bound"))


def test_noise_and_distortion_are_those_of_the_decoders_in_closed_form():
    """Least squares with noise, written out: D = (AᵀA + mσ²I)⁻¹Aᵀx, whose noise is σ²‖D‖²."""
    found = result.errors_of(32, seed=3)
    cells = PopulationConfig(n_neurons=32, neuron="lif_rate", max_rates=(100, 200), intercepts=(-0.95, 0.95))
    population = Population(cells, torch.float64)
    population.reset_parameters(torch.Generator().manual_seed(3))
    A, x = population.activities(population.points).numpy(), population.points.numpy()[:, 0]
    assert 90 < A.max(0).min() < A.max() <= 200
    sigma = 0.1 * A.max()
    D = np.linalg.solve(A.T @ A + len(x) * sigma**2 * np.eye(32), A.T @ x)
    assert found[result.NOISE] == pytest.approx(sigma**2 * (D**2).sum(), rel=0.03)
    assert found[result.DISTORTION] == pytest.approx(((A @ D - x) ** 2).mean(), rel=0.1)
    for control in (result.OF_SHUFFLED, result.DEALT):
        assert found[result.label(control)] > 100 * found[result.DISTORTION]


def test_a_seed_differs_from_another_and_is_itself_again():
    assert result.errors_of(8, 0) == result.errors_of(8, 0) != result.errors_of(8, 1)


def lines(noise, distortion):
    names = {result.NOISE: noise, result.DISTORTION: distortion}
    names |= {result.label(control): 0.0 for control in (result.OF_SHUFFLED, result.DEALT)}
    return pd.DataFrame(
        {"seed": seed, "n": n, "decoder": name, "error": n ** (power - 0.15 * seed)}
        for seed in (0, 1)
        for n in result.SIZES
        for name, power in names.items()
    )


@pytest.mark.parametrize(
    ("powers", "passed"), [((-1, -2), [True, True]), ((-1.1, -2.2), [False, True]), ((-0.9, -1.5), [True, False])]
)
def test_the_slope_of_every_seed_must_lie_within_the_bar(powers, passed):
    assert [row.passed for row in result.rows_of(lines(*powers)) if row.bar] == passed
