"""Decoders on units that say where a walker is, on units that say nothing, and the bound of simulated cells."""

import numpy as np
import pytest

from models.tasks.navigation import Navigation
from models.tuned import TunedPopulation, TunedPopulationConfig
from workbench.reproductions.path_integration import (
    HEADING,
    POSITION,
    Recording,
    bound_of,
    decoded,
    map_scores,
    of_cells,
    other_walks,
)

TASK = Navigation(n_steps=20)


@pytest.fixture(scope="module")
def walks():
    return TASK.dataset(60, 30, seed=0)


@pytest.fixture(scope="module")
def cells():
    return TunedPopulation(TunedPopulationConfig(kind="place", n_neurons=40, max_rate=100.0, width=0.4))


def test_units_that_say_it_are_decoded_and_walks_of_others_are_not(walks, cells):
    said = of_cells(cells, walks)
    truth = said.truth
    values = np.concatenate([truth[POSITION], np.cos(truth[HEADING]), np.sin(truth[HEADING])], 1)
    found = decoded(said._replace(values=values), ("optimal_linear", "wiener"), TASK.dt, 0, n_shuffles=1)
    own = found[found["variant"] == "decoder"]
    assert (own["r2"] > 0.99).all()
    assert (own["distance"] < 0.1).all()
    assert (found.loc[found["variant"] == "shuffled", "r2"] < 0.3).all()
    mean = found[found["variant"] == "mean"].set_index("variable")
    assert -0.5 < mean.loc[POSITION, "r2"] <= 0
    assert mean.loc[POSITION, "distance"] > 0.2 * TASK.side


def test_spikes_are_decoded_about_as_well_as_their_bound(walks, cells):
    made = of_cells(cells, walks)
    assert made.values.shape == (1800, 40)
    assert made.held_out.sum() == 600
    found = decoded(made, ("poisson_bayes",), TASK.dt, 0, n_shuffles=0).set_index(["variable", "variant"])
    bound = bound_of(cells, made, TASK.dt)
    assert 0.3 * bound < found.loc[(POSITION, "decoder"), "rms"] < 4 * bound
    more = TunedPopulation(TunedPopulationConfig(kind="place", n_neurons=40, max_rate=400.0, background=0.4, width=0.4))
    assert bound_of(more, made, TASK.dt) == pytest.approx(bound / 2, rel=1e-4)


def test_other_walks_are_whole_walks_of_the_same_split(walks, cells):
    made = of_cells(cells, walks)
    place = made.truth[POSITION]
    other = other_walks(place, made.walk, made.held_out, np.random.default_rng(0))
    for rows in (made.held_out, ~made.held_out):
        mine, theirs = (values[rows].reshape(-1, 20, 2) for values in (place, other))
        known = {walk.tobytes(): i for i, walk in enumerate(mine)}
        source = [known[walk.tobytes()] for walk in theirs]
        assert sorted(source) == list(range(len(mine)))
        assert all(i != j for i, j in enumerate(source))


def test_maps_of_place_cells_hold_information_and_noise_holds_none(walks, cells):
    made = of_cells(cells, walks)
    noise = np.random.default_rng(0).random((len(made.values), 10))
    both = Recording(np.concatenate([made.values[:, :10], noise], 1), made.truth, made.walk, made.held_out)
    found = map_scores(both, TASK, seed=0, n_shuffles=20)
    above = found["information"] > found["information_95"]
    assert above[:10].mean() > 0.8
    assert above[10:].mean() < 0.4
