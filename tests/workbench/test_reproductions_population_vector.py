"""Cosine cells, errors round the circle, and biases that were planted."""

import numpy as np
import pandas as pd
import pytest

from workbench.reproductions import population_vector as result


def test_counts_are_poisson_about_the_cosine():
    cells = result.CosineCells(np.array([0.0, 2.0]), np.array([20.0, 16.0]), np.array([20.0, 8.0]))
    counts = cells.counts(np.full(20_000, 1.0), np.random.default_rng(0))
    mean = 0.5 * np.array([20 + 20 * np.cos(1), 16 + 8 * np.cos(1)])
    np.testing.assert_allclose(counts.mean(0), mean, rtol=0.02)
    np.testing.assert_allclose(counts.var(0), mean, rtol=0.04)
    drawn = result.CosineCells.draw(500, 4.0, np.random.default_rng(0))
    assert (drawn.modulation <= drawn.baseline).all()
    assert np.cos(drawn.preferred).mean() > 0.8
    assert abs(np.cos(result.CosineCells.draw(500, 0.0, np.random.default_rng(0)).preferred).mean()) < 0.1


def test_differences_go_the_short_way_round():
    assert result.turned(np.array([6.2, -6.2, 0.1])) == pytest.approx([6.2 - 2 * np.pi, 2 * np.pi - 6.2, 0.1])


def test_the_mean_error_is_what_was_added_whatever_the_noise():
    direction = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    bias = 0.3 * np.sin(direction)
    noise = np.random.default_rng(0).normal(0, 0.2, (8, 4000))
    told = result.turned(direction[:, None] + bias[:, None] + noise)
    np.testing.assert_allclose(result.mean_error(told, direction), bias, atol=0.02)


def test_uneven_cells_bias_the_population_vector_towards_their_axis_and_not_the_optimal_estimator(monkeypatch):
    """Of cosine tuning less its baseline the vector is (Σ c cᵀ) x: it leans to the axis, whichever end is nearer."""
    monkeypatch.setattr(result, "N_REPEATS", 200)
    rng = np.random.default_rng(0)
    tables = result.biases_of(result.CosineCells.draw(128, 2.0, rng), rng)
    bias = pd.concat(tables).pivot_table(index="direction", columns="decoder", values="bias")
    lean = np.sin(2 * np.radians(bias.index.to_numpy()))
    between = np.abs(lean) > 0.4
    assert (-bias[result.VECTOR] * np.sign(lean))[between].min() > 1
    assert bias[result.VECTOR].abs().max() > 15
    assert bias[result.LINEAR].abs().max() < 4


def test_more_cells_make_a_smaller_error_and_shuffled_directions_say_nothing():
    rng = np.random.default_rng(0)
    few, many = result.errors_of(16, rng), result.errors_of(64, rng)
    assert many[result.VECTOR] < 0.8 * few[result.VECTOR]
    assert many[result.SHUFFLED] > 70


def table(power):
    names = [result.VECTOR, result.UNEVENLY, f"{result.LINEAR}, uneven directions", result.SHUFFLED]
    return pd.DataFrame(
        {"seed": seed, "n": n, "decoder": name, "error": 50 * n ** (power if seed else -0.5)}
        for seed in (0, 1)
        for n in result.SIZES
        for name in names
    )


@pytest.mark.parametrize(
    ("power", "left", "passed"), [(-0.45, 1.0, [True, True]), (-0.3, 1.0, [False, True]), (-0.5, 3.0, [True, False])]
)
def test_every_seed_must_reach_the_bars(power, left, passed):
    biased = pd.DataFrame(
        {"seed": seed, "decoder": name, "direction": direction, "bias": size}
        for seed in (0, 1)
        for direction in (0.0, 90.0)
        for name, size in ((result.VECTOR, -6.0), (result.LINEAR, left if seed else 1.0))
    )
    assert [row.passed for row in result.rows_of(table(power), biased) if row.bar] == passed
