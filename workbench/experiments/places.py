"""What patching a whole place restores, over pairs of prompts of any length: where they differ, in between, at the end.

Pairs whose positions mean the same are patched together, and each pair counts once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.dataset import Dataset
from workbench.experiments.patching_results import BEFORE, BETWEEN, DIFFER, LAST, PLACES
from workbench.experiments.prompts import Prompts
from workbench.interventions.patching import activation_patching

_WHERE = ("hook", "layer", "head", "unit", "place", "variant", "seed")
_MEANS = ("value", "clean", "corrupt")
BY_PLACE_COLUMNS = (*_WHERE, *_MEANS, "effect", "sequences")


class Alike(NamedTuple):
    """Pairs that differ at the same positions and end at the same one.

    Attributes:
        rows: their numbers.
        places: the positions of each place that there is. BOS is of none, and a word that differs and is the last is
            the last token alone.
    """

    rows: Int[Tensor, " pair"]
    places: dict[str, list[int]]


def alike(prompts: Prompts) -> list[Alike]:
    """The pairs in groups whose positions mean the same, up to where the answer is asked."""
    ends = prompts.clean.mask.sum(1) - 1 if prompts.position is None else prompts.position
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for i, (end, row) in enumerate(zip(ends.tolist(), differing(prompts.clean, prompts.corrupt), strict=True)):
        groups.setdefault((end, tuple(row[: end + 1].nonzero()[:, 0].tolist())), []).append(i)
    start = int(prompts.clean.bos is not None)
    return [Alike(torch.tensor(rows), _places(differ, end, start)) for (end, differ), rows in sorted(groups.items())]


def differing(clean: Dataset, corrupt: Dataset) -> Bool[Tensor, "seq pos"]:
    """Where two sequences have not the same token, or vector."""
    apart = clean.tokens != corrupt.tokens
    return apart.flatten(2).any(2) if apart.ndim == 3 else apart


def by_place(
    model: Any,
    prompts: Prompts,
    hooks: Sequence[str],
    *,
    places: Sequence[str] = PLACES,
    by: Sequence[str] = (),
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Patch every position of a place at once (`activation_patching`), place by place.

    Args:
        model: the subject.
        prompts: the pairs, whose answers are each asked at one position.
        hooks: names.
        places: of `before`, `where the prompts differ`, `in between` and `last token` those that are wanted.
        by: `head` or `unit`, where these are patched one at a time.
        n_controls: random directions for each line.
        batch_size: sequences a pass.
        seed: of the first control.

    Returns:
        A line for each hook and place, in this order, `patch` or `random direction`: `value`, `clean` and `corrupt` are
        means of the metric over the `sequences` that have such a place, and `effect` is the share of the gap between
        the last two that is restored.

    Raises:
        ValueError: no pair has any of these places, or `activation_patching` refuses.
    """
    tables = [
        activation_patching(
            model,
            part.clean,
            part.corrupt,
            part.metric,
            list(hooks),
            by=by,
            positions=group.places[place],
            n_controls=n_controls,
            batch_size=batch_size,
            seed=seed,
        ).assign(place=place)
        for group in alike(prompts)
        for part in [prompts.some(group.rows)]
        for place in places
        if group.places[place]
    ]
    if not tables:
        raise ValueError(f"no pair of these prompts has words of the place {' or '.join(map(repr, places))}.")
    table, means = pd.concat(tables, ignore_index=True), list(_MEANS)
    table[means] = table[means].mul(table["sequences"].astype(float), axis=0)
    found = table.groupby(list(_WHERE), dropna=False, sort=False, as_index=False)[[*means, "sequences"]].sum()
    found[means] = found[means].div(found["sequences"].astype(float), axis=0)
    found["effect"] = (found["value"] - found["corrupt"]) / (found["clean"] - found["corrupt"])
    order = {name: number for number, name in enumerate((*dict.fromkeys(table["hook"]), *places))}
    found = found.sort_values(["hook", "place"], key=lambda column: column.map(order), kind="stable")
    return found[list(BY_PLACE_COLUMNS)].reset_index(drop=True)


def _places(differ: Sequence[int], last: int, start: int) -> dict[str, list[int]]:
    first = min(differ, default=start - 1)
    return {
        BEFORE: list(range(start, first)),
        DIFFER: [position for position in differ if position != last],
        BETWEEN: [position for position in range(first + 1, last) if position not in differ],
        LAST: [last],
    }
