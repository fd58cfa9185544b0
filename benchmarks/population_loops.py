"""The plain loops that the field's scripts use, a time bin or a step at a time: the peers of `benchmarks.population`.

Written from the formulas, with what can be had before the loop taken out of it.
"""

import numpy as np
from jaxtyping import Float

Counts = Float[np.ndarray, "bin neuron"]


def kalman(
    A: Float[np.ndarray, "k k"],
    W: Float[np.ndarray, "k k"],
    H: Float[np.ndarray, "neuron k"],
    Q: Float[np.ndarray, "neuron neuron"],
    start: Float[np.ndarray, "k k"],
    counts: Counts,
) -> Float[np.ndarray, "bin k"]:
    """A Kalman filter as it is written in textbooks (Wu et al. 2003): every bin inverts neurons × neurons.

    States and counts are less their means; the first bin is measured from the covariance `start` about the mean.
    """
    x, before = np.zeros(len(A)), start
    found = np.empty((len(counts), len(A)))
    for t, z in enumerate(counts):
        gain = before @ H.T @ np.linalg.inv(H @ before @ H.T + Q)
        x = x + gain @ (z - H @ x)
        found[t] = x
        after = before - gain @ H @ before
        x, before = A @ x, A @ after @ A.T + W
    return found


def bayes_by_neuron(
    expected: Float[np.ndarray, "neuron grid"],
    prior: Float[np.ndarray, " grid"],
    grid: Float[np.ndarray, "grid d"],
    counts: Counts,
) -> Float[np.ndarray, "bin d"]:
    """The posterior's mean bin by bin and neuron by neuron, all places at once: the script of Glaser et al. (2020).

    Theirs multiplies probabilities; this adds logarithms, which are taken before, and leaves out the factorial.
    """
    logs, start = np.log(expected), np.log(prior)
    found = np.empty((len(counts), grid.shape[1]))
    for t, n in enumerate(counts):
        score = start.copy()
        for i in range(len(expected)):
            score += n[i] * logs[i] - expected[i]
        p = np.exp(score - score.max())
        found[t] = p @ grid / p.sum()
    return found


def bayes_by_bin(
    expected: Float[np.ndarray, "neuron grid"],
    prior: Float[np.ndarray, " grid"],
    grid: Float[np.ndarray, "grid d"],
    counts: Counts,
) -> Float[np.ndarray, "bin d"]:
    """The same with all neurons and places at once: probabilities of neuron × place, added over neurons."""
    logs, start = np.log(expected), np.log(prior)
    found = np.empty((len(counts), grid.shape[1]))
    for t, n in enumerate(counts):
        score = (n[:, None] * logs - expected).sum(0) + start
        p = np.exp(score - score.max())
        found[t] = p @ grid / p.sum()
    return found


def bayes_by_product(
    expected: Float[np.ndarray, "neuron grid"],
    prior: Float[np.ndarray, " grid"],
    grid: Float[np.ndarray, "grid d"],
    counts: Counts,
) -> Float[np.ndarray, "bin d"]:
    """The same as a matrix product a bin: as fast as a loop over bins can be."""
    logs, start = np.log(expected), np.log(prior) - expected.sum(0)
    found = np.empty((len(counts), grid.shape[1]))
    for t, n in enumerate(counts):
        score = n @ logs + start
        p = np.exp(score - score.max())
        found[t] = p @ grid / p.sum()
    return found


def lif_recurrent(
    told: Float[np.ndarray, "step d"],
    encoders: Float[np.ndarray, "neuron d"],
    bias: Float[np.ndarray, " neuron"],
    voltage: Float[np.ndarray, " neuron"],
    again: Float[np.ndarray, "neuron d"],
    readout: Float[np.ndarray, "neuron d"],
    *,
    tau: float,
    tau_read: float,
    tau_rc: float,
    tau_ref: float,
    dt: float,
) -> tuple[Float[np.ndarray, "step d"], int]:
    """Spiking LIF cells that hear themselves, step by step from the formulas, in double precision.

    Args:
        told: what the input says, before its synapse.
        encoders: with gains, over the radius.
        bias: of each cell.
        voltage: at the start.
        again: decoders of the recurrent connection, per Hz.
        readout: decoders of what is read, per Hz.
        tau: of the recurrent and the input synapse; tau_read: of the one that is read through. Seconds.
        tau_rc, tau_ref, dt: of the cells and the step, in seconds.

    Returns:
        What is read at each step, and the number of spikes.
    """
    keep, keep_read = np.exp(-dt / tau), np.exp(-dt / tau_read)
    refractory = np.zeros_like(voltage)
    heard, entered, read = np.zeros(again.shape[1]), np.zeros(told.shape[1]), np.zeros(readout.shape[1])
    found, n_spikes = np.empty((len(told), readout.shape[1])), 0
    for t, u in enumerate(told):
        entered = keep * entered + (1 - keep) * u
        current = encoders @ (entered + heard) + bias
        refractory = refractory - dt
        free = np.clip(-refractory, 0, dt)
        voltage = np.maximum(current + (voltage - current) * np.exp(-free / tau_rc), 0)
        fired = voltage > 1
        ago = -tau_rc * np.log1p(-(voltage[fired] - 1) / (current[fired] - 1))
        refractory[fired] = tau_ref - ago
        voltage[fired] = 0
        n_spikes += int(fired.sum())
        heard = keep * heard + (1 - keep) * again[fired].sum(0) / dt
        read = keep_read * read + (1 - keep_read) * readout[fired].sum(0) / dt
        found[t] = read
    return found, n_spikes
