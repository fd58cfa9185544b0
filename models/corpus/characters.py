"""A document as arrays over its characters, and the tokens cut out of it as spans of characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, UInt32

NEWLINE = ord("\n")
# Whether a code point is what Python's `str.isspace` holds to be white space; none beyond the last entry is.
_IS_SPACE = np.array([chr(code).isspace() for code in range(0x3002)])


@dataclass(frozen=True)
class Characters:
    """A text whose lines end in `\\n` alone, as arrays over its characters."""

    text: str

    @cached_property
    def codes(self) -> UInt32[np.ndarray, " char"]:
        """Unicode code points."""
        return np.frombuffer(self.text.encode("utf-32-le"), dtype=np.uint32)

    @cached_property
    def is_space(self) -> Bool[np.ndarray, " char"]:
        """Whether a character is white space, line breaks included."""
        return _IS_SPACE[np.minimum(self.codes, len(_IS_SPACE) - 1)]

    @cached_property
    def line_starts(self) -> Int[np.ndarray, " line"]:
        """Where each line starts; the last line may be empty."""
        return np.concatenate([[0], np.flatnonzero(self.codes == NEWLINE) + 1])

    @cached_property
    def line_ends(self) -> Int[np.ndarray, " line"]:
        """Where each line ends, its line break not included."""
        return np.concatenate([self.line_starts[1:] - 1, [len(self.text)]])

    def lines_at(self, positions: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The lines, counted from 0, of these characters. A line break belongs to the line it ends."""
        return np.searchsorted(self.line_starts, positions, side="right") - 1

    @cached_property
    def line_edges(self) -> tuple[Int[np.ndarray, " line"], Int[np.ndarray, " line"]]:
        """The first and the last non-space character of each line; -1 for a blank line."""
        solid = np.flatnonzero(~self.is_space)
        if not len(solid):
            blank = np.full(len(self.line_starts), -1)
            return blank, blank
        after = np.searchsorted(solid, self.line_starts)
        before = np.searchsorted(solid, self.line_ends) - 1
        blank = after > before
        first = np.where(blank, -1, solid[np.minimum(after, len(solid) - 1)])
        return first, np.where(blank, -1, solid[before])


@dataclass(frozen=True)
class TokenSpans:
    """The characters `start … end` of each token of a document, and the one each is labelled by.

    Attributes:
        ids: the tokens' ids.
        starts: the first character; of a token that starts inside a character, that character.
        ends: one past the last character.
        first: the first non-space character, or the first character of a token that is all white space.
        blank: whether the token is all white space.
    """

    ids: Int[np.ndarray, " token"]
    starts: Int[np.ndarray, " token"]
    ends: Int[np.ndarray, " token"]
    first: Int[np.ndarray, " token"]
    blank: Bool[np.ndarray, " token"]

    @classmethod
    def of(
        cls,
        characters: Characters,
        ids: Int[np.ndarray, " token"],
        starts: Int[np.ndarray, " token"],
        ends: Int[np.ndarray, " token"],
    ) -> "TokenSpans":
        """The spans of a document's tokens."""
        solid = np.flatnonzero(~characters.is_space)
        after = np.append(solid, len(characters.text))[np.searchsorted(solid, starts)]
        blank = after >= ends
        return cls(ids, starts, ends, np.where(blank, starts, after), blank)


def inside(
    spans: Sequence[tuple[int, int]] | Int[np.ndarray, "span 2"], positions: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether each position lies in one of the spans `start ≤ position < end`; they may nest and overlap.

    The positions must be in ascending order.
    """
    if not len(spans):
        return np.zeros(len(positions), dtype=bool)
    return depth(spans, positions) > 0


def depth(
    spans: Sequence[tuple[int, int]] | Int[np.ndarray, "span 2"], positions: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """In how many of the spans each position lies; the positions must be in ascending order."""
    edges = np.searchsorted(positions, np.asarray(spans, dtype=np.int64).reshape(-1, 2))
    n = len(positions) + 1
    opened, closed = np.bincount(edges[:, 0], minlength=n), np.bincount(edges[:, 1], minlength=n)
    return np.cumsum(opened - closed)[:-1]


def containing(
    starts: Int[np.ndarray, " span"], ends: Int[np.ndarray, " span"], positions: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Which of the sorted, disjoint spans holds each position; -1 where none does."""
    if not len(starts):
        return np.full(len(positions), -1)
    span = np.searchsorted(starts, positions, side="right") - 1
    return np.where((span >= 0) & (positions < ends[span]), span, -1)


def painted(
    n: int, spans: Sequence[tuple[int, int]], values: Sequence[int], background: int = -1
) -> Int[np.ndarray, " char"]:
    """An array over characters in which each span holds its value; a later span covers an earlier one."""
    canvas = np.full(n, background, dtype=np.int32)
    for (start, end), value in zip(spans, values, strict=True):
        canvas[start:end] = value
    return canvas


def part_of(
    spans: TokenSpans,
    starts: Int[np.ndarray, " token"],
    ends: Int[np.ndarray, " token"],
    applies: Bool[np.ndarray, " token"],
) -> Int[np.ndarray, " token"]:
    """Codes of `PARTS`: whether a token is the whole, the start, the inside or the end of `starts … ends`."""
    opens, closes = spans.first == starts, spans.ends >= ends
    part = np.select([opens & closes, opens, closes], [1, 2, 4], default=3)
    return np.where(applies, part, 0)


def bucket(values: Int[np.ndarray, " n"], lower_bounds: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Codes 1, 2, … of the bucket each value falls in; 0 below the first bound."""
    return np.searchsorted(np.asarray(lower_bounds), values, side="right")
