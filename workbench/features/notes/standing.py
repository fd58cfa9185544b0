"""What stands about a feature, as whoever reads it gets it; and what is said when two people write at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.features.notes.revision import BOOKMARK, WORDS, Revision


@dataclass(frozen=True)
class Note:
    """What stands about one feature.

    Attributes:
        label: one line, or nothing.
        note: plain text, or nothing.
        bookmarked: whether it is.
        lists: the lists that it is on, by name.
        revision: the id of the revision that label and note are of; empty where nobody has written any.
        author: who wrote them.
        changed: when, as `Revision.time`.
    """

    label: str = ""
    note: str = ""
    bookmarked: bool = False
    lists: tuple[str, ...] = ()
    revision: str = ""
    author: str = ""
    changed: str = ""


class ConflictError(ValueError):
    """Somebody else has written since what was to be replaced was read.

    Attributes:
        theirs: what stands now.
    """

    def __init__(self, feature: int, theirs: Note) -> None:
        super().__init__(
            f"{theirs.author} has written about feature {feature} since it was read, on {theirs.changed}: "
            "read that, and save what shall stand with its revision."
        )
        self.theirs = theirs


@dataclass(frozen=True)
class Merged:
    """What an import brought.

    Attributes:
        new: how many revisions were not there before.
        known: how many were.
        conflicts: (dictionary, feature) whose words were written on both sides: the later stand, the earlier are in
            the history.
    """

    new: int
    known: int
    conflicts: tuple[tuple[str, int], ...]


def standing_note(stands: Iterable[Revision]) -> Note:
    """One feature's revisions that stand, as a note."""
    found: dict[str, Any] = {}
    lists = []
    for revision in stands:
        if revision.about == WORDS:
            found |= {"label": revision.label, "note": revision.note, "revision": revision.id}
            found |= {"author": revision.author, "changed": revision.time}
        elif revision.about == BOOKMARK:
            found["bookmarked"] = revision.on
        elif revision.on:
            lists.append(revision.list_name)
    return Note(lists=tuple(sorted(lists)), **found)
