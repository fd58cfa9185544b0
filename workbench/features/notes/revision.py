"""One thing that somebody once wrote about a feature. Revisions are added and never changed: they are the history.

What stands now is, of each thing, the revision with the latest time (of equal times, the larger id), so that a history
is a set and two of them are merged by their union, in any order and any number of times.
"""

import hashlib
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from models.artifacts import canonical

WORDS, BOOKMARK, LIST = "words", "bookmark", "list"
# What each kind of revision says; the other fields of `Revision` are empty then.
SAYS: dict[str, tuple[str, ...]] = {
    WORDS: ("label", "note"),
    BOOKMARK: ("on",),
    LIST: ("list_name", "on", "place"),
}
MAX_LABEL, MAX_NOTE, MAX_NAME, MAX_DICTIONARY = 200, 20_000, 100, 400
_MAX_INTEGER = 2**31 - 1
# Control characters; and half of a surrogate pair is no character, and cannot be written.
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_PROSE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Revision:
    """What somebody wrote, once.

    Attributes:
        dictionary: what the dictionary is called, see `dictionary_id`.
        feature: its number.
        about: `words` (label and note, which are written together), `bookmark`, or `list` (being on one).
        author: who wrote it.
        time: when, in UTC: `2026-11-22T08:02:32.123456Z`.
        label: one line.
        note: plain text of any number of lines.
        list_name: which list.
        on: whether it is bookmarked, or on the list.
        place: where on the list: smaller ones come first.
    """

    dictionary: str
    feature: int
    about: str
    author: str
    time: str
    label: str = ""
    note: str = ""
    list_name: str = ""
    on: bool = False
    place: int = 0

    def __post_init__(self) -> None:
        """Raises `ValueError` for what nobody can have written here."""
        if self.about not in SAYS:
            raise ValueError(f"there are no notes about {self.about!r}: they are about {', '.join(SAYS)}.")
        _line(self.dictionary, "the name of a dictionary", MAX_DICTIONARY, empty=False)
        _line(self.author, "an author's name", MAX_NAME, empty=False)
        _whole(self.feature, "a feature's number")
        _moment(self.time)
        if self.about == WORDS:
            _line(self.label, "a label", MAX_LABEL)
            _prose(self.note)
        else:
            _truth(self.on)
        if self.about == LIST:
            _line(self.list_name, "the name of a list", MAX_NAME, empty=False)
            _whole(self.place, "a place on a list")

    @property
    def id(self) -> str:
        """SHA-256 of all that it says: the same words of the same person at the same time are the same revision."""
        return hashlib.sha256(canonical(self.to_dict()).encode()).hexdigest()

    @property
    def key(self) -> tuple[str, int, str, str]:
        """The thing of which it is a revision: of those that share it, one stands now."""
        return self.dictionary, self.feature, self.about, self.list_name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what every revision says, and what its kind says beside."""
        everywhere = ("dictionary", "feature", "about", "author", "time")
        return {name: getattr(self, name) for name in (*everywhere, *SAYS[self.about])}


def now() -> str:
    """The present moment, as revisions name it."""
    return datetime.now(UTC).strftime(_TIME)


def moment_after(earlier: str | None) -> str:
    """The present moment, or the one just after what stands there, where a clock that is ahead wrote that.

    Raises `sqlite3.DatabaseError` if there is none: that time is damage, for none such is ever imported.
    """
    present = now()
    if earlier is None or present > earlier:
        return present
    try:
        return (datetime.strptime(earlier, _TIME) + timedelta(microseconds=1)).strftime(_TIME)
    except OverflowError:
        raise sqlite3.DatabaseError(f"it holds something of {earlier}") from None


def moment_of(text: str) -> datetime:
    """A revision's time."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def one_line(text: str) -> str:
    """What was typed, as a line: no white space around it, one blank for each stretch of it within."""
    return " ".join(text.split())


def many_lines(text: str) -> str:
    """What was typed, with one kind of line end and none after the last word."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def _line(text: Any, what: str, longest: int, *, empty: bool = True) -> None:
    if not isinstance(text, str) or _NOT_IN_A_LINE.search(text) or text != text.strip():
        raise ValueError(f"{what} is one line of text without control characters, and no white space around it.")
    if len(text) > longest or not (text or empty):
        least = "at most" if empty else "1 to"
        raise ValueError(f"{what} has {least} {longest} characters, not {len(text):,}.")


def _prose(text: Any) -> None:
    if not isinstance(text, str) or _NOT_IN_PROSE.search(text):
        raise ValueError("a note is text without control characters other than tabs and line ends.")
    if len(text) > MAX_NOTE:
        raise ValueError(f"a note has at most {MAX_NOTE:,} characters, not {len(text):,}.")


def _whole(value: Any, what: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_INTEGER:
        raise ValueError(f"{what} is a whole number from 0 to {_MAX_INTEGER}, not {value!r:.40}.")


def _truth(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"a bookmark or a place on a list is there or not (true or false), not {value!r:.40}.")


def _moment(text: Any) -> None:
    try:
        known = isinstance(text, str) and datetime.strptime(text, _TIME).strftime(_TIME) == text
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"a time is written like {now()}, not {text!r:.40}.")
