"""What arrays over time have in common: circles, and times that only go forward."""

import numpy as np
import pytest

from probes.population import PopulationVector
from probes.series import wrapped
from probes.tuning import TuningCurves, direction_tuning, place_fields, tuning_curves


@pytest.mark.parametrize(("low", "period"), [(0.0, 2 * np.pi), (-np.pi, 2 * np.pi), (0.3, 1.0), (-180.0, 360.0)])
def test_what_goes_round_lies_in_its_range_up_to_the_last_digit(low, period):
    rng = np.random.default_rng(0)
    x = np.r_[rng.uniform(-9, 9, 500) * period, low - np.geomspace(1e-320, 1e-10, 50), low + period * np.arange(-3, 4)]
    found = wrapped(x, low, period)
    assert ((found >= low) & (found < low + period)).all()
    np.testing.assert_allclose(np.exp(2j * np.pi * found / period), np.exp(2j * np.pi * x / period), atol=1e-12)


def test_a_direction_a_hair_below_zero_is_zero_wherever_directions_are_told():
    """The remainder of −1e-17 is the period itself, which belongs to no range."""
    edges = np.linspace(0, 1, 9)
    rates = np.zeros((1, 8))
    rates[0, [0, 1, 6, 7]] = 5.0
    curves = TuningCurves(rates, np.ones(8), (edges,), (1.0,), 0.1)
    assert 0 <= direction_tuning(curves).preferred[0] < 1
    assert 0 <= place_fields(curves, min_bins=1)[0].centre[0] < 1
    x = np.r_[-1e-17, np.random.default_rng(0).uniform(0, 1, 200)]
    counts = np.random.default_rng(1).poisson(3 + 2 * np.cos(2 * np.pi * (x[:, None] - np.arange(4) / 4)))
    assert tuning_curves(counts, x, period=1.0, range=(0, 1), n_bins=4, dt=0.1).bins_of(x[:1])[0] == 0
    told = PopulationVector(period=1.0).fit(counts, np.abs(x)).predict(counts)
    assert ((told >= 0) & (told < 1)).all()
