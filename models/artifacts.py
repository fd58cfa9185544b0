"""How anything is written: whole or not at all, beside a manifest that names what it was made from.

An artifact is a folder with a `manifest.json`. It is made in a `.work` folder and renamed into place when it is
whole, so a reader sees all of it or none. A killed job leaves its draft in `.work`; the next call with the same
kind, inputs, config and seed finds that draft and goes on from it.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from models.errors import ArtifactError
from models.tensor_files import checksums

MANIFEST = "manifest.json"
WORK = ".work"
RUN_MARK = "run"  # an empty file in the `.work` of a run: other folders may have a `.work` too
REPLACED = "replaced--"
FORMAT_VERSION = 1

INTENT, FAILED = "intent.json", "failed.json"  # what a draft is to become; why the job that made it gave up

# Logs hold times and speeds: they would give equal artifacts different ids.
NOT_PART_OF_THE_ID = {MANIFEST, INTENT, "metrics.jsonl", "metrics.json", "training.json"}
_NEEDED = {"kind": str, "version": int, "inputs": dict, "config": dict}  # what every manifest says


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and what it was made from.

    Attributes:
        kind: `dataset`, `model`, `activations`, `sae`, `features`, …
        inputs: for each input, its path from the run's folder and its id.
        config: everything that was chosen; plain JSON.
        seed: the one seed, where there is one.
        checksums: SHA-256 of each tensor (`file#tensor`) and of each other file.
        made: time and machine; no part of the id.
    """

    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    checksums: dict[str, str] = field(default_factory=dict)
    version: int = FORMAT_VERSION
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """SHA-256 of the canonical manifest without time and machine."""
        body = {k: v for k, v in self.to_dict().items() if k != "made"}
        return hashlib.sha256(canonical(body).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The manifest as plain JSON."""
        return dict(vars(self))

    @classmethod
    def read(cls, folder: str | Path) -> "Manifest":
        """The manifest of an artifact folder; `ArtifactError` if there is none or it is not ours."""
        path = Path(folder) / MANIFEST
        try:
            found = json.loads(path.read_text("utf8"))
            canonical(found).encode()
        except FileNotFoundError:
            raise ArtifactError(f"{folder} is not an artifact: it has no {MANIFEST}.") from None
        except NotADirectoryError:
            raise ArtifactError(f"{folder} is a file: an artifact is a folder with a {MANIFEST}.") from None
        except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
            raise ArtifactError(f"{path} is damaged: it holds text that is no Unicode.") from None
        except (ValueError, RecursionError):
            raise ArtifactError(f"{path} is damaged: it is not JSON.") from None
        if not isinstance(found, dict) or any(not isinstance(found.get(n), t) for n, t in _NEEDED.items()):
            raise ArtifactError(f"{path} is not a manifest of this workbench.")
        if found["version"] > FORMAT_VERSION:
            raise ArtifactError(
                f"{folder} was written in format {found['version']}, later than the {FORMAT_VERSION} known here: "
                "update the workbench."
            )
        return cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})


@dataclass
class Draft:
    """An artifact being made: write its files into `path`.

    Attributes:
        path: the working folder.
        resumed: whether a killed job with the same inputs and config left files there.
        results: facts known only at the end; they join the manifest's config under `results`.
        checksums: what the writer has hashed while writing, so that it is not read again.
        scratch: names of files and folders that only a resumed job needs; they go when the artifact is whole, and not
            before.
    """

    path: Path
    resumed: bool
    results: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    scratch: set[str] = field(default_factory=set)


@contextmanager
def publishing(
    path: str | Path,
    kind: str,
    *,
    inputs: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    seed: int | None = None,
) -> Iterator[Draft]:
    """Make the artifact at `path`: yields a `Draft`, and publishes it whole when the block ends well.

    What was at `path` before stays readable until then. An exception or a kill leaves the draft for a later resume;
    of an exception it keeps the sentence.

    Raises:
        ArtifactError: another process is making the same artifact; or something is at `path` that is no artifact, or
            one of another kind or of a later format. Only what can be made again the same way is ever replaced.
    """
    path = Path(path)
    check_replaceable(path, kind)
    work = work_folder(path)
    work.mkdir(parents=True, exist_ok=True)
    draft_path = work / _flat_name(path, work)
    intent = json.loads(canonical({"kind": kind, "inputs": inputs or {}, "config": config or {}, "seed": seed}))
    with _lock(work / (draft_path.name + ".lock"), path):
        _repair(work / (REPLACED + draft_path.name), path)
        resumed = read_json(draft_path / INTENT) == intent
        if not resumed:
            shutil.rmtree(draft_path, ignore_errors=True)
            draft_path.mkdir()
            write_json(draft_path / INTENT, intent)
        draft = Draft(draft_path, resumed)
        for of_before in (FAILED, MANIFEST):  # it may have been killed just before it was renamed into place
            (draft_path / of_before).unlink(missing_ok=True)
        try:
            yield draft
        except Exception as error:
            with suppress(OSError):  # the disk may be full
                write_json(draft_path / FAILED, next(iter(str(error).splitlines()), type(error).__name__))
            raise
        # What a job was writing when it was killed: ours are named `.part`, those of safetensors are hidden.
        for half_written in [*draft_path.rglob("*.part"), *draft_path.rglob(".*")]:
            if not _is_scratch(draft, half_written):  # which goes as a whole
                half_written.unlink()
        manifest = Manifest(
            kind=kind,
            inputs=intent["inputs"],
            config=intent["config"] | ({"results": draft.results} if draft.results else {}),
            seed=seed,
            checksums=_checksums(draft),
            made={
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "machine": platform.machine(),
                "python": platform.python_version(),
            },
        )
        write_json(draft_path / MANIFEST, manifest.to_dict())
        for name in draft.scratch:
            _remove(draft_path / name)
        check_replaceable(path, kind)  # somebody may have put something there meanwhile
        _rename_into_place(draft_path, path, work)
        (path / INTENT).unlink()


def _is_scratch(draft: Draft, path: Path) -> bool:
    within = path.relative_to(draft.path)
    return not draft.scratch.isdisjoint(place.as_posix() for place in (within, *within.parents))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_replaceable(path: Path, kind: str) -> None:
    """Refuse to make an artifact of a kind where it would take away what is none, or another, or lie inside another.

    Raises:
        ArtifactError: what is at `path` is no artifact, or one of another kind or of a later format, or `path` lies
            inside an artifact.
    """
    for parent in path.absolute().parents:
        if (outer := _manifest_of(parent)) is not None:
            raise ArtifactError(f"{path} lies inside the {outer.kind} at {parent}: choose a place outside of it.")
    if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
        return
    remedy = "it is not replaced: move it away, or choose another place"
    if path.is_symlink() or not path.is_dir():
        raise ArtifactError(f"{path} is a file or a link, and no artifact: {remedy}.")
    if not (path / MANIFEST).exists():
        raise ArtifactError(f"{path} holds other things and is no artifact: {remedy}.")
    try:
        found = Manifest.read(path)
    except ArtifactError as error:
        raise ArtifactError(f"{str(error).removesuffix('.')}; {remedy}.") from None
    if found.kind != kind:
        raise ArtifactError(f"{path} holds {found.kind}, not {kind}: {remedy}.")


def _manifest_of(folder: Path) -> Manifest | None:
    try:
        return Manifest.read(folder)
    except (ArtifactError, OSError):
        return None


def repair(work: Path) -> None:
    """Close the gap that a kill can leave between the two renames of a replacement; leave alone what is in work."""
    for old in work.glob(REPLACED + "*"):
        name = old.name.removeprefix(REPLACED)
        with suppress(ArtifactError), _lock(work / (name + ".lock"), old):
            _repair(old, work.parent / unquote(name))


def _repair(old: Path, home: Path) -> None:
    if not old.exists():
        return
    if home.exists():
        shutil.rmtree(old)
    else:
        old.rename(home)


def work_folder(path: Path) -> Path:
    """The `.work` of the run that `path` lies in; outside a run, one beside `path`."""
    for parent in path.absolute().parents:
        if (parent / WORK / RUN_MARK).exists():
            return parent / WORK
    return path.absolute().parent / WORK


def canonical(value: Any) -> str:
    """One spelling of a JSON value: sorted keys, no spaces. Raises `ValueError` for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf8") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def tensor_checksums(path: Path) -> dict[str, str]:
    """SHA-256 of each tensor of a safetensors file. Raises `ArtifactError` for one that is not whole."""
    sums = {}
    for name, value in checksums(path):
        if value is None:
            raise ArtifactError(f"{path} is cut short: tensor {name} is not whole.")
        sums[name] = value
    return sums


def _checksums(draft: Draft) -> dict[str, str]:
    sums = dict(draft.checksums)
    hashed_files = {key.split("#")[0] for key in sums}
    for file in sorted(p for p in draft.path.rglob("*") if p.is_file()):
        name = file.relative_to(draft.path).as_posix()
        if file.name in NOT_PART_OF_THE_ID or _is_scratch(draft, file) or name in hashed_files:
            continue
        if file.suffix == ".safetensors":
            sums |= {f"{name}#{tensor}": value for tensor, value in tensor_checksums(file).items()}
        else:
            sums[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return sums


def _rename_into_place(draft: Path, path: Path, work: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        old = work / (REPLACED + draft.name)
        path.rename(old)
        draft.rename(path)
        shutil.rmtree(old)
    else:
        draft.rename(path)


def _flat_name(path: Path, work: Path) -> str:
    return quote(os.path.relpath(path.absolute(), work.parent), safe="")


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none, or it is not whole."""
    try:
        return json.loads(path.read_text("utf8"))
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def _lock(lock: Path, path: Path) -> Iterator[None]:
    """An advisory lock that the system itself releases when its holder dies."""
    with lock.open("a+", encoding="utf8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ArtifactError(f"{path} is being written by {holder}: wait for it, or stop it.") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
