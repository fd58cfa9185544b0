"""Which features have some words around one of their examples: the recorded text, searched as it was read."""

import re
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Int

from workbench.features.index.feature_index import FeatureIndex

BEFORE, AFTER = 24, 8  # tokens around an example, as `FeatureIndex.examples` shows them
_WORDS = re.compile(r'"([^"]+)"|(\S+)')


class Contexts:
    """Examples and the recorded tokens around them.

    Args:
        index: whose recording it is.
        features: of each example, the feature.
        rows: and the recorded row.
    """

    def __init__(
        self, index: FeatureIndex, features: Int[np.ndarray, " examples"], rows: Int[np.ndarray, " examples"]
    ) -> None:
        self._index, self._features, self._at = index, features, rows.astype(np.int64)
        seq = index.rows["seq"]
        # Rows lie sequence after sequence, and an example shows none of another.
        first, last = np.searchsorted(seq, seq[self._at]), np.searchsorted(seq, seq[self._at], side="right")
        self._low, self._high = np.maximum(self._at - BEFORE, first), np.minimum(self._at + AFTER + 1, last)
        self._examples = np.bincount(features, minlength=index.n_features)

    def features_with(self, asked: str) -> pd.DataFrame:
        """The features of which an example holds each of these words: feature, examples, match (their share of all)."""
        words = [quoted or word for quoted, word in _WORDS.findall(asked.casefold())]
        held = np.full(len(self._at), bool(words))
        for word in words:
            held &= self._holds(word)
        examples = np.bincount(self._features[held], minlength=self._index.n_features)
        found = np.flatnonzero(examples)
        share = examples[found] / self._examples[found]
        return pd.DataFrame({"feature": found, "examples": examples[found], "match": share})

    def _holds(self, word: str) -> np.ndarray:
        """For each example, whether the word stands in its window."""
        text, ends = self._text
        places = np.array([found.start() for found in re.finditer(re.escape(word), text)], np.int64)
        first = np.searchsorted(ends, places, side="right")
        last = np.searchsorted(ends, places + len(word) - 1, side="right")
        seq = self._index.rows["seq"]
        within = seq[first] == seq[last]  # the end of one sequence and the beginning of the next are no text
        first, last = first[within], last[within]
        nearest = np.searchsorted(first, self._low)
        held = nearest < len(first)
        held[held] = last[nearest[held]] < self._high[held]
        return held

    @cached_property
    def _text(self) -> tuple[str, Int[np.ndarray, " rows"]]:
        """All that was recorded as one text, case folded, and where in it each row ends."""
        words = [str(word).casefold() for word in self._index.vocabulary]
        lengths = np.array([len(word) for word in words], np.int64)
        tokens = self._index.rows["token"]
        return "".join([words[token] for token in tokens]), np.cumsum(lengths[tokens])
