"""Words that recur, with a tag that hangs on word and context: rows in which both are known."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Labelled(NamedTuple):
    """Rows with a label, and the word of each; the first `n_fit` are fitted on, the others judged by."""

    x: Float[np.ndarray, "n d"]
    label: Int[np.ndarray, " n"]
    word: Int[np.ndarray, " n"]
    n_fit: int


@dataclass(frozen=True)
class PlantedWords:
    """A row is the vector of its word, that of its tag, and noise.

    A word has two tags, of which the context chooses; words follow Zipf's law, and recur among the rows that are fitted
    on and those that are judged by, as in a corpus.

    Args:
        n_words: of the vocabulary.
        n_tags: of which a word has two.
        d: columns of a row.
        second_share: how often the context chooses a word's second tag.
        tag_size: the length of a tag's vector, of which a word's is 1.
        noise: the length of a row's noise.
    """

    n_words: int
    n_tags: int = 12
    d: int = 128
    second_share: float = 0.3
    tag_size: float = 0.5
    noise: float = 0.5

    def draw(self, n_fit: int, n_held_out: int, seed: int) -> Labelled:
        """Fresh words, tags and rows."""
        rng = np.random.default_rng(seed)
        words = rng.standard_normal((self.n_words, self.d))
        tags = self.tag_size * rng.standard_normal((self.n_tags, self.d))
        of_word = rng.integers(self.n_tags, size=(self.n_words, 2))
        frequency = 1 / (np.arange(self.n_words) + 10)
        n = n_fit + n_held_out
        word = rng.choice(self.n_words, n, p=frequency / frequency.sum())
        label = of_word[word, (rng.random(n) < self.second_share).astype(np.int64)]
        x = words[word] + tags[label] + self.noise * rng.standard_normal((n, self.d))
        return Labelled(x.astype(np.float32), label, word, n_fit)
