"""Which unit follows a count, against numpy and where the answer is planted."""

import numpy as np
import pytest

from models.tasks.dyck import Dyck
from workbench.reproductions.dyck_depth import best_counter, correlations, longer


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_correlations_are_numpy_s(rng):
    values, count = rng.normal(size=(40, 3)), rng.integers(0, 5, size=40)
    expected = [np.corrcoef(column, count)[0, 1] for column in values.T]
    np.testing.assert_allclose(correlations(values, count), expected)


def test_a_unit_that_never_changes_follows_nothing(rng):
    values = np.stack([np.full(20, 3.0), rng.normal(size=20)], axis=1)
    assert correlations(values, rng.normal(size=20))[0] == 0


def test_the_planted_counter_is_found_whatever_its_sign_and_scale(rng):
    count = rng.integers(0, 9, size=200)
    values = rng.normal(size=(200, 5))
    values[:, 3] = 7 - 0.1 * count
    found = best_counter(values, count, np.arange(200) < 100)
    assert found.unit == 3
    assert found.r == pytest.approx(-1)


def test_a_unit_that_fits_by_chance_is_judged_on_other_rows(rng):
    count = rng.normal(size=400)
    values = rng.normal(size=(400, 2))
    chosen_on = np.arange(400) < 200
    values[chosen_on, 1] = count[chosen_on]
    found = best_counter(values, count, chosen_on)
    assert found.unit == 1
    assert abs(found.r) < 0.3


def test_longer_strings_are_of_the_same_brackets_and_may_nest_deeper():
    task = longer(Dyck(n_types=2, max_depth=5, p_open=0.6), 100, 200)
    assert (task.n_types, task.p_open, task.min_length, task.max_length, task.max_depth) == (2, 0.6, 100, 200, 100)
