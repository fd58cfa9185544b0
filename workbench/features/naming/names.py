"""Names that are measured: for every column of every dictionary the concept it detects best.

A concept is a set of tokens (this, the previous or the next one) or a statement of the labels (one, or two at once).
Concept and threshold are chosen by F1 on training documents and scored on test documents, by the same search for a
dictionary, its controls and the single neurons.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from probes.detection import (
    Choice,
    Columns,
    Confusion,
    HeldOut,
    best_pairs,
    best_sets,
    confusion,
    conjunctions,
    count_labels,
    count_together,
    f1_of_values,
    with_pairs,
)
from workbench.features.naming.concepts import conjunction_name
from workbench.features.naming.rows import PLACES, NamingRows

# Below this no name is shown: a detector of F1 .3 is wrong about most of what it claims, or misses most of it.
FLOOR_F1 = 0.3
# By this much two statements must beat one, and a statement of the labels a set of tokens: the simpler comes first.
MARGIN = np.float32(0.02)
# Two statements at once are tried where a column fires on at most this share of the rows.
PAIR_FRACTION = 0.05
SHOWN_TOKENS = 4


@dataclass(frozen=True)
class ColumnSet:
    """The columns of one dictionary on the rows where names are chosen, and on those where they are judged."""

    fit: Columns
    held_out: Columns


@dataclass(frozen=True)
class TokenNames:
    """For each column its best set of tokens: where it is looked at, which tokens, the threshold, F1 where chosen."""

    place: Int[np.ndarray, " columns"]
    members: list[np.ndarray]
    threshold: Float[np.ndarray, " columns"]
    f1: Float[np.ndarray, " columns"]

    @property
    def sizes(self) -> Int[np.ndarray, " columns"]:
        """How many tokens each set has."""
        return np.array([len(members) for members in self.members])


@dataclass(frozen=True)
class LabelNames:
    """For each column its best statement; labels from `n_labels` on are the conjunctions `pairs`."""

    single: Choice
    choice: Choice
    pairs: Int[np.ndarray, "pairs 2"]
    best_columns: Choice
    n_labels: int

    @property
    def sizes(self) -> Int[np.ndarray, " columns"]:
        """How many labels each statement is made of."""
        return np.where(self.choice.label < self.n_labels, 1, 2)


class Namer:
    """Searches and scores names on one choice of rows."""

    def __init__(self, rows: NamingRows, vocabulary: list[str]) -> None:
        self.rows, self.vocabulary = rows, vocabulary
        self.places = list(PLACES)
        self.group_rows = np.bincount(rows.doc)

    @cached_property
    def fit_tokens(self) -> list[Int[np.ndarray, " fit"]]:
        """The tokens of the fitting rows: there, before and after."""
        return [self.rows.tokens[place][self.rows.fit].astype(np.int64) for place in self.places]

    @cached_property
    def together(self) -> Int[np.ndarray, "concepts concepts"]:
        """How often each two concepts hold at once."""
        return count_together(self.rows.fit_labels)

    def token_names(self, columns: Columns) -> TokenNames:
        """The best set of tokens of every column."""
        found = [best_sets(columns.ladder, values, self.rows.d_vocab) for values in self.fit_tokens]
        place = np.argmax([choice.f1 for choice in found], axis=0)
        column = np.arange(columns.n_columns)
        return TokenNames(
            place=place,
            members=[found[p].members[c] for c, p in enumerate(place)],
            threshold=np.stack([choice.threshold for choice in found])[place, column],
            f1=np.stack([choice.f1 for choice in found])[place, column],
        )

    def label_names(self, columns: Columns, n_best: int = 1) -> LabelNames:
        """The best statement of every column, and the `n_best` best columns for every statement."""
        counts = count_labels(columns, self.rows.fit_labels)
        single = counts.best_label()
        to_beat = np.maximum(single.f1 + MARGIN, np.float32(FLOOR_F1))
        pair = best_pairs(
            columns.ladder, self.rows.fit_labels, counts, self.together, to_beat, max_fraction=PAIR_FRACTION
        )
        choice, pairs = with_pairs(single, pair, len(self.rows.names))
        return LabelNames(single, choice, pairs, counts.best_columns(n_best), len(self.rows.names))

    def score_tokens(
        self, columns: Columns, names: TokenNames, chosen: Int[np.ndarray, " columns"] | None = None
    ) -> list[Confusion]:
        """Held-out scores of token sets; `chosen` names other columns for the same sets."""
        results = []
        for i, (place, members) in enumerate(zip(names.place, names.members, strict=True)):
            tokens, in_documents = self._held_out_tokens[place]
            inside = np.zeros(self.rows.d_vocab + 1, bool)  # the last is for no token
            inside[members] = True
            fired = columns.firings(i if chosen is None else int(chosen[i]), float(names.threshold[i]))
            positives = in_documents[members].sum(0)
            results.append(confusion(inside[tokens[fired]], self.rows.doc[fired], positives, self.group_rows))
        return results

    @cached_property
    def _held_out_tokens(self) -> list[tuple[Int[np.ndarray, " held_out"], Int[np.ndarray, "token doc"]]]:
        """At each place the held-out rows' tokens, and how often each token stands there in each document."""
        found = []
        for place in self.places:
            tokens = self.rows.tokens[place][self.rows.held_out].astype(np.int64)
            known = tokens >= 0
            keys = tokens[known] * len(self.group_rows) + self.rows.doc[known]
            counts = np.bincount(keys, minlength=self.rows.d_vocab * len(self.group_rows))
            found.append((tokens, counts.reshape(self.rows.d_vocab, -1)))
        return found

    @cached_property
    def _held_out(self) -> HeldOut:
        return HeldOut.of(self.rows.held_out_labels, self.rows.doc)

    def held_out(self, pairs: Int[np.ndarray, "pairs 2"]) -> HeldOut:
        """The held-out rows with the conjunctions `pairs` behind the single concepts."""
        return self._held_out.extended(conjunctions(self.rows.held_out_labels, pairs))

    def token_f1(self, pairs: Int[np.ndarray, "pairs 2"]) -> Float[np.ndarray, " concepts"]:
        """Held-out F1 of the best set of tokens for each single concept and each of the conjunctions `pairs`."""
        rows, here = self.rows, self.rows.tokens["this"]
        fit, held_out = (
            np.concatenate([labels, conjunctions(labels, pairs)], axis=1)
            for labels in (rows.fit_labels, rows.held_out_labels)
        )
        return f1_of_values(here[rows.fit], fit, here[rows.held_out], held_out, rows.d_vocab)

    def concept_names(self, pairs: Int[np.ndarray, "pairs 2"]) -> list[str]:
        """The names of the single concepts and of the conjunctions behind them."""
        names = self.rows.names
        return [*names, *(conjunction_name(names[a], names[b]) for a, b in pairs)]

    def token_set_name(self, place: int, members: Int[np.ndarray, " members"]) -> str:
        """A token set in words, the tokens fired on most often first."""
        shown = ", ".join(repr(self.vocabulary[token]) for token in members[:SHOWN_TOKENS])
        more = f" (+{len(members) - SHOWN_TOKENS} more)" if len(members) > SHOWN_TOKENS else ""
        is_one = "is" if len(members) == 1 else "is one of"
        return f"{self.places[place]} token {is_one}: {shown}{more}"
