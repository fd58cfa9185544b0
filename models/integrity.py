"""Whether an artifact still holds the bytes that were published: its files against the manifest's checksums."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from models.artifacts import ArtifactError, Manifest
from models.progress import progress
from models.tensor_files import checksums, read_header

_PARQUET_END = b"PAR1"


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file of an artifact, or with one tensor of it."""

    file: str
    tensor: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f', {self.tensor},' if self.tensor else ''} {self.what}"


def missing_or_cut(folder: str | Path) -> list[Damage]:
    """The files of an artifact that are gone or shorter than they say themselves; no file is read whole.

    Raises:
        ArtifactError: there is no manifest, or it is not one of ours.
    """
    folder = Path(folder)
    files = sorted({key.partition("#")[0] for key in Manifest.read(folder).checksums})
    return [Damage(file, None, what) for file in files if (what := _shortness(folder / file))]


def _shortness(path: Path) -> str | None:
    if not path.is_file():
        return "is missing"
    if path.suffix == ".safetensors":
        try:
            ends = [place.end for place in read_header(path).values()]
        except ArtifactError:
            return "has a header that cannot be read"
        return "is cut short" if path.stat().st_size < max(ends, default=0) else None
    if path.suffix == ".parquet":
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(_PARQUET_END)))
            return None if file.read() == _PARQUET_END else "is cut short"
    return None


def verify_artifact(folder: str | Path) -> list[Damage]:
    """Read every file that the manifest has a checksum for, and name what differs; nothing, if all is as published.

    Raises:
        ArtifactError: there is no manifest, or it is not one of ours.
    """
    folder = Path(folder)
    wanted: dict[str, dict[str | None, str]] = defaultdict(dict)
    for key, value in Manifest.read(folder).checksums.items():
        file, _, tensor = key.partition("#")
        wanted[file][tensor or None] = value
    return [
        damage
        for file, sums in progress(sorted(wanted.items()), desc="verifying", unit="file")
        for damage in _damage(folder / file, file, sums)
    ]


def _damage(path: Path, file: str, sums: dict[str | None, str]) -> list[Damage]:
    if not path.is_file():
        return [Damage(file, None, "is missing")]
    try:
        return _difference_of(path, file, sums)
    except OSError as error:
        return [Damage(file, None, f"cannot be read: {error.strerror}")]


def _difference_of(path: Path, file: str, sums: dict[str | None, str]) -> list[Damage]:
    if None in sums:
        changed = _file_checksum(path) != sums[None]
        return [Damage(file, None, "is not what was published")] if changed else []
    try:
        found = dict(checksums(path))
    except ArtifactError:
        return [Damage(file, None, "has a header that cannot be read")]
    return [
        Damage(file, tensor, _difference(found, tensor))
        for tensor, published in sums.items()
        if tensor is not None and found.get(tensor) != published
    ]


def _difference(found: dict[str, str | None], tensor: str) -> str:
    if tensor not in found:
        return "is missing"
    return "is cut short" if found[tensor] is None else "is not what was published"


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
