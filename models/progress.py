"""One progress bar for every piece of work longer than a second."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

_WHOLE: ContextVar[dict[str, tqdm]] = ContextVar("_WHOLE")


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str,
    total: float | None = None,
    unit: str = "it",
    initial: int = 0,
    shown: bool = True,
) -> tqdm:
    """A `tqdm` bar on standard error that appears only once the work has lasted a second.

    Where standard error is a file, a line every ten seconds replaces the moving bar. Inside `as_one` of the same
    description there is no bar of its own: what it counts is counted there.
    """
    if (whole := _WHOLE.get({}).get(desc)) is not None:
        return _Part(iterable, whole)
    moving = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=desc,
        total=total,
        unit=unit,
        unit_scale=True,
        initial=initial,
        delay=1.0,
        leave=False,
        disable=not shown,
        file=sys.stderr,
        dynamic_ncols=moving,
        mininterval=0.2 if moving else 10.0,
    )


@contextmanager
def as_one(*, desc: str, total: float, unit: str = "it") -> Iterator[tqdm]:
    """One bar, and one estimate, for several pieces of work in a row that each have a bar of this description."""
    with progress(desc=desc, total=total, unit=unit) as bar:
        token = _WHOLE.set({**_WHOLE.get({}), desc: bar})
        try:
            yield bar
        finally:
            _WHOLE.reset(token)


class _Part(tqdm):
    """A bar that shows nothing, and counts on another."""

    def __init__(self, iterable: Iterable[Any] | None, whole: tqdm) -> None:
        super().__init__(iterable, disable=True)
        self.whole = whole

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.whole.update()

    def update(self, n: float | None = 1) -> None:
        self.whole.update(n)
