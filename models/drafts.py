"""What is being made in a run, and what jobs that were killed or failed have left of it."""

import fcntl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from models.artifacts import FAILED, INTENT, read_json


@dataclass(frozen=True)
class LeftDraft:
    """An artifact that is not whole.

    Attributes:
        path: the draft's folder; without it, the next job starts anew.
        home: where the artifact will stand.
        maker: who is at work on it now; None for what was left.
        failure: what stopped the job that left it; None for one that was killed.
    """

    path: Path
    home: Path
    maker: str | None
    failure: str | None


def drafts(work: Path) -> list[LeftDraft]:
    """The drafts in a `.work` folder, by the name of what they will be."""
    found = []
    for intent in work.glob(f"*/{INTENT}"):
        draft = intent.parent
        home = work.parent / unquote(draft.name)
        maker = _holder(work / f"{draft.name}.lock")
        found.append(LeftDraft(draft, home, maker, None if maker else read_json(draft / FAILED)))
    return sorted(found, key=lambda draft: str(draft.home))


def _holder(lock: Path) -> str | None:
    """Who holds a lock of `publishing`."""
    with suppress(FileNotFoundError), lock.open(encoding="utf8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # and let go again at once, as the file is closed
        except BlockingIOError:
            return file.read().strip() or "another process"
    return None
