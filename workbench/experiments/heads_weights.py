"""What `workbench heads` reads from a subject's weights alone, each part beside random matrices."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from models.dataset import Dataset
from models.hub import HubModel
from models.table_files import kept_table
from models.transformer import Transformer
from workbench.attention.composition import composition_scores
from workbench.attention.copying import copying_scores
from workbench.attention.head_svd import head_svd, singular_values
from workbench.attention.positions import position_profiles, position_spectrum, rotary_frequencies
from workbench.attention.token_pairs import token_pairs
from workbench.attention.virtual_heads import virtual_heads
from workbench.attention.weights import HeadWeights, weights_of
from workbench.experiments.heads_results import (
    COMPOSITION,
    COPYING,
    DIRECTIONS,
    PAIRS,
    PROFILES,
    ROTARY,
    SINGULAR,
    SPECTRUM,
    VIRTUAL,
)

CIRCUITS = ("QK", "OV")
N_PAIRS, N_DIRECTIONS, N_TOKENS = 10, 3, 5  # of each head and circuit; tokens at each end of a direction
MOST_TOKENS = 1024  # those that the sequences hold most of: of every pair of a large vocabulary most are never seen
MOST_POSITIONS = 128
MOST_VIRTUAL = 20_000  # pairs of heads
_N_RANDOM, _N_SHUFFLES = 20, 100


def survey_weights(model: Any, untrained: Any, data: Dataset, folder: Path, seed: int) -> None:
    """Ask what can be asked of weights, and write it into a folder.

    Nothing is written of a subject whose heads' weights are not known (`weights_of`).

    Args:
        model: the subject.
        untrained: the same before training; None where that was not kept.
        data: the sequences: whose tokens make pairs, and how many positions are looked at.
        folder: where; parts that lie there are not made again.
        seed: of random matrices.
    """
    if not isinstance(model, Transformer | HubModel) or data.tokens.is_floating_point():
        return
    weights = weights_of(model)
    if _says_tokens(model):
        _of_tokens(model, untrained, weights, data, folder, seed)

    def spectrum(layer: int, head: int, circuit: Any) -> pd.DataFrame:
        return singular_values(weights, layer, head, circuit, n_random=_N_RANDOM, seed=seed)

    kept_table(folder / SINGULAR, lambda: _of_heads(weights, spectrum))
    length = min(data.tokens.shape[1], MOST_POSITIONS)
    if weights.W_pos is not None and length > 1:
        kept_table(
            folder / SPECTRUM, lambda: position_spectrum(weights, length=length, n_shuffles=_N_SHUFFLES, seed=seed)
        )
    if (weights.W_pos is not None or weights.rotary is not None) and length > 1:
        kept_table(
            folder / PROFILES,
            lambda: position_profiles(weights, length=length, distances=min(4, length), n_random=_N_RANDOM, seed=seed),
        )
    if weights.rotary is not None and length > 1:
        kept_table(folder / ROTARY, lambda: rotary_frequencies(weights, seed=seed))


def _of_tokens(model: Any, untrained: Any, weights: HeadWeights, data: Dataset, folder: Path, seed: int) -> None:
    """What is told in the vocabulary, which has to be the same at both ends."""
    # Of a handful of tokens five would be all of them.
    top = max(1, min(5, model.cfg.d_vocab // 10))
    kept_table(folder / COPYING, lambda: copying_scores(model, untrained=untrained, top=top, seed=seed))
    common = commonest(data, weights.W_E.shape[0])

    def pairs(layer: int, head: int, circuit: Any) -> pd.DataFrame:
        return token_pairs(weights, layer, head, circuit, k=N_PAIRS, tokens=common, n_random=1, seed=seed)

    def directions(layer: int, head: int, circuit: Any) -> pd.DataFrame:
        few = min(N_DIRECTIONS, weights.d_head)
        return head_svd(weights, layer, head, circuit, n_directions=few, k=N_TOKENS, seed=seed)

    kept_table(folder / PAIRS, lambda: _of_heads(weights, pairs))
    kept_table(folder / DIRECTIONS, lambda: _of_heads(weights, directions))
    if weights.n_layers > 1:
        kept_table(folder / COMPOSITION, lambda: composition_scores(model, untrained=untrained, seed=seed))
        if weights.n_heads**2 * weights.n_layers * (weights.n_layers - 1) // 2 <= MOST_VIRTUAL:
            kept_table(folder / VIRTUAL, lambda: virtual_heads(weights, seed=seed))


def commonest(data: Dataset, d_vocab: int) -> Int[Tensor, " token"]:
    """The tokens that sequences hold most of, at most `MOST_TOKENS` of them; of those as common the first."""
    counts = torch.bincount(data.tokens[data.mask].flatten(), minlength=d_vocab)[:d_vocab]
    found = counts.argsort(descending=True, stable=True)[:MOST_TOKENS]
    return found[counts[found] > 0].sort().values


def _of_heads(weights: HeadWeights, ask: Callable[[int, int, Any], pd.DataFrame]) -> pd.DataFrame:
    """What is told of every head and circuit, one below the other."""
    asked: Iterable[tuple[int, int, str]] = ((*at, circuit) for at in weights.each_head() for circuit in CIRCUITS)
    return pd.concat([ask(*one) for one in asked], ignore_index=True)


def _says_tokens(model: Transformer | HubModel) -> bool:
    """Whether a head's way from token to logit goes between one vocabulary and itself."""
    return (getattr(model.cfg, "d_vocab_out", None) or model.cfg.d_vocab) in (-1, model.cfg.d_vocab)
