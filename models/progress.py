"""One progress bar for every piece of work longer than a second."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


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

    Where standard error is a file, a line every ten seconds replaces the moving bar.
    """
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
