"""One job in several processes: who we are under `torchrun`, and what the processes tell each other.

Outside `torchrun` there is one rank, number 0, and nothing here does anything.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from models.artifacts import Draft, publishing
from models.errors import ArtifactError

# A rank may wait for others as long as they work: it is torchrun that notices when one has died.
PATIENCE = timedelta(days=7)


class RefusedByFirst(ArtifactError):
    """What the first process could not begin, in the others: it need not be said again."""


def join() -> None:
    """Meet the other processes that `torchrun` started; nothing happens where there are none, or they have met."""
    if not dist.is_available() or dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)


def leave() -> None:
    """Part from the other processes."""
    if _several():
        dist.destroy_process_group()


def device(wanted: str = "auto") -> torch.device:
    """Where this process computes: on the GPU of its number on this machine where there are any, for `auto`.

    Raises:
        ValueError: there is no such device here.
    """
    mine = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    chosen = {"auto": mine if torch.cuda.is_available() else "cpu", "cuda": mine}.get(wanted, wanted)
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        n = torch.cuda.device_count()
        there = f"torch sees {n} GPUs here, one for each process" if n else "torch sees no GPU here"
        raise ValueError(f"there is no device {wanted!r}: {there}; name cpu, or auto.") from error
    return torch.device(chosen)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def is_first() -> bool:
    """Whether this process is the one that prints, publishes and keeps logs."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process has come here."""
    if _several():
        dist.barrier()


def told_by_first(value: Any) -> Any:
    """What the first process says, to all of them: plain JSON."""
    if not _several():
        return value
    said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    length = torch.tensor([len(said)])
    dist.broadcast(length, src=0)
    heard = said if is_first() else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(heard, src=0)
    return json.loads(heard.numpy().tobytes())


def summed(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if _several():
        dense = value.contiguous()  # what is sent lies in one piece
        dist.all_reduce(dense)
        if dense is not value:
            value.copy_(dense)
    return value


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, in place."""
    return summed(value).div_(world()) if _several() else value


def from_first(value: Tensor) -> Tensor:
    """The first process's tensor in the place of every other's, in place."""
    if _several():
        dense = value.contiguous()
        dist.broadcast(dense, src=0)
        if dense is not value:
            value.copy_(dense)
    return value


def joined(value: Tensor) -> Tensor:
    """The rows of all processes, one after the other; every process has as many."""
    if not _several():
        return value
    parts = [torch.empty_like(value) for _ in range(world())]
    dist.all_gather(parts, value.contiguous())
    return torch.cat(parts)


@contextmanager
def publishing_together(path: str | Path, kind: str, **kwargs: Any) -> Iterator[Draft]:
    """`publishing`, by all processes: the first holds the lock and publishes when every one has left the block.

    What the first cannot begin (somebody else is writing the artifact) is an `ArtifactError` in all of them. A process
    that fails inside leaves the others waiting: `torchrun` ends them, and the draft stays for a later resume.
    """
    join()
    if not _several():
        with publishing(path, kind, **kwargs) as draft:
            yield draft
        return
    if not is_first():
        begun, refusal = told_by_first((None, None))
        if refusal is not None:
            raise RefusedByFirst(refusal)
        yield Draft(Path(begun[0]), begun[1])
        barrier()
        barrier()
        return
    begun = False
    try:
        with publishing(path, kind, **kwargs) as draft:
            told_by_first(((str(draft.path.absolute()), draft.resumed), None))
            begun = True
            yield draft
            barrier()
    except (ArtifactError, OSError) as error:
        if not begun:
            told_by_first((None, str(error)))
        raise
    barrier()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
