"""Dates as people write them, said again as the ISO standard has them, character by character."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from models.tasks.base import Drawn, Task

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PARTS = ("separator", "year", "month", "day", "weekday")
_SEPARATOR, _YEAR, _MONTH, _DAY, _WEEKDAY = range(len(PARTS))
# The parts of 1999-05-03.
_ISO = (_YEAR,) * 4 + (_SEPARATOR,) + (_MONTH,) * 2 + (_SEPARATOR,) + (_DAY,) * 2


def _ordinal(day: int) -> str:
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


# What a letter in a format stands for: the part of the date it shows, and how.
_FIELDS: dict[str, tuple[int, Callable[[date], str]]] = {
    "Y": (_YEAR, lambda d: f"{d.year:04d}"),
    "M": (_MONTH, lambda d: MONTHS[d.month - 1]),
    "B": (_MONTH, lambda d: MONTHS[d.month - 1][:3]),
    "N": (_MONTH, lambda d: str(d.month)),
    "0": (_MONTH, lambda d: f"{d.month:02d}"),
    "D": (_DAY, lambda d: str(d.day)),
    "P": (_DAY, lambda d: f"{d.day:02d}"),
    "O": (_DAY, lambda d: _ordinal(d.day)),
    "W": (_WEEKDAY, lambda d: WEEKDAYS[d.weekday()]),
    "w": (_WEEKDAY, lambda d: WEEKDAYS[d.weekday()][:3]),
}
# None leaves a doubt: years have four digits, and where the month is a number the year comes first, or the points say
# that the day does.
_FORMATS = (
    *("D M Y", "M D, Y", "W, D M Y", "Y/0/P", "B D, Y", "D B Y", "O M Y", "M O, Y"),
    *("W, M D, Y", "P.0.Y", "w D B Y", "O of M Y", "D-B-Y", "Y M D", "D.N.Y", "W O M Y"),
)


@dataclass(frozen=True)
class DateNormalisation(Task):
    """ "Monday, 3 May 1999" in, "1999-05-03" out, by characters.

    The true alignment is known: each digit is read off one part of the source, so that a decoder with attention
    (Bahdanau et al. 2015, arXiv 1409.0473) should look there. A month's name has to be translated, and a weekday is of
    no use. The same day may be in training in another format.

    Target token ids: BOS 0, then "0" to "9", "-" and EOS. Labels, by the convention that a decoder position t is the
    one that reads token t and says token t + 1: `part`, what is said next (`year`, `month`, `day`, `separator`), and
    `span_start` and `span_end`, the source characters that it is read off (the end is not one of them; missing for
    what is no digit). `draw` gives them for BOS too, where the first digit is said. Labels of the source: `part`,
    which may be `weekday` too.

    Attributes:
        n_formats: of the 16 ways to write a date, the first so many are used, drawn alike.
        first_year, last_year: all the days of these years and those between are drawn alike.
    """

    name: ClassVar[str] = "dates"
    n_formats: int = len(_FORMATS)
    first_year: int = 1900
    last_year: int = 2099

    def __post_init__(self) -> None:
        if not 1 <= self.n_formats <= len(_FORMATS):
            raise ValueError(f"n_formats is {self.n_formats}: it must be from 1 to {len(_FORMATS)}.")
        if not 1 <= self.first_year <= self.last_year <= MAXYEAR:
            raise ValueError(
                f"first_year is {self.first_year} and last_year {self.last_year}: they must be from 1 to {MAXYEAR}, "
                "and in this order."
            )

    @property
    def shape(self) -> dict[str, int]:
        return {"d_vocab": EOS + 1, "d_vocab_source": len(_SOURCE_CHARACTERS) + 1, "n_ctx": _LONGEST}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        first, last = date(self.first_year, 1, 1).toordinal(), date(self.last_year, 12, 31).toordinal()
        days = [date.fromordinal(day) for day in rng.integers(first, last + 1, size=n).tolist()]
        formats = rng.integers(self.n_formats, size=n).tolist()
        written = [list(_pieces(_FORMATS[f], day)) for f, day in zip(formats, days, strict=True)]
        source, source_mask = self.encode(["".join(text for _, text in pieces) for pieces in written])
        part_of = np.full(source.shape, _SEPARATOR, dtype=np.int8)
        spans = np.full((n, len(PARTS), 2), -1)
        for row, pieces in enumerate(written):
            end = 0
            for part, text in pieces:
                start, end = end, end + len(text)
                if part != _SEPARATOR:
                    part_of[row, start:end] = part
                    spans[row, part] = start, end
        tokens = np.array([[0, *(_TARGET_ID[c] for c in day.isoformat()), EOS] for day in days])
        said = np.array([*_ISO, _SEPARATOR, _SEPARATOR])
        span = np.ma.masked_less(spans[:, said], 0)
        names = np.array(PARTS)
        truth = {
            "part": np.broadcast_to(names[said], tokens.shape),
            "span_start": span[..., 0],
            "span_end": span[..., 1],
        }
        return Drawn(tokens, source=source, source_mask=source_mask, truth=truth, source_truth={"part": names[part_of]})

    def encode(self, texts: Sequence[str]) -> tuple[Int[np.ndarray, "seq time"], Bool[np.ndarray, "seq time"]]:
        """Dates as people write them as source token ids, and which positions are real.

        Raises:
            ValueError: there is no text, one is too long, or has a character that is in no date.
        """
        longest = max(map(len, texts), default=0)
        if longest == 0 or longest > _LONGEST:
            raise ValueError(f"the longest date has {longest} characters: it must have from 1 to {_LONGEST}.")
        padded = "".join(text.ljust(_LONGEST, "\0") for text in texts)
        unknown = set(padded) - {"\0", *_SOURCE_CHARACTERS}
        if unknown:
            raise ValueError(f"no date has the character {min(unknown)!r}.")
        ids = _ID_OF_BYTE[np.frombuffer(padded.encode(), np.uint8)].reshape(len(texts), _LONGEST)
        return ids, ids > 0

    def decode(self, tokens: Int[Tensor, "seq time"] | Int[np.ndarray, "seq time"]) -> list[str]:
        """What target token ids spell, up to EOS."""
        rows = [[int(token) for token in row] for row in tokens]
        said = [row[: row.index(EOS)] if EOS in row else row for row in rows]
        return ["".join(_TARGET_CHARACTERS[token - 1] for token in row if token > 0) for row in said]


def _pieces(pattern: str, day: date) -> Iterator[tuple[int, str]]:
    """The text of a date, piece by piece, each with the part of the date that it shows."""
    for letter in _SPLIT[pattern]:
        part, write = _FIELDS.get(letter, (_SEPARATOR, None))
        yield part, write(day) if write else letter


def _split(pattern: str) -> list[str]:
    """A format's letters; the word "of" is none."""
    return [piece for word in pattern.split("of") for piece in (*word, "of")][:-1]


_SPLIT = {pattern: _split(pattern) for pattern in _FORMATS}
_TARGET_CHARACTERS = "0123456789-"
_TARGET_ID = {character: i for i, character in enumerate(_TARGET_CHARACTERS, 1)}
EOS = len(_TARGET_CHARACTERS) + 1
_SOURCE_CHARACTERS = sorted({*"0123456789 ,./-", *"of", *"stndrdth", *"".join(MONTHS), *"".join(WEEKDAYS)})
_ID_OF_BYTE = np.zeros(128, dtype=np.int64)
_ID_OF_BYTE[[ord(c) for c in _SOURCE_CHARACTERS]] = np.arange(1, len(_SOURCE_CHARACTERS) + 1)
# A Wednesday in September, with a day of two digits.
_LONGEST = max(sum(len(text) for _, text in _pieces(pattern, date(2025, 9, 24))) for pattern in _FORMATS)
