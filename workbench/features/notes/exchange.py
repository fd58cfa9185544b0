"""What people wrote, as a JSON file that travels: to another machine, into a repository, beside a paper.

    {"format": "workbench notes", "version": 1, "revisions": [REVISION, …]}

with the whole history, oldest first (of equal times, by id), one revision a line. Every REVISION has `dictionary` (see
`dictionary_id`), `feature`, `author`, `time` (UTC, `2026-11-22T08:02:32.123456Z`) and `about`, and with it

    "words"       label, note
    "bookmark"    on
    "list"        list_name, on, place

and nothing else. A revision's id is the SHA-256 of what it says and is not written: it follows. Importing is the union
of two histories: nothing is lost, what both have is there once, and of what was written on both sides the later stands
and the earlier stays in the history. Equal histories give equal files.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.artifacts import canonical
from workbench.features.notes.revision import SAYS, Revision, moment_of

FORMAT, VERSION = "workbench notes", 1
MAX_BYTES = 32 * 2**20
_AHEAD = timedelta(days=1)  # that another machine's clock may be


def to_json(revisions: Iterable[Revision]) -> str:
    """The file's text."""
    ordered = sorted(revisions, key=lambda r: (r.time, r.id))
    lines = ",\n".join(canonical(revision.to_dict()) for revision in ordered)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "revisions": [\n{lines}\n]}}\n'


def from_json(data: bytes, source: str) -> list[Revision]:
    """The revisions of a file.

    Args:
        data: its bytes.
        source: what an error calls it.

    Raises:
        ValueError: it is too large, not ours, of a later format, or holds what nobody can have written.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{source} is larger than {MAX_BYTES // 2**20} MB: that is no export of notes.")
    try:
        found = json.loads(data.decode("utf8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{source} is no export of notes: it is not JSON.") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("version"), int):
        raise ValueError(f'{source} is no export of notes: it does not say "format": "{FORMAT}".')
    if found["version"] > VERSION:
        raise ValueError(
            f"{source} was written by a later workbench (its format is {found['version']}, and {VERSION} is known "
            "here): update the workbench."
        )
    if not isinstance(found.get("revisions"), list):
        raise ValueError(f"{source} is damaged: it has no list of revisions.")
    latest = datetime.now(UTC) + _AHEAD
    return [_revision(entry, f"revision {n} of {source}", latest) for n, entry in enumerate(found["revisions"], 1)]


def read_file(path: str | Path) -> list[Revision]:
    """The revisions of a file on disk. Raises as `from_json` does, and `OSError`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: an export of notes is a file.")
    with path.open("rb") as file:
        return from_json(file.read(MAX_BYTES + 1), str(path))


def write_file(path: str | Path, revisions: Iterable[Revision]) -> None:
    """Write a file, whole or not at all, in place of an earlier export and of nothing else.

    Raises `ValueError` if something else stands there, and `OSError`.
    """
    path = Path(path)
    if path.exists():
        try:
            read_file(path)
        except ValueError as error:
            raise ValueError(f"{path} is not replaced, for it is somebody's: {error}") from None
    part = path.with_name(path.name + ".part")
    part.write_text(to_json(revisions), "utf8")
    part.replace(path)


def _revision(entry: Any, where: str, latest: datetime) -> Revision:
    if not isinstance(entry, dict) or not isinstance(entry.get("about"), str) or entry["about"] not in SAYS:
        raise ValueError(f"{where} cannot be read: it is about none of {', '.join(SAYS)}.")
    wanted = {"dictionary", "feature", "about", "author", "time", *SAYS[entry["about"]]}
    if set(entry) != wanted:
        different = ", ".join(sorted(wanted.symmetric_difference(map(_printable, entry))))
        raise ValueError(f"{where} cannot be read: it has too many or too few entries ({different:.100}).")
    try:
        revision = Revision(**entry)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from None
    if moment_of(revision.time) > latest:
        raise ValueError(f"{where} cannot be read: it is of {revision.time}, which has not come yet.")
    return revision


def _printable(name: str) -> str:
    """A name of anybody's, such that a terminal and a page can show it."""
    return ascii(name)[1:-1]
