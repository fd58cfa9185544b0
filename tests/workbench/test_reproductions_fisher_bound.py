"""Tuned cells whose slopes and bound are known otherwise, and bars that every seed must reach."""

import numpy as np
import pandas as pd
import pytest

from probes.tuning import poisson_error_bound
from workbench.reproductions import fisher_bound as result


@pytest.fixture
def cells():
    return result.TunedCells.draw(40, np.random.default_rng(0))


def test_slopes_are_those_of_the_rates(cells):
    x, step = np.linspace(-3, 3, 11), 1e-6
    central = (cells.rates(x + step) - cells.rates(x - step)) / (2 * step)
    np.testing.assert_allclose(cells.slopes(x), central, rtol=1e-6, atol=1e-6)
    assert (cells.rates(x) > 0).all()


def test_the_bound_is_that_of_the_curves_and_falls_with_time(cells):
    curves = cells.curves(0.5)
    of_curves = poisson_error_bound(curves, 0.5)[:, 0]
    assert cells.bound(curves.centres[0], 0.5) == pytest.approx((of_curves**2).mean(), rel=1e-4)
    assert cells.bound(curves.centres[0], 2.0) == pytest.approx(cells.bound(curves.centres[0], 0.5) / 4)


def test_maximum_likelihood_reaches_the_bound_and_others_do_not(cells, monkeypatch):
    monkeypatch.setattr(result, "N_TESTED", 4000)
    monkeypatch.setattr(result, "N_BINS", 1200)
    found = result.errors_of(cells, 2.0, np.random.default_rng(1)).set_index("decoder")
    times = (found["error"] / found["bound"]) ** 2
    assert times[result.LIKELIHOOD] == pytest.approx(1, abs=0.1)
    assert times[result.VECTOR] > 1.3
    assert times[result.LINEAR] > 1.1
    assert found.loc[result.DEALT, "error"] > 60
    assert (found["bound"] == found["bound"].iloc[0]).all()


def lines(likelihood, linear):
    times = {result.LIKELIHOOD: likelihood, result.VECTOR: 3.0, result.LINEAR: linear, result.DEALT: 1000.0}
    return pd.DataFrame(
        {"seed": seed, "over": over, "n": n, "decoder": name, "bound": 2.0, "spikes": 400.0}
        | {"error": 2 * np.sqrt(value if seed else {result.LIKELIHOOD: 1.0, result.LINEAR: 1.3}.get(name, value))}
        for seed in (0, 1)
        for over, ns in ((result.CELLS, (8, 64, 128)), (result.TIME, (0.02, 0.5, 1.0)))
        for n in ns
        for name, value in times.items()
    )


@pytest.mark.parametrize(
    ("likelihood", "linear", "passed"),
    [(1.05, 1.3, [True] * 3), (1.15, 1.3, [False, True, True]), (0.95, 1.05, [True, True, False])],
)
def test_every_seed_must_reach_the_bars(likelihood, linear, passed):
    assert [row.passed for row in result.rows_of(lines(likelihood, linear)) if row.bar] == passed * 2


def test_where_spikes_are_few_nothing_is_asked():
    found = lines(1.0, 1.3)
    found.loc[found["n"].isin([8, 0.02]), "error"] *= 2
    assert all(row.passed for row in result.rows_of(found) if row.bar)
