"""From times of spikes to the counts per time bin that curves and decoders take."""

from typing import Any

import numpy as np
from jaxtyping import Int

from probes.base import as_numpy
from probes.series import refuse_times_that_turn


def spike_counts(
    spike_times: Any, spike_neurons: Any, edges: Any, *, n_neurons: int | None = None
) -> Int[np.ndarray, "bin neuron"]:
    """How often each neuron fired in each bin of time.

    A bin takes in its left edge and the last one its right edge too, as NumPy's `histogram` has it. Spikes before the
    first edge and after the last are left out.

    Args:
        spike_times: of all neurons together, in the order of time, in seconds from the start of the recording [spike].
        spike_neurons: which neuron fired each, numbered from zero [spike].
        edges: of the bins [bins + 1], in the same seconds; equally wide where they are for curves or decoders.
        n_neurons: where None, as many as the highest number tells of: give it where the last ones may be silent.

    Raises:
        ValueError: times that run backwards, are negative or not finite, edges that do not rise, or neurons that do
            not fit.
    """
    times = refuse_times_that_turn(spike_times, "spike_times")
    edges = refuse_times_that_turn(edges, "edges")
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("edges must be two times or more, each later than the one before.")
    neurons = as_numpy(spike_neurons)
    if neurons.shape != times.shape:
        raise ValueError(
            f"spike_times are {times.shape} and spike_neurons {neurons.shape}: each spike needs its neuron."
        )
    if len(neurons) and (neurons.dtype.kind not in "iu" or neurons.min() < 0):
        raise ValueError(
            "spike_neurons must be whole numbers from zero; `np.unique(names, return_inverse=True)` numbers names."
        )
    highest = int(neurons.max(initial=-1))
    n = highest + 1 if n_neurons is None else n_neurons
    if n < max(1, highest + 1):
        raise ValueError(f"there are {n} neurons and the highest number is {highest}: numbers count from zero.")
    inside = (times >= edges[0]) & (times <= edges[-1])
    of = np.searchsorted(edges[:-1], times[inside], side="right") - 1
    cell = of * n + neurons[inside].astype(np.int64)
    return np.bincount(cell, minlength=(len(edges) - 1) * n).reshape(len(edges) - 1, n)
