"""Labels of tokens that stand again: what an induction head, a copying head or a bigram feature would answer to."""

import numpy as np
from jaxtyping import Int

from models.corpus.characters import bucket


def label_repetition(
    ids: Int[np.ndarray, " token"], lines: Int[np.ndarray, " token"], sequences: Int[np.ndarray, " token"]
) -> dict[str, np.ndarray]:
    """Which tokens stand earlier in the document, in their line and in their sequence, and how far back.

    Args:
        ids: the document's tokens.
        lines: the line each stands on.
        sequences: the sequence (what the model sees at once, one BOS each) each stands in.
    """
    everywhere = np.zeros_like(lines)
    previous = np.concatenate([[-1], ids[:-1]]) if len(ids) else ids
    new_sequence = np.concatenate([[True], sequences[1:] != sequences[:-1]]) if len(ids) else ids.astype(bool)
    base = int(ids.max(initial=0)) + 2
    pairs = np.where(new_sequence, -1, (previous + 1) * base + ids)
    back = _last_seen(ids, sequences)
    distance = np.where(back >= 0, np.arange(len(ids)) - back, 0)
    return {
        "repeated_in_document": _last_seen(ids, everywhere) >= 0,
        "repeated_in_line": _last_seen(ids, lines) >= 0,
        "repeated_in_context": back >= 0,
        "repeated_bigram": (_last_seen(pairs, sequences) >= 0) & ~new_sequence,
        "repeat_distance": bucket(distance, (1, 2, 4, 8, 16, 32)),
    }


def _last_seen(values: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Where each value last stood before within its group; -1 where it stands for the first time."""
    order = np.lexsort((groups, values))  # stable: equal pairs stay in reading order
    same = (values[order][1:] == values[order][:-1]) & (groups[order][1:] == groups[order][:-1])
    seen = np.full(len(values), -1)
    seen[order[1:][same]] = order[:-1][same]
    return seen
