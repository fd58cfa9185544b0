"""What is being made in a run, and what jobs that were killed or failed have left of it."""

import fcntl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
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

    def about(self, name: str) -> str:
        """What has become of it, and what can be done, in a sentence; `name` is what a reader calls the artifact."""
        what = f"a new {name}" if self.home.exists() else name
        give_up = f"`rm -r {quote(str(self.path))}` gives it up"
        if self.maker:
            return f"{what} is being made by {self.maker}."
        if self.failure:
            return f"{what} failed: {self.failure.rstrip('.')}; the call that began it tries again; {give_up}."
        return f"{what} is unfinished: the call that began it goes on with it; {give_up}."


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
