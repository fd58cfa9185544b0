"""What is patched of a subject's hooks, and where it may be; whatever is wrong with it is found here."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.interventions.hook_parts import Part, checked_parts
from workbench.interventions.rerunning import BothRuns
from workbench.interventions.sites import Choice, Patch


@dataclass(frozen=True)
class Plan:
    """What is patched, and where it may be."""

    hooks: list[str]
    where: list[Bool[Tensor, "seq _"]]
    patches: list[Patch]
    choice: Choice

    @classmethod
    def of(
        cls,
        both: BothRuns,
        hooks: list[str],
        where: list[Bool[Tensor, "seq _"]],
        by: Sequence[str],
        choice: Choice,
    ) -> "Plan":
        """Made for what stands at some hooks.

        Raises:
            ValueError: what is to be patched is not there.
        """
        parts = checked_parts(by)
        patches: list[Patch] = []
        for site, (hook, able) in enumerate(zip(hooks, where, strict=True)):
            shape = tuple(both.clean[hook].shape[1:])
            if shape[0] != able.shape[1]:
                raise ValueError(f"{hook} has {shape[0]} positions, but the sequences {able.shape[1]}.")
            some_heads, some_units = _refuse_unfit(hook, shape[1:], parts, choice)
            some = able.any(0).nonzero()[:, 0].tolist() if "position" in parts else [None]
            seeds: list[int | None] = [None]
            if _width(shape[1:], parts, choice) > 1:  # there is no other direction on a line
                seeds += range(choice.seed, choice.seed + choice.n_controls)
            patches += [
                Patch(site, Part(hook, head, position, unit), seed)
                for position, head, unit, seed in product(some, some_heads, some_units, seeds)
            ]
        return cls(hooks, where, patches, choice)


def _width(row: tuple[int, ...], by: set[str], choice: Choice) -> int:
    """How many numbers of a row a control's direction is of."""
    n_heads, n_units = (
        n if some is None else len(some) for some, n in ((choice.heads, row[0]), (choice.units, row[-1]))
    )
    return n_units if len(row) == 1 or "head" in by else n_heads * n_units


def _refuse_unfit(
    hook: str, row: tuple[int, ...], by: set[str], choice: Choice
) -> tuple[list[int | None], list[int | None]]:
    """The heads and units that are patched one at a time, [None] where it is all at once."""
    if len(row) == 1 and ("head" in by or choice.heads is not None):
        raise ValueError(f"{hook} has no heads: its rows are of {row[0]} units.")
    counts = {"head": (choice.heads, row[0] if len(row) == 2 else 0), "unit": (choice.units, row[-1])}
    for kind, (some, n) in counts.items():
        if some is not None and (not some or some[0] < 0 or some[-1] >= n):
            said = (
                f"has no {kind} {some[-1] if some[0] >= 0 else some[0]}" if some else f"was given no {kind}s to patch"
            )
            raise ValueError(f"{hook} {said}: they are numbered 0 to {n - 1}.")
    if choice.within is not None:
        if "unit" in by or choice.units is not None or (choice.heads is not None and "head" not in by):
            raise ValueError("within takes whole rows: give neither units nor, unless heads are by themselves, heads.")
        width = row[-1] if "head" in by else int(np.prod(row))
        choice.within.refuse_width(torch.empty(0, width))
    heads, units = ([*(some or range(n))] for some, n in counts.values())
    return heads if "head" in by else [None], units if "unit" in by else [None]
