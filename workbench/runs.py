"""The run: one folder with one trained subject and everything derived from it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Protocol, runtime_checkable

from models.artifacts import MANIFEST, RUN_MARK, WORK, ArtifactError, Manifest, repair
from models.drafts import LeftDraft, drafts

# Where each kind of artifact stands in a run: alone in its folder, or one folder for each name.
SINGLE = {"dataset": "data", "model": "model"}
NAMED = {
    "activations": "activations",
    "labels": "labels",
    "sae": "saes",
    "features": "features",
    "probes": "probes",
    "analysis": "analyses",
}
VERB = {
    "dataset": "train",
    "model": "train",
    "activations": "harvest",
    "labels": "harvest",
    "sae": "sae",
    "features": "index",
    "probes": "probe",
    "analysis": "reproduce",
}
CALLED = {"activations": "recording", "sae": "dictionary"}  # in sentences; others by their kind
MAX_DEPTH = 4


@runtime_checkable
class Made(Protocol):
    """An artifact, or what was opened from one."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def manifest(self) -> Manifest:
        """What it was made from."""


@dataclass(frozen=True)
class Artifact:
    """One artifact of a run.

    Attributes:
        kind: `dataset`, `model`, `activations`, `sae`, `features`, …
        name: its folder's name; for data and model the folder itself.
        path: its folder.
        manifest: what it was made from.
        stale: one of its inputs has since been replaced, is gone, or is stale itself.
    """

    kind: str
    name: str
    path: Path
    manifest: Manifest
    stale: bool

    @property
    def id(self) -> str:
        """The manifest's id."""
        return self.manifest.id

    @property
    def n_bytes(self) -> int:
        """Size on disk."""
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())


class Run:
    """A run folder. `Run.open` for one that exists, `Run.create` for one that need not yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run at `path`, repaired if a kill left it between two renames. Raises `ArtifactError` if it is none."""
        path = Path(path)
        if not path.is_dir():
            raise ArtifactError(f"there is no run at {path}: `workbench train {_in_command(path)}` makes one.")
        if (path / WORK).is_dir():
            repair(path / WORK)
        if not is_run(path):
            raise ArtifactError(f"{path} is not a run of this workbench: it has no data/, model/ or other artifact.")
        return cls(path)

    @classmethod
    def create(cls, path: str | Path) -> "Run":
        """The run at `path`, made if there is none. Raises `ArtifactError` for a folder with other things in it."""
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise ArtifactError(f"{path} is a file: a run is a folder.")
        if path.is_dir() and any(path.iterdir()) and not is_run(path):
            raise ArtifactError(f"{path} holds other things and is not a run: choose an empty or a new folder.")
        (path / WORK).mkdir(parents=True, exist_ok=True)
        (path / WORK / RUN_MARK).touch()
        repair(path / WORK)
        return cls(path)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def _manifests(self) -> dict[str, Manifest]:
        found = {}
        for key in self._keys():
            with suppress(ArtifactError):
                found[key] = Manifest.read(self.path / key)
        return found

    def damaged(self) -> dict[str, str]:
        """What cannot be read, by its path in the run, and why: the manifest is not whole, or gone."""
        reasons = {}
        for key in self._folders():
            if key not in self._manifests:
                try:
                    if any((self.path / key).iterdir()):
                        Manifest.read(self.path / key)
                except ArtifactError as error:
                    reasons[key] = str(error)
                except FileNotFoundError:  # somebody is replacing it at this moment
                    continue
        return reasons

    def refresh(self) -> "Run":
        """The same run, read anew."""
        return Run(self.path)

    def artifacts(self) -> list[Artifact]:
        """Every artifact, upstream first."""
        return list(self._artifacts)

    @cached_property
    def _artifacts(self) -> list[Artifact]:
        # A page asks ten times while it is drawn, and what is stale is told from every id upstream.
        kinds = {folder: kind for kind, folder in (SINGLE | NAMED).items()}
        return [
            Artifact(kinds[key.split("/")[0]], key.split("/")[-1], self.path / key, manifest, self._is_stale(key))
            for key, manifest in self._manifests.items()
        ]

    def find(self, kind: str, name: str | None = None) -> Artifact:
        """The artifact of a kind: the named one, or the only (else the newest) one.

        Raises `ArtifactError`, naming those there are, if there is none.
        """
        found = [a for a in self.artifacts() if a.kind == kind]
        chosen = [a for a in found if name in (None, a.name)]
        if not chosen:
            makes_one = f"`workbench {VERB[kind]} {_in_command(self.path)}` makes one"
            there = f"there are {', '.join(a.name for a in found)}" if found else makes_one
            wanted = f"{kind} {name!r}" if name else kind
            raise ArtifactError(f"run {self.path} has no {wanted}: {there}.")
        return max(chosen, key=lambda a: a.manifest.made.get("time", ""))

    def current(self, kind: str, name: str | None = None) -> Artifact:
        """`find`, but what has gone stale is refused: what is made of it would not fit the rest of the run."""
        found = self.find(kind, name)
        if found.stale:
            verb = found.manifest.config.get("verb", VERB[kind])  # several make analyses
            raise ArtifactError(
                f"{found.path} is stale, because what it was made from has been replaced: "
                f"make it again first (`workbench {verb}`)."
            )
        return found

    def made_from(self, artifact: Made, kind: str) -> Artifact:
        """The artifact of a kind that another was made from; of several the first.

        Raises `ArtifactError` where it is not in this run: it was removed or replaced, or is another run's.
        """
        known = {input_id.split("@")[0] for input_id in artifact.manifest.inputs.values()}
        for found in self.artifacts():
            if found.kind == kind and found.id in known:
                return found
        name, verb = artifact.path.name, artifact.manifest.config.get("verb", VERB[artifact.manifest.kind])
        where = _in_command(self.path)
        raise ArtifactError(
            f"the {CALLED.get(kind, kind)} that {name} was made from is not in this run, or no longer: "
            f"`workbench {VERB[kind]} {where}` makes one, and `workbench {verb} {where}` makes "
            f"{name} anew."
        )

    def path_of(self, kind: str, name: str | None = None) -> Path:
        """Where an artifact of this kind and name stands or would stand."""
        if kind in SINGLE:
            return self.path / SINGLE[kind]
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} cannot be the name of an artifact: use letters, digits, '.', '-' and '_'.")
        return self.path / NAMED[kind] / name

    def inputs(self, *artifacts: Artifact) -> dict[str, str]:
        """The `inputs` of a manifest: path from the run's folder, and id; they may be other runs'."""
        return {self._key_of(a.path): a.id for a in artifacts}

    def _key_of(self, path: Path) -> str:
        if path.is_relative_to(self.path):
            return path.relative_to(self.path).as_posix()
        return Path(os.path.relpath(path.resolve(), self.path.resolve())).as_posix()

    def dataset(self, *, with_labels: bool = True) -> Any:
        """The run's `Dataset`, without its labels where they are not wanted."""
        from models.dataset import Dataset

        return Dataset.load(self.path, with_labels=with_labels)

    def model(self, step: int | None = None) -> Any:
        """The run's subject, at a step of its training if one is named."""
        from models.saving import load_model

        return load_model(self.path, step)

    def unfinished(self) -> list[str]:
        """What killed or failed jobs left half made, each as its path in the run."""
        return [self.key(draft.home) for draft in self.drafts() if draft.maker is None]

    def drafts(self) -> list[LeftDraft]:
        """What is not whole: left by jobs that were killed or failed, or being made now."""
        # A script that records into a folder that is no run yet has its drafts beside the recordings.
        places = (self.path, *(self.path / folder for folder in NAMED.values()))
        return [draft for place in places for draft in drafts(place / WORK)]

    def key(self, path: Path) -> str:
        """The path of an artifact in the run."""
        return path.relative_to(self.path).as_posix()

    def _keys(self) -> Iterator[str]:
        return (key for key in self._folders() if (self.path / key / MANIFEST).exists())

    def _folders(self) -> Iterator[str]:
        """Where artifacts stand, whether or not they have kept their manifests."""
        for folder in SINGLE.values():
            if (self.path / folder).is_dir():
                yield folder
        for folder in NAMED.values():
            for path in sorted((self.path / folder).glob("[!.]*/")):
                yield f"{folder}/{path.name}"

    def _is_stale(self, key: str) -> bool:
        for name, known_id in self._manifests[key].inputs.items():
            if known_id.startswith("unsaved-"):
                continue
            current = self._manifests.get(name)
            if current is None and (self.path / name / MANIFEST).exists():  # another run's
                if Manifest.read(self.path / name).id != known_id:
                    return True
            elif current is None or current.id != known_id.split("@")[0] or self._is_stale(name):
                return True
        return False


def is_run(path: str | Path) -> bool:
    """Whether a folder is a run, finished or not: a verb began it, or an artifact stands where those of a run do."""
    path = Path(path)
    if (path / WORK / RUN_MARK).exists() or any((path / f / MANIFEST).exists() for f in SINGLE.values()):
        return True
    others = (manifest.parent for f in NAMED.values() for manifest in (path / f).glob(f"*/{MANIFEST}"))
    return any(_is_artifact(folder) for folder in others)


def _is_artifact(folder: Path) -> bool:
    with suppress(ArtifactError, OSError):
        return bool(Manifest.read(folder))
    return False


def list_runs(root: str | Path = "runs", depth: int = MAX_DEPTH) -> list[Run]:
    """Every run in and below a folder, nested ones too, by path; links are not followed."""
    return [found for found in _walk(Path(root), depth) if isinstance(found, Run)]


def artifacts_outside(root: str | Path, depth: int = MAX_DEPTH) -> list[Artifact]:
    """The artifacts in and below a folder that stand in none of the runs in and below it."""
    return [found for found in _walk(Path(root), depth) if isinstance(found, Artifact)]


def _walk(path: Path, depth: int) -> Iterator[Run | Artifact]:
    """The runs, and the artifacts outside them, in and below a folder."""
    if _is_artifact(path):
        manifest = Manifest.read(path)
        yield Artifact(manifest.kind, path.absolute().name, path, manifest, stale=False)
        return
    if ours := is_run(path):
        yield Run(path)
    if not depth:
        return
    own = {*SINGLE.values(), *NAMED.values()} if ours else set()
    below = (p for p in path.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    for folder in sorted(p for p in below if p.name not in own):
        yield from _walk(folder, depth - 1)


def may_be_written(run: Run) -> bool:
    """Whether an analysis can be made in a run, which is not so of one that may only be read."""
    folders = (run.path, run.path / WORK, run.path / NAMED["analysis"])
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in folders if folder.exists())


def cache_folder() -> Path:
    """Where this system keeps what can be made again: `workbench/` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench"


def _in_command(path: Path) -> str:
    """A run as an option of a command to copy: blanks, quotes and `$` in a path are the path's."""
    return f"--run {quote(str(path))}"
