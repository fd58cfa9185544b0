"""Pairs of repeated sequences that differ in one thing: which token came after the one that is asked about."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.tasks.repeated_sequences import RepeatedSequences


@dataclass(frozen=True)
class InductionPairs:
    """Clean and corrupt sequences, aligned, each as far as the token whose next one is asked.

    In the corrupt one two tokens have changed places in what will be repeated: the one that is asked about, and another
    that does not come again before the end. So both have the same tokens, what is asked ends alike, and what came after
    the last token before is `answer` in one and `wrong` in the other.

    Attributes:
        clean, corrupt: the sequences.
        position: of the last token, whose next one is asked.
        answer: the token that came after it before, in the clean sequence.
        wrong: the token that did in the corrupt one.
        source, other: the position of `answer` and that of `wrong`, in both.
    """

    clean: Dataset
    corrupt: Dataset
    position: Int[Tensor, " pair"]
    answer: Int[Tensor, " pair"]
    wrong: Int[Tensor, " pair"]
    source: Int[Tensor, " pair"]
    other: Int[Tensor, " pair"]


def induction_pairs(task: RepeatedSequences, n: int, seed: int = 0) -> InductionPairs:
    """Draw pairs: periods and prefixes as the task's, the token that is asked about anywhere that leaves room.

    Raises:
        ValueError: the task's periods leave no room for two tokens with a follower each.
    """
    whole_number(n, "n", least=1)
    if task.min_period < 4:
        raise ValueError(f"min_period is {task.min_period}: two tokens, each with a follower of its own, need 4.")
    rng = np.random.default_rng(seed)
    clean = np.zeros((n, task.n_ctx), dtype=np.int64)
    corrupt, mask = clean.copy(), np.zeros((n, task.n_ctx), dtype=bool)
    asked, other = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    end = np.zeros(n, dtype=np.int64)
    for pair in range(n):
        period = int(rng.integers(task.min_period, task.max_period + 1))
        first = 1 + int(rng.integers(task.max_prefix + 1))
        symbols = 1 + rng.permutation(task.n_symbols)[: first - 1 + period]
        asked[pair] = first + rng.integers(period - 3)
        other[pair] = rng.integers(asked[pair] + 2, first + period - 1)
        end[pair] = asked[pair] + period
        row = np.concatenate([[0], symbols, symbols[first - 1 :]])[: end[pair] + 1]
        mask[pair, : len(row)] = True
        clean[pair, : len(row)] = corrupt[pair, : len(row)] = row
        corrupt[pair, [asked[pair], other[pair]]] = row[[other[pair], asked[pair]]]
    tokens, rows = torch.from_numpy(clean), torch.arange(n)
    after_asked, after_other = torch.from_numpy(asked + 1), torch.from_numpy(other + 1)
    own, other_way = (Dataset(tokens=torch.from_numpy(x), mask=torch.from_numpy(mask)) for x in (clean, corrupt))
    return InductionPairs(
        clean=own,
        corrupt=other_way,
        position=torch.from_numpy(end),
        answer=tokens[rows, after_asked],
        wrong=tokens[rows, after_other],
        source=after_asked,
        other=after_other,
    )
