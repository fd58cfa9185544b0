"""Shards on their way to disk: written by a thread of their own, each whole or not at all, each marked when it is.

A shard's mark is a small JSON file that is renamed into place last. So whichever process makes it, and whenever it
is killed, a shard with a mark is whole, and one without is made again.
"""

import hashlib
import json
import queue
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from models.artifacts import tensor_checksums, write_json
from models.tensor_files import save_tensors

# Whose positions the rows of a hook may be; the first that a recording has is the one it is read by.
AXES = ("target", "source", "sequence")
# Number formats, and what safetensors calls them.
FORMATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Mark:
    """What is known of a shard once it is whole.

    Attributes:
        n_rows: rows, for each axis of positions.
        shapes: the shape of one row of each hook, as the subject has it.
        checksums: of each tensor and each row table.
    """

    n_rows: dict[str, int]
    shapes: dict[str, list[int]]
    checksums: dict[str, str]


def shard_name(number: int) -> str:
    """The file of a shard's tensors."""
    return f"shard-{number:05d}.safetensors"


def rows_name(number: int, axis: str) -> str:
    """The file of a shard's rows: those of another axis than the target's apart."""
    return f"rows-{number:05d}.parquet" if axis == "target" else f"{axis}-rows-{number:05d}.parquet"


def mark_name(number: int) -> str:
    """The file of a shard's mark, which goes when the artifact is published."""
    return f"shard-{number:05d}.whole.json"


def read_mark(folder: Path, number: int) -> Mark | None:
    """A shard's mark; None where the shard is still to be made."""
    path = folder / mark_name(number)
    return Mark(**json.loads(path.read_text("utf8"))) if path.exists() else None


class ShardWriter:
    """Writes whole shards in a thread of its own, so that the subject computes the next meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue: queue.Queue[tuple[int, dict, dict, dict] | None] = queue.Queue(maxsize=1)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name="shard-writer")

    def __enter__(self) -> "ShardWriter":
        self.thread.start()
        return self

    def put(
        self, number: int, tensors: dict[str, Tensor], rows: dict[str, pa.Table], shapes: dict[str, list[int]]
    ) -> None:
        """Hand over a shard; waits while one is still being written. Raises what the writing of an earlier one did."""
        if self.error is not None:
            raise self.error
        self.queue.put((number, tensors, rows, shapes))

    def __exit__(self, *exception: object) -> None:
        self.queue.put(None)
        self.thread.join()
        if self.error is not None and exception[0] is None:
            raise self.error

    def _work(self) -> None:
        while (item := self.queue.get()) is not None:
            if self.error is None:
                try:
                    write_shard(self.folder, *item)
                except BaseException as error:  # raised again in the thread that asked for the writing
                    self.error = error


def write_shard(
    folder: Path, number: int, tensors: dict[str, Tensor], rows: dict[str, pa.Table], shapes: dict[str, list[int]]
) -> None:
    """Write the files of one shard, then its mark."""
    shard = shard_name(number)
    save_tensors(tensors, folder / shard)
    sums = {f"{shard}#{name}": value for name, value in tensor_checksums(folder / shard).items()}
    for axis, table in rows.items():
        name = rows_name(number, axis)
        pq.write_table(table, folder / name, compression="zstd")
        sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    n_rows = {axis: table.num_rows for axis, table in rows.items()}
    write_json(folder / mark_name(number), asdict(Mark(n_rows, shapes, sums)))
