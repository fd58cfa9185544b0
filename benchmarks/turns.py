"""Jobs that are compared take turns, so that what else the machine does falls on everybody."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def take_turns(rounds: int, *jobs: Callable[[], Any]) -> list[tuple[float, Any]]:
    """Median seconds of each job over the rounds, and what it gave in the last."""
    seconds: list[list[float]] = [[] for _ in jobs]
    given: list[Any] = [None] * len(jobs)
    for _ in range(rounds):
        for i, job in enumerate(jobs):
            start = time.perf_counter()
            given[i] = job()
            seconds[i].append(time.perf_counter() - start)
    return [(statistics.median(taken), one) for taken, one in zip(seconds, given, strict=True)]
