"""What is common to neurons: signal and noise correlations, and how much counts vary from trial to trial."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from probes.base import as_numpy
from probes.tuning.bins import as_variable
from probes.tuning.curves import TuningCurves


def signal_correlations(curves: TuningCurves) -> Float[np.ndarray, "neuron neuron"]:
    """Pearson's correlation of each pair's curves over the visited bins; NaN of a flat curve."""
    return _correlations(curves.flat[:, curves.visited.ravel()].T)


def noise_correlations(X: Any, stimulus: Any) -> Float[np.ndarray, "neuron neuron"]:
    """The correlation of each pair's responses to one and the same stimulus, from trial to trial.

    Responses are less their mean over the trials of the stimulus, over their standard deviation there, so that neither
    tuning nor a variance that follows the mean passes for correlation; all trials then count alike. Cohen and Kohn,
    "Measuring and interpreting neuronal correlations" (2011).

    Args:
        X: responses [trials, neurons].
        stimulus: of each trial [trials]: labels of any kind, or the bins of a variable (`curves.bins_of(x)`).

    Returns:
        NaN of a neuron that never varies within a stimulus.

    Raises:
        ValueError: lengths that differ, or no stimulus with two trials.
    """
    responses, of = _trials(X, stimulus)
    z, kept = np.zeros_like(responses), np.zeros(len(responses), bool)
    for number in range(of.max() + 1):
        own = of == number
        if own.sum() < 2:
            continue
        deviation = responses[own] - responses[own].mean(0)
        spread = deviation.std(0, ddof=1)
        z[own] = np.divide(deviation, spread, out=np.zeros_like(deviation), where=spread > 0)
        kept |= own
    # The means are zero stimulus by stimulus.
    return _normalised(z[kept].T @ z[kept])


def fano_factors(X: Any, stimulus: Any) -> Float[np.ndarray, "stimulus neuron"]:
    """Variance over mean of each neuron's counts, stimulus by stimulus in order; 1 for Poisson neurons.

    NaN where a neuron never fires, or a stimulus has one trial.

    Args:
        X: counts [trials, neurons].
        stimulus: of each trial [trials].
    """
    counts, of = _trials(X, stimulus)
    if (counts < 0).any():
        raise ValueError("counts are negative: Fano factors are of counts of zero and above.")
    found = np.full((of.max() + 1, counts.shape[1]), np.nan)
    for number, row in enumerate(found):
        own = counts[of == number]
        if len(own) > 1:
            np.divide(own.var(0, ddof=1), own.mean(0), out=row, where=own.mean(0) > 0)
    return found


def _trials(X: Any, stimulus: Any) -> tuple[Float[np.ndarray, "n neuron"], Int[np.ndarray, " n"]]:
    responses, labels = as_variable(X, "X"), as_numpy(stimulus)
    if labels.shape != (len(responses),):
        raise ValueError(
            f"X has {len(responses)} trials and stimulus the shape {labels.shape}: each needs its stimulus."
        )
    of = np.unique(labels, return_inverse=True)[1]
    if np.bincount(of).max() < 2:
        raise ValueError("no stimulus has two trials: what varies from trial to trial cannot be told.")
    return responses, of


def _correlations(values: Float[np.ndarray, "n neuron"]) -> Float[np.ndarray, "neuron neuron"]:
    deviation = values - values.mean(0)
    # What is left of a constant is rounding.
    deviation[:, np.ptp(values, axis=0) == 0] = 0
    return _normalised(deviation.T @ deviation)


def _normalised(products: Float[np.ndarray, "neuron neuron"]) -> Float[np.ndarray, "neuron neuron"]:
    size = np.sqrt(np.diag(products))
    size = np.where(size > 0, size, np.nan)
    return (products / size[:, None] / size[None, :]).clip(-1, 1)
