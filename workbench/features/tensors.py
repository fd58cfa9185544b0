"""Slices of a safetensors file by `pread`.

A memory map of a file that is truncated or replaced underneath it kills the process (SIGBUS); a read fails with an
error that can be shown. The open file also keeps showing the artifact that was opened after it has been replaced.
"""

import json
import os
import struct
from math import prod
from pathlib import Path

import numpy as np

from models.artifacts import ArtifactError

DTYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64, "I32": np.int32, "I16": np.int16}


class TensorFile:
    """The tensors of one safetensors file, read a slice at a time; safe to share between threads."""

    def __init__(self, path: str | Path) -> None:
        """Read the header. Raises `ArtifactError` if the file is missing or not whole."""
        self.path = Path(path)
        try:
            self._file = self.path.open("rb", buffering=0)
            (length,) = struct.unpack("<Q", os.pread(self._file.fileno(), 8, 0))
            self._header = json.loads(os.pread(self._file.fileno(), length, 8))
        except (OSError, struct.error, ValueError) as error:
            raise ArtifactError(f"{self.path} is missing or damaged: its header cannot be read.") from error
        self._start = 8 + length

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self._header[name]["shape"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` of a tensor's first axis."""
        entry = self._header[name]
        n, *rest = entry["shape"]
        stop = n if stop is None else stop
        dtype = np.dtype(DTYPES[entry["dtype"]])
        row_bytes = prod(rest) * dtype.itemsize
        wanted = (stop - start) * row_bytes
        offset = self._start + entry["data_offsets"][0] + start * row_bytes
        buffer = bytearray(wanted)
        got = 0
        while got < wanted:
            n_read = os.preadv(self._file.fileno(), [memoryview(buffer)[got:]], offset + got)
            if n_read == 0:
                raise ArtifactError(f"{self.path} is cut short: tensor {name} is not whole.")
            got += n_read
        return np.frombuffer(buffer, dtype).reshape(stop - start, *rest)
