"""Slices of a safetensors file by `pread`.

A memory map of a file that is truncated or replaced underneath it kills the process (SIGBUS); a read fails with an
error that can be shown. The open file also keeps showing the artifact that was opened after it has been replaced.
"""

import os
from math import prod
from pathlib import Path

import numpy as np

from models.artifacts import ArtifactError
from models.tensor_files import header_of

DTYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64, "I32": np.int32, "I16": np.int16}
_READ_AT_ONCE = 256  # numbers: reading these takes no longer than reading one


class TensorFile:
    """The tensors of one safetensors file, read a slice at a time; safe to share between threads."""

    def __init__(self, path: str | Path) -> None:
        """Read the header. Raises `ArtifactError` if the file is missing or not whole."""
        self.path = Path(path)
        try:
            self._file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise ArtifactError(f"{self.path} is missing or cannot be read: {error.strerror}.") from error
        self._header = header_of(self._file, self.path)

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self._header[name].shape

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` of a tensor's first axis."""
        place = self._header[name]
        n, *rest = place.shape
        stop = n if stop is None else stop
        dtype = np.dtype(DTYPES[place.dtype])
        row_bytes = prod(rest) * dtype.itemsize
        wanted = (stop - start) * row_bytes
        offset = place.begin + start * row_bytes
        buffer = bytearray(wanted)
        got = 0
        while got < wanted:
            n_read = os.preadv(self._file.fileno(), [memoryview(buffer)[got:]], offset + got)
            if n_read == 0:
                raise ArtifactError(f"{self.path} is cut short: tensor {name} is not whole.")
            got += n_read
        return np.frombuffer(buffer, dtype).reshape(stop - start, *rest)

    def first_not_below(self, name: str, value: int, start: int, stop: int) -> int:
        """Where in `start … stop` the first entry stands that is not below `value`; `stop` where all are.

        The tensor has one axis, and ascends there. Halving reads a few numbers of it.
        """
        while stop - start > _READ_AT_ONCE:
            middle = (start + stop) // 2
            if self.read(name, middle, middle + 1)[0] < value:
                start = middle + 1
            else:
                stop = middle
        return start + int(np.searchsorted(self.read(name, start, stop), value))
