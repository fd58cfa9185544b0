"""How far a network adds modulo p by trigonometry: the measures of Nanda et al. 2023 (arXiv 2301.05217).

Everything here is read off two tables over all p² pairs: the logits `[a, b, c]` and the MLP's neurons `[a, b, neuron]`
at the last position. p is odd; w_k = 2πk/p, and a frequency k is one of 1 … (p − 1)/2.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.hooks import HookedModel
from models.tasks.modular_addition import ModularAddition

Cube = Float[Tensor, "a b c"]
# A frequency is key when it carries this share of the logits' sum of squares: a hundred times what is left to noise.
KEY_SHARE = 0.01


@torch.no_grad()
def all_pairs(model: HookedModel, task: ModularAddition) -> tuple[Cube, Float[Tensor, "a b neuron"]]:
    """The logits of the numbers, in float64, and the activations of the (first) MLP, at the last position."""
    hook = "blocks.0.mlp.hook_post"
    logits, cache = model.run_with_cache(task.all_pairs(), names_filter=hook)
    shape = (task.p, task.p, -1)
    return logits[:, -1, task.numbers].reshape(shape).double(), cache[hook][:, -1].reshape(shape)


def trig_shares(logits: Cube) -> Float[Tensor, " frequency"]:
    """For k = 1 … (p − 1)/2, the share of the logits' sum of squares that α_k cos w_k(a + b − c) explains at its best.

    The mean over c is first taken from each pair's logits, because softmax ignores it. The waves are orthogonal, so
    the shares of several frequencies add up: their sum is the fraction of variance explained by the fit of all.
    """
    p = len(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    by_sum = _mean_by_sum(centred)
    # The mean over all triples of the same d = a + b − c.
    s, c = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    by_difference = _mean_at((s - c) % p, by_sum)
    alpha = 2 / p * torch.fft.rfft(by_difference).real[1:]
    return alpha.square() * p**3 / 2 / centred.square().sum()


def key_frequencies(logits: Cube, share: float = KEY_SHARE) -> list[int]:
    """The frequencies that carry at least `share` of the logits by `trig_shares`, the strongest first."""
    shares = trig_shares(logits)
    order = shares.argsort(descending=True)
    return [int(k) + 1 for k in order if shares[k] >= share]


def trig_fit(logits: Cube, frequencies: Sequence[int]) -> float:
    """The fraction of the logits' variance that Σ α_k cos w_k(a + b − c) over the frequencies explains."""
    return float(trig_shares(logits)[[k - 1 for k in frequencies]].sum())


def neuron_frequencies(neurons: Float[Tensor, "a b neuron"]) -> pd.DataFrame:
    """The one frequency that explains most of each neuron, and how much of its variance over all pairs it explains.

    A frequency explains what is a polynomial of degree two in cos w_k a, sin w_k a, cos w_k b and sin w_k b: the
    eight products of {1, cos w_k a, sin w_k a} and {1, cos w_k b, sin w_k b} that are not constant.

    Returns:
        A row a neuron: `neuron`, `frequency`, `explained` and `dead`; one that never varies is dead, and has no
        frequency (0) and nothing explained.
    """
    p = len(neurons)
    power = torch.fft.fft2(neurons.double(), dim=(0, 1)).abs().square()
    power[0, 0] = 0
    k = torch.arange(1, (p + 1) // 2)
    alone = power[k, 0] + power[-k, 0] + power[0, k] + power[0, -k]
    together = power[k, k] + power[-k, -k] + power[k, -k] + power[-k, k]
    total = power.sum((0, 1))
    dead = neurons.amax((0, 1)) == neurons.amin((0, 1))
    best = ((alone + together) / torch.where(dead, torch.ones_like(total), total)).max(0)
    return pd.DataFrame(
        {
            "neuron": np.arange(neurons.shape[-1]),
            "frequency": torch.where(dead, 0, best.indices + 1).numpy(),
            "explained": torch.where(dead, 0.0, best.values).numpy(),
            "dead": dead.numpy(),
        }
    )


def sum_waves(logits: Cube, frequencies: Sequence[int]) -> Cube:
    """What of the logits, for each c as a function of a and b, lies along cos w_k(a + b) and sin w_k(a + b)."""
    p = len(logits)
    spectrum = torch.fft.rfft(_mean_by_sum(logits), dim=0)
    kept = torch.zeros_like(spectrum)
    kept[list(frequencies)] = spectrum[list(frequencies)]
    return torch.fft.irfft(kept, n=p, dim=0)[_sums(p)]


def restricted_logits(logits: Cube, frequencies: Sequence[int]) -> Cube:
    """The logits with nothing left but each c's mean and its waves of the sum at the key frequencies.

    Of the two ablations that go by this name it is the narrower: the directions cos w_k(a + b) and sin w_k(a + b)
    alone, as in the paper's code, not the four products of cosines and sines of w_k a and w_k b, as in its text,
    among which are those that make a − b.
    """
    return logits.mean((0, 1), keepdim=True) + sum_waves(logits, frequencies)


def excluded_logits(logits: Cube, frequencies: Sequence[int]) -> Cube:
    """The logits without their waves of the sum at the key frequencies: what they are by heart."""
    return logits - sum_waves(logits, frequencies)


def pair_loss(logits: Cube, among: Bool[Tensor, "a b"]) -> float:
    """The mean cross-entropy of a + b mod p over some of the pairs, in nats."""
    p = len(logits)
    return float(torch.nn.functional.cross_entropy(logits[among], _sums(p)[among]))


def pair_accuracy(logits: Cube, among: Bool[Tensor, "a b"]) -> float:
    """The share of some of the pairs whose likeliest c is a + b mod p."""
    return float((logits.argmax(-1) == _sums(len(logits)))[among].double().mean())


def fourier_norms(embedding: Float[Tensor, "p d"], task: ModularAddition) -> Float[Tensor, " frequency"]:
    """The norm of an embedding of the numbers at each frequency, 1 … (p − 1)/2."""
    basis = torch.from_numpy(task.fourier_basis()).to(embedding.dtype)
    power = (basis @ embedding).square().sum(1)
    return power[1:].unflatten(0, (-1, 2)).sum(1).sqrt()


def gini(values: Float[Tensor, " n"]) -> float:
    """Gini coefficient of non-negative numbers: 0 where all are equal, 1 − 1/n where one has everything."""
    n = len(values)
    rank = torch.arange(1, n + 1, dtype=values.dtype)
    ordered = values.sort().values
    return float(((2 * rank - n - 1) * ordered).sum() / (n * ordered.sum()))


def _sums(p: int) -> Tensor:
    return (torch.arange(p)[:, None] + torch.arange(p)) % p


def _mean_by_sum(cube: Cube) -> Float[Tensor, "s c"]:
    """The mean over the pairs of each sum."""
    return _mean_at(_sums(len(cube)), cube)


def _mean_at(place: Tensor, values: Tensor) -> Tensor:
    """The mean of the values that share a place; there are as many at each."""
    p = len(place)
    total = values.new_zeros((p, *values.shape[2:]))
    return total.index_add_(0, place.flatten(), values.flatten(0, 1)) / p
