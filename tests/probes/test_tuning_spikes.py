"""Spikes in time become counts per bin: NumPy's histogram of each neuron, and times that cannot be."""

import numpy as np
import pytest
import torch

from probes.tuning import spike_counts, tuning_curves

EDGES = np.linspace(1, 9, 33)


def recording(seed=0, n=5000, neurons=7):
    rng = np.random.default_rng(seed)
    times = np.sort(np.r_[rng.uniform(0, 10, n), rng.choice(EDGES, 100)])  # some on an edge
    return times, rng.integers(0, neurons, len(times))


@pytest.mark.parametrize("edges", [EDGES, np.array([0.0, 0.1, 4.0, 4.5])])
def test_counts_are_numpys_histogram_of_each_neuron(edges):
    times, neurons = recording()
    found = spike_counts(times, neurons, edges, n_neurons=9)
    wanted = np.stack([np.histogram(times[neurons == k], edges)[0] for k in range(9)], axis=1)
    np.testing.assert_array_equal(found, wanted)
    assert found[:, :7].sum() > 100
    np.testing.assert_array_equal(spike_counts(times, neurons, edges), wanted[:, :7])
    tensors = torch.from_numpy(times), torch.from_numpy(neurons).short(), torch.from_numpy(edges)
    np.testing.assert_array_equal(spike_counts(*tensors), wanted[:, :7])


def test_a_silent_recording_has_counts_of_zero():
    counts = spike_counts(np.zeros(0), np.zeros(0, int), EDGES, n_neurons=3)
    np.testing.assert_array_equal(counts, np.zeros((32, 3)))


def test_rates_come_back_from_the_times_of_spikes():
    rng = np.random.default_rng(1)
    edges = np.linspace(0, 2000, 20_001)
    x = np.sin(0.3 * (edges[1:] + edges[:-1]) / 2)
    times = np.sort(rng.uniform(0, 2000, 50_000))  # 25 Hz
    where = np.sin(0.3 * times)
    fired = rng.uniform(0, 25, len(times)) < np.where(where > 0, 20, 5)
    rates = tuning_curves(
        spike_counts(times[fired], np.zeros(fired.sum(), int), edges), x, n_bins=2, range=(-1, 1), dt=0.1
    ).rates
    np.testing.assert_allclose(rates[0], [5, 20], rtol=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"spike_times": [1, 2, 1.5, 3]},
            "spike_times 2 of 4, 1.5, is earlier than the one before: time runs backwards",
        ),
        ({"spike_times": [-1, 2, 2, 3]}, "spike_times 0 of 4, -1, is below zero"),
        ({"spike_times": [1, 2, np.nan, 3]}, "spike_times 2 of 4, nan, is NaN or infinite"),
        ({"spike_times": [1, 2, 3, np.inf]}, "NaN or infinite"),
        ({"spike_times": np.ones((4, 1))}, "seconds, one after another"),
        ({"spike_times": ["a", "b", "c", "d"]}, "seconds, one after another"),
        ({"spike_neurons": [0, 1, 2]}, "each spike needs its neuron"),
        ({"spike_neurons": [0, 1, -1, 2]}, "whole numbers from zero"),
        ({"spike_neurons": [0, 1, 0.5, 2]}, "whole numbers from zero"),
        ({"n_neurons": 2}, "there are 2 neurons and the highest number is 2"),
        ({"edges": [0, 2, 1]}, "edges 2 of 3, 1, is earlier"),
        ({"edges": [0, 1, 1]}, "each later than the one before"),
        ({"edges": [1]}, "two times or more"),
        ({"edges": [0, np.nan, 1]}, "NaN or infinite"),
    ],
)
def test_times_that_cannot_be_are_refused_in_one_sentence(changed, message):
    given = {"spike_times": [0.5, 1, 1, 3], "spike_neurons": [0, 1, 2, 2], "edges": [0, 1, 2, 3]}
    assert spike_counts(**given).sum() == 4
    with pytest.raises(ValueError, match=message):
        spike_counts(**(given | changed))
