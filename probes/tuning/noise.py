"""From trial to trial: signal and noise correlations, how much counts vary, and how much of it could be explained."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import gammaln, hyp2f1

from probes.base import as_numpy
from probes.tuning.bins import as_variable
from probes.tuning.curves import TuningCurves

# True correlations between which those of few trials are interpolated.
N_TABLE = 2001
# Degrees of freedom beyond which the first term of the mean correlation's series is exact to four digits.
MANY = 50


def signal_correlations(curves: TuningCurves) -> Float[np.ndarray, "neuron neuron"]:
    """Pearson's correlation of each pair's curves over the visited bins; NaN of a flat curve.

    Raises:
        ValueError: no bin in which every neuron has a rate.
    """
    if not curves.visited.any():
        raise ValueError("no bin has a rate of every neuron: there is nothing over which curves could go together.")
    values = curves.flat[:, curves.visited.ravel()].T
    deviation = values - values.mean(0)
    # What is left of a constant is rounding.
    deviation[:, np.ptp(values, axis=0) == 0] = 0
    size = np.linalg.norm(deviation, axis=0)
    z = np.divide(deviation, size, out=np.full(deviation.shape, np.nan), where=size > 0)
    return (z.T @ z).clip(-1, 1)


def noise_correlations(X: Any, stimulus: Any) -> Float[np.ndarray, "neuron neuron"]:
    """The correlation of each pair's responses to one and the same stimulus, from trial to trial.

    Responses are less their mean over the trials of the stimulus, over their standard deviation there, so that neither
    tuning nor a variance that follows the mean has a say: what comes out is the mean of the correlations within single
    stimuli, by their degrees of freedom (Cohen and Kohn, "Measuring and interpreting neuronal correlations", 2011).
    Correlations of few trials are too small, those of two (1 or −1) on average 2/π arcsin ρ: the correlation is given
    of which Gaussian responses have such a mean (Hotelling, "New light on the correlation coefficient and its
    transforms", 1953). A stimulus in which one of a pair never varies tells nothing of the pair and counts nowhere;
    where most counts are zero, stimuli of fewer than five trials are then told of their coincidences only, and the
    correlation is too large.

    Args:
        X: responses [trials, neurons].
        stimulus: of each trial [trials]: labels of any kind, or the bins of a variable (`curves.bins_of(x)`).

    Returns:
        NaN of a pair that never varies within the same stimulus.

    Raises:
        ValueError: lengths that differ, or no stimulus with two trials.
    """
    trials = _Trials.of(X, stimulus)
    freedom = trials.number - 1.0
    squares = trials.sums(trials.deviation**2)
    per_spread = np.sqrt(np.divide(freedom[:, None], squares, out=np.zeros_like(squares), where=squares > 0))
    z = trials.deviation * np.repeat(per_spread, trials.number, axis=0)
    weighted = trials.varies * np.sqrt(freedom)[:, None]
    shared = weighted.T @ weighted
    mean = np.divide(z.T @ z, shared, out=np.full(shared.shape, np.nan), where=shared > 0)
    true = np.sin(np.linspace(-np.pi / 2, np.pi / 2, N_TABLE))
    return np.interp(mean, _mean_correlation(true, freedom), true)


def _mean_correlation(
    true: Float[np.ndarray, " table"], freedom: Float[np.ndarray, " stimulus"]
) -> Float[np.ndarray, " table"]:
    """What correlations of Gaussian samples are on average, by the true one and their degrees of freedom."""
    found = np.zeros_like(true)
    for one, number in zip(*np.unique(freedom, return_counts=True), strict=True):
        if one > MANY:
            share = 1 - (1 - true**2) / (2 * one)
        else:
            size = 2 / one * np.exp(2 * (gammaln((one + 1) / 2) - gammaln(one / 2)))
            share = size * hyp2f1(0.5, 0.5, one / 2 + 1, true**2)
        found += number * one * share * true
    return found / freedom.sum()


def noise_ceiling(X: Any, stimulus: Any = None) -> Float[np.ndarray, " neuron"]:
    """The R² that the true mean responses would have on these trials: the share of variance that is not noise.

    1 − (noise/all), the variance of single responses about the mean of their stimulus over that about the mean of all:
    signal power over total power of Sahani and Linden, "How linear are auditory cortical responses?" (2003), for any
    numbers of trials. No model of the stimulus can be expected to explain more of single trials; an R² divided by it is
    the share of what could be explained. Without repeats, where the variable is continuous, the noise of counts may be
    taken for Poisson's, as large as their mean: neurons that vary more then have a ceiling that is too high.

    Args:
        X: responses [trials, neurons].
        stimulus: of each trial [trials]; those of stimuli with a single trial are left out. None for counts with
            Poisson noise.

    Returns:
        Not below zero but by chance; NaN of a neuron that does not vary.

    Raises:
        ValueError: lengths that differ, no stimulus with two trials, or negative counts for Poisson noise.
    """
    if stimulus is None:
        responses = as_variable(X, "X")
        if (responses < 0).any():
            raise ValueError("counts are negative: Poisson noise is of counts of zero and above.")
        noise = responses.sum(0)
    else:
        trials = _Trials.of(X, stimulus)
        responses = trials.responses
        freedom = trials.number - 1
        noise = (trials.number / freedom) @ trials.sums(trials.deviation**2)
    varies = np.ptp(responses, axis=0) > 0
    total = ((responses - responses.mean(0)) ** 2).sum(0)
    return 1 - np.divide(noise, total, out=np.full(total.shape, np.nan), where=varies)


def fano_factors(X: Any, stimulus: Any) -> Float[np.ndarray, "stimulus neuron"]:
    """Variance over mean of each neuron's counts, stimulus by stimulus in order; 1 for Poisson neurons.

    NaN where a neuron never fires, or a stimulus has one trial.

    Args:
        X: counts [trials, neurons].
        stimulus: of each trial [trials].
    """
    counts, labels = _labelled(X, stimulus)
    if (counts < 0).any():
        raise ValueError("counts are negative: Fano factors are of counts of zero and above.")
    of = np.unique(labels, return_inverse=True)[1]
    found = np.full((of.max() + 1, counts.shape[1]), np.nan)
    for number, row in enumerate(found):
        own = counts[of == number]
        if len(own) > 1:
            np.divide(own.var(0, ddof=1), own.mean(0), out=row, where=own.mean(0) > 0)
    return found


@dataclass(frozen=True)
class _Trials:
    """Trials of the stimuli that were shown twice or more, those of one stimulus side by side.

    Attributes:
        responses: [trial, neuron].
        starts: the first trial of each stimulus.
    """

    responses: Float[np.ndarray, "trial neuron"]
    starts: Int[np.ndarray, " stimulus"]

    @classmethod
    def of(cls, X: Any, stimulus: Any) -> "_Trials":
        responses, labels = _labelled(X, stimulus)
        _, of, number = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(of, kind="stable")
        order, number = order[number[of[order]] > 1], number[number > 1]
        return cls(responses[order], np.cumsum(number) - number)

    @property
    def number(self) -> Int[np.ndarray, " stimulus"]:
        """Of trials, stimulus by stimulus."""
        return np.diff(self.starts, append=len(self.responses))

    @cached_property
    def varies(self) -> Bool[np.ndarray, "stimulus neuron"]:
        """Which neurons' responses to which stimuli are not all the same."""
        return np.maximum.reduceat(self.responses, self.starts) > np.minimum.reduceat(self.responses, self.starts)

    @cached_property
    def deviation(self) -> Float[np.ndarray, "trial neuron"]:
        """From the mean of the stimulus; exactly zero where nothing varies."""
        means = self.sums(self.responses) / self.number[:, None]
        deviation = self.responses - np.repeat(means, self.number, axis=0)
        return np.where(np.repeat(self.varies, self.number, axis=0), deviation, 0.0)

    def sums(self, values: Float[np.ndarray, "trial neuron"]) -> Float[np.ndarray, "stimulus neuron"]:
        """Over the trials of each stimulus."""
        return np.add.reduceat(values, self.starts)


def _labelled(X: Any, stimulus: Any) -> tuple[Float[np.ndarray, "n neuron"], Shaped[np.ndarray, " n"]]:
    responses, labels = as_variable(X, "X"), as_numpy(stimulus)
    if labels.shape != (len(responses),):
        raise ValueError(
            f"X has {len(responses)} trials and stimulus the shape {labels.shape}: each needs its stimulus."
        )
    if np.unique(labels, return_counts=True)[1].max() < 2:
        raise ValueError("no stimulus has two trials: what varies from trial to trial cannot be told.")
    return responses, labels
