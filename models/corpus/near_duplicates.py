"""Which documents are near-duplicates, and a split that keeps them on one side.

Two documents are near-duplicates when at least half of the distinct lines (long lines: sentences) that either has,
both have: an exact Jaccard index, taken only of pairs that share a line. Being near-duplicates is carried on: if A and
B are, and B and C are, all three are one group.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Int

THRESHOLD = 0.5
# A line that more documents share than this leads to pairs of neighbours in its list, not to all pairs.
_COMMON = 20
_UNITS = re.compile(r"\n|(?<=[.!?])\s+")


def near_duplicate_groups(texts: Sequence[str], threshold: float = THRESHOLD) -> Int[np.ndarray, " doc"]:
    """For each text the number of its group; groups are numbered by their first text."""
    units = [frozenset(unit.strip() for unit in _UNITS.split(text)) - {""} for text in texts]
    groups = _Groups(len(texts))
    first_of: dict[frozenset[str], int] = {}
    for i, found in enumerate(units):
        groups.join(first_of.setdefault(found, i), i)
    for i, j in _candidates(units, set(first_of.values())):
        shared = len(units[i] & units[j])
        if shared >= threshold * (len(units[i]) + len(units[j]) - shared):
            groups.join(i, j)
    return groups.numbers()


def _candidates(units: Sequence[frozenset[str]], distinct: Iterable[int]) -> set[tuple[int, int]]:
    """Pairs of documents that share a line."""
    holders: dict[str, list[int]] = defaultdict(list)
    for i in sorted(distinct):
        for unit in units[i]:
            holders[unit].append(i)
    lists = {tuple(holding) for holding in holders.values() if len(holding) > 1}
    found: set[tuple[int, int]] = set()
    for holding in lists:
        found.update(combinations(holding, 2) if len(holding) <= _COMMON else pairwise(holding))
    return found


class _Groups:
    """A union–find forest; the root of a group is its first document."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        low, high = sorted((self.root(i), self.root(j)))
        self.parent[high] = low

    def numbers(self) -> Int[np.ndarray, " doc"]:
        roots = np.array([self.root(i) for i in range(len(self.parent))], dtype=np.int64)
        return np.unique(roots, return_inverse=True)[1]


def split_by_group(
    groups: Int[np.ndarray, " doc"], sizes: Int[np.ndarray, " doc"], *, test: float = 0.1, seed: int = 0
) -> list[str]:
    """`train` or `test` for each document: whole groups, drawn at random, until the test share is reached.

    A group that would take the test share more than a fifth over `test` is passed by; if every group is so large, the
    smallest is the test split.

    Args:
        sizes: how much each document counts (its characters).

    Raises:
        ValueError: all documents are in one group, so that no split is possible.
    """
    of_group = np.bincount(groups, weights=sizes)
    if len(of_group) < 2:
        raise ValueError("the corpus is a single document, or near-duplicates of one: no part of it can be held out.")
    wanted, limit, taken = test * of_group.sum(), 1.2 * test * of_group.sum(), 0.0
    chosen: set[int] = set()
    for group in np.random.default_rng(seed).permutation(len(of_group)).tolist():
        if taken < wanted and taken + of_group[group] <= limit:
            chosen.add(group)
            taken += of_group[group]
    chosen = chosen or {int(of_group.argmin())}
    return ["test" if group in chosen else "train" for group in groups.tolist()]
