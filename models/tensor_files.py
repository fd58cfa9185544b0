"""Safetensors files: written whole, for whoever may read the folder; and where each tensor lies in one."""

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from models.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 20


@dataclass(frozen=True)
class TensorPlace:
    """Format, shape, and first and last byte (counted from the start of the file) of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def save_tensors(tensors: Mapping[str, "Tensor"], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file so that a reader never sees half of it, with the permissions that any new file has.

    The library gives its files to their owner alone.
    """
    from safetensors.torch import save_file  # here, since what reads a run's manifests does not wait for torch

    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    part.touch()  # the system alone knows what it gives to a new file in this folder
    mode = stat.S_IMODE(part.stat().st_mode)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
    part.chmod(mode)
    part.rename(path)


def read_header(path: str | Path) -> dict[str, TensorPlace]:
    """The tensors of a file, by name. Raises `ArtifactError` for a header that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return header_of(file, path)
    except OSError as error:
        raise ArtifactError(f"{path} is missing or cannot be read: {error.strerror}.") from error


def header_of(file: IO[bytes], path: str | Path) -> dict[str, TensorPlace]:
    """`read_header` of a file that is open."""
    try:
        (length,) = struct.unpack("<Q", os.pread(file.fileno(), 8, 0))
        header = json.loads(os.pread(file.fileno(), min(length, os.fstat(file.fileno()).st_size), 8))
        return {
            name: TensorPlace(
                entry["dtype"], tuple(entry["shape"]), *(8 + length + offset for offset in entry["data_offsets"])
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ArtifactError(f"{path} is damaged: its header cannot be read.") from error


def checksums(path: str | Path) -> Iterator[tuple[str, str | None]]:
    """Name and SHA-256 of each tensor, format and shape included, one after the other without loading it.

    None stands for the checksum of a tensor that is cut short. Raises `ArtifactError` where the header cannot be read.
    """
    with Path(path).open("rb") as file:
        for name, place in header_of(file, path).items():
            digest = hashlib.sha256(json.dumps([place.dtype, place.shape], separators=(",", ":")).encode())
            file.seek(place.begin)
            left = place.end - place.begin
            while left and (block := file.read(min(left, BLOCK))):
                digest.update(block)
                left -= len(block)
            yield name, None if left else digest.hexdigest()
