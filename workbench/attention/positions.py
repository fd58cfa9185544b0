"""Positions: which waves learned ones are made of, where a head looks by position alone, which rotations it uses."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.checked_input import whole_number
from models.positions import Rotary
from workbench.attention.weights import Heads, HeadWeights, random_weights, weights_of, with_percentiles


@torch.no_grad()
def position_spectrum(model: Heads, *, length: int | None = None, n_shuffles: int = 100, seed: int = 0) -> pd.DataFrame:
    """The Fourier power of learned positions, over all of `d_model`, beside the same positions in a random order.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one; of the folded model's `W_pos`.
        length: the first so many positions; those that training never reached are what they were drawn as.
        n_shuffles: random orders.
        seed: of their draw.

    Returns:
        `frequency` (cycles in `length` positions, from 1), `period` (positions), `value` (share of the power without
        the mean), `random_mean, random_high` (99th percentile of the frequency's share among shuffles), `percentile`.

    Raises:
        ValueError: no positions are added to the embedding, or `length` is not among them.
    """
    weights = weights_of(model)
    W_pos = _positions(weights)[: _length(weights, length)].double()
    whole_number(n_shuffles, "n_shuffles", least=1)
    share = _power(W_pos)
    rng = np.random.default_rng(seed)
    shuffled = torch.stack([_power(W_pos[rng.permutation(len(W_pos))]) for _ in range(n_shuffles)])
    frequency = np.arange(1, len(share) + 1)
    table = pd.DataFrame({"frequency": frequency, "period": len(W_pos) / frequency, "value": share.numpy()})
    below = (shuffled < share).double().mean(0) + (shuffled == share).double().mean(0) / 2
    return table.assign(
        random_mean=shuffled.mean(0).numpy(),
        random_high=shuffled.quantile(0.99, dim=0).numpy(),
        percentile=(100 * below).numpy(),
    )


@torch.no_grad()
def position_pattern(model: Heads, layer: int, head: int, *, length: int | None = None) -> Float[Tensor, "query key"]:
    """Where a head would look if every token were the average one: causal, each query's attention sums to 1.

    The stream is the mean embedding plus, where there are any, learned positions, normalised as the norm does; rotary
    positions turn queries and keys. Nothing that earlier layers write is in it: of heads above the first layer it is
    the direct path alone.

    Args:
        model: a `Transformer`, or `weights_of` one (of a `HubModel`, where its positions are learned).
        layer, head: which.
        length: positions; all that the model can see where None.

    Raises:
        ValueError: the head is not there, or the model's heads know nothing of positions.
    """
    weights = weights_of(model)
    layer, head = weights.checked(layer, head)
    q, k = (getattr(weights, f"W_{name}")[layer, head].double() for name in "QK")
    return _pattern(weights, q, k, weights.b_Q[layer, head].double(), weights.b_K[layer, head].double(), length)


@torch.no_grad()
def position_profiles(
    model: Heads, *, length: int | None = None, distances: int = 4, n_random: int = 50, seed: int = 0
) -> pd.DataFrame:
    """How much of each head's `position_pattern` goes to each of the last positions, and to the first.

    These are the means of its diagonals and of its first column. The one before the main diagonal is what Olsson et al.
    2022 (arXiv 2209.11895) score previous-token heads by, here of positions alone; the column is what Xiao et al. 2023
    (arXiv 2309.17453) call an attention sink.

    Args:
        model, length: as in `position_pattern`.
        distances: 0, the query itself, up to so many positions back, less one.
        n_random: random heads: Gaussian W_Q and W_K of the head's shapes and norms, with its biases.
        seed: of their draw.

    Returns:
        `layer, head, to` (`first`, or the distance as text), `value` (mean over the queries that have such a key and
        are not the first position), `random_mean, random_high` (99th percentile of random heads), `percentile`.

    Raises:
        ValueError: the model's heads know nothing of positions, or there are fewer than two of them.
    """
    weights = weights_of(model)
    n = _length(weights, length)
    if not 1 <= whole_number(distances, "distances") <= n:
        raise ValueError(f"distances is {distances}: it must be from 1 to {n}, the number of positions.")
    whole_number(n_random, "n_random", least=1)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for layer, head in weights.each_head():
        q, k = weights.W_Q[layer, head].double(), weights.W_K[layer, head].double()
        biases = weights.b_Q[layer, head].double(), weights.b_K[layer, head].double()
        drawn = random_weights(weights.d_model, weights.d_head, 2 * n_random, generator, weights.centred)
        drawn = drawn / drawn.norm(dim=(1, 2), keepdim=True)
        random = torch.stack(
            [
                _profile(_pattern(weights, a * q.norm(), b * k.norm(), *biases, n), distances)
                for a, b in zip(*drawn.chunk(2), strict=True)
            ]
        )
        own = _profile(_pattern(weights, q, k, *biases, n), distances)
        for number, to in enumerate(["first", *map(str, range(distances))]):
            line = pd.DataFrame([{"layer": layer, "head": head, "to": to, "value": float(own[number])}])
            parts.append(with_percentiles(line, random[:, number]))
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def rotary_frequencies(model: Heads, *, n_random: int = 200, seed: int = 0) -> pd.DataFrame:
    """Which rotary frequencies each head uses: the share of its W_Q W_Kᵀ that goes through each rotated pair.

    A score is a sum over pairs of entries, Σ qᵢ · R(θᵢ Δ) kᵢ at a distance of Δ positions. Pair i's share is
    ‖Qᵢ Kᵢᵀ‖², of the weights of both its entries, over the sum of it over pairs and, where only a part of the entries
    is rotated, of what is left: a line with no frequency. High frequencies tell positions apart, low ones hardly turn
    and carry what is attended to (Barbero et al. 2024, arXiv 2410.06205, who look at the norms of queries and keys).

    Args:
        model: a `Transformer` with rotary positions, or `weights_of` one.
        n_random: random heads of the same shapes: Gaussian W_Q and W_K.
        seed: of their draw.

    Returns:
        `layer, head, pair` (NA: not rotated), `frequency` (radians a position), `wavelength` (positions a turn),
        `value` (the share, of 1), `random_mean, random_high` (99th percentile), `percentile`.

    Raises:
        ValueError: positions are not rotary, or it is not known how.
    """
    weights = weights_of(model)
    rotary = weights.rotary
    if rotary is None:
        raise ValueError("this model's positions are not rotary, or it is not known here how they turn.")
    whole_number(n_random, "n_random", least=1)
    generator = torch.Generator().manual_seed(seed)
    q, k = (random_weights(weights.d_model, weights.d_head, n_random, generator, weights.centred) for _ in range(2))
    random = _pair_shares(q, k, rotary)
    n_pairs = rotary.rotary_dim // 2
    if len(rotary.cos) < 2:
        raise ValueError("this model sees one position: nothing turns.")
    frequency = torch.atan2(rotary.sin[1, 0].double(), rotary.cos[1, 0].double())  # one position's angle, at most 1
    parts = []
    for layer, head in weights.each_head():
        share = _pair_shares(weights.W_Q[layer, head].double(), weights.W_K[layer, head].double(), rotary)
        for pair, value in enumerate(share.tolist()):
            turned = pair < n_pairs
            line = {
                "layer": layer,
                "head": head,
                "pair": pair if turned else pd.NA,
                "frequency": float(frequency[pair]) if turned else np.nan,
                "wavelength": float(2 * torch.pi / frequency[pair]) if turned else np.nan,
                "value": value,
            }
            parts.append(with_percentiles(pd.DataFrame([line]), random[:, pair]))
    return pd.concat(parts, ignore_index=True).astype({"pair": "Int64"})


def _positions(weights: HeadWeights) -> Float[Tensor, "n_ctx d_model"]:
    if weights.W_pos is None:
        raise ValueError("this model adds no positions to its embedding: there is no table of them to look at.")
    return weights.W_pos


def _length(weights: HeadWeights, length: int | None) -> int:
    table = weights.W_pos if weights.rotary is None else weights.rotary.cos
    if table is None:
        raise ValueError("this model's heads know nothing of positions, or it is not known here how they do.")
    n_ctx = len(table)
    length = n_ctx if length is None else length
    if not 2 <= whole_number(length, "length") <= n_ctx:
        raise ValueError(f"length is {length}: it must be from 2 to {n_ctx}, the positions that the model can see.")
    return length


def _power(W_pos: Float[Tensor, "position d_model"]) -> Float[Tensor, " frequency"]:
    """The share of each frequency above 0 in the power of real signals along positions."""
    power = torch.fft.rfft(W_pos, dim=0).abs().square().sum(1)
    # Every frequency but the mean's and, of an even number of positions, the last one's stands for two.
    power[1 : (len(W_pos) + 1) // 2] *= 2
    return power[1:] / power[1:].sum()


def _pattern(
    weights: HeadWeights,
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    b_Q: Float[Tensor, " d_head"],
    b_K: Float[Tensor, " d_head"],
    length: int | None,
) -> Float[Tensor, "query key"]:
    n = _length(weights, length)
    stream = weights.W_E.double().mean(0).expand(n, -1)
    if weights.W_pos is not None:
        stream = stream + weights.W_pos[:n].double()
    stream = weights.normalised(stream)
    q, k = stream @ W_Q + b_Q, stream @ W_K + b_K
    if weights.rotary is not None:
        q, k = (weights.rotary(x[None, :, None], slice(0, n))[0, :, 0] for x in (q, k))
    scores = q @ k.mT / weights.d_head**0.5
    return scores.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf).softmax(-1)


def _profile(pattern: Float[Tensor, "query key"], distances: int) -> Float[Tensor, " to"]:
    """The mean attention to the first position, from later ones, and to the one at each distance."""
    back = [pattern.diagonal(-distance)[1 if distance == 0 else 0 :].mean() for distance in range(distances)]
    return torch.stack([pattern[1:, 0].mean(), *back])


def _pair_shares(
    W_Q: Float[Tensor, "*lead d_model d_head"], W_K: Float[Tensor, "*lead d_model d_head"], rotary: Rotary
) -> Float[Tensor, "*lead pair"]:
    """‖Qᵢ Kᵢᵀ‖² of each rotated pair, and of the entries that are left where there are any, over their sum."""
    n_turned, width = rotary.rotary_dim, W_Q.shape[-1]
    entries = torch.arange(n_turned)
    pairs = entries.view(-1, 2) if rotary.adjacent_pairs else entries.view(2, -1).T
    groups = [*pairs, torch.arange(n_turned, width)] if n_turned < width else list(pairs)
    squares = []
    for group in groups:
        q, k = W_Q[..., group], W_K[..., group]
        squares.append(((q.mT @ q) * (k.mT @ k)).sum((-2, -1)))
    found = torch.stack(squares, -1)
    return found / found.sum(-1, keepdim=True)
