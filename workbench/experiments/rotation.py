"""All that `workbench patch --method rotation` does: directions along which a swap turns a clean prompt's answer.

Distributed alignment search (`workbench.interventions.rotation`), hook by hook: a killed one goes on from the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.loss import IGNORED
from models.progress import as_one
from models.table_files import kept_table
from models.tensor_files import save_tensors
from workbench.activations.recorder import axis_of
from workbench.experiments.ends import both_ends
from workbench.experiments.patching import pairs_table
from workbench.experiments.places import differing
from workbench.experiments.prompts import Prompts
from workbench.experiments.rotation_results import (
    COLUMNS,
    DIRECTIONS,
    LOSSES,
    PAIRS,
    RESULT,
    named_directions,
    read_directions,
)
from workbench.interventions.interchange import Interchange, scored
from workbench.interventions.metrics import LogitDifference, restored
from workbench.interventions.pairs import aligned
from workbench.interventions.rotation import LEARNED, PRINCIPAL, UNTRAINED, Rotation, fit_rotation
from workbench.interventions.subspace import Subspace

PLACES = ("last", "differ")
PARTS = "parts"  # a folder for each search: what a killed call goes on from


@dataclass(frozen=True)
class Search:
    """How directions are looked for.

    Attributes:
        hooks: where.
        k: how many directions, one search each.
        at: `last`: at the position where the answer is asked; `differ`: wherever the prompts differ up to there.
        n_steps: steps of each search.
        n_controls: random frames beside each.
        batch_size: pairs a pass.
        seed: of the split, the search, the controls and the intervals.
    """

    hooks: Sequence[str]
    k: Sequence[int] = (1,)
    at: str = "last"
    n_steps: int = 300
    n_controls: int = 5
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.at not in PLACES:
            raise ValueError(f"there is no place {self.at!r}: there are {', '.join(PLACES)}.")


@dataclass(frozen=True)
class _Asked:
    """Pairs as a search takes them: bases are clean, sources corrupt, and what should be said is the corrupt answer."""

    base: Dataset
    source: Dataset
    targets: Tensor
    difference: LogitDifference

    @classmethod
    def of(cls, prompts: Prompts) -> "_Asked":
        if prompts.answer is None or prompts.wrong is None or prompts.position is None:
            raise ValueError("the answers of these examples are vectors: a rotation turns one answer into another.")
        base, source = aligned(prompts.clean, prompts.corrupt)
        targets = torch.full(tuple(base.mask.shape), IGNORED)
        targets[torch.arange(len(base)), prompts.position] = prompts.wrong
        return cls(base, source, targets, LogitDifference(prompts.answer, prompts.wrong, prompts.position))

    def where(self, model: Any, hook: str, at: str) -> Bool[Tensor, "pair hook_pos"]:
        """The positions that are swapped at a hook, on the axis that it has rows for."""
        axis = axis_of(model, hook)
        pair = [data.on_axis(axis) for data in (self.base, self.source)]
        position = torch.arange(pair[0].mask.shape[1])
        # A source is read as a whole before anything is asked.
        end = self.difference.position if axis == "target" else pair[0].mask.sum(1) - 1
        if at == "last":
            return position == end[:, None]
        found = differing(*pair) & pair[0].mask & (position <= end[:, None])
        if not found.any(1).all():
            raise ValueError(f"some of these prompts do not differ on the axis of {hook}: swap there with --at last.")
        return found


def rotate_prompts(model: Any, untrained: Any, prompts: Prompts, folder: Path, search: Search) -> dict[str, Any]:
    """Learn directions at each hook, score them on pairs that the search did not see, and write it all down.

    Args:
        model: the subject.
        untrained: the same before training, in which as much is searched; None where that was not kept.
        prompts: the pairs.
        folder: where; hooks whose directions lie in its `PARTS` are not searched again.
        search: how.

    Returns:
        The mean metric of `clean` and `corrupt` prompts, and how many pairs were `fitted` and `held_out`.

    Raises:
        ValueError: the answers are vectors, the metric does not tell the prompts apart, there are too few pairs or
            directions, or nothing leads from a hook to the answer.
    """
    asked = _Asked.of(prompts)
    clean, corrupt = both_ends(model, prompts, search.batch_size)
    restored(corrupt, clean, corrupt)  # before any long work: whether there is a gap
    looking = _Looking(model, untrained, asked, search, clean, corrupt)
    tested = looking.rehearsed()
    keys = [(hook, k) for hook in search.hooks for k in dict.fromkeys(search.k)]
    parts = {key: folder / PARTS / f"{number:03d}" for number, key in enumerate(keys)}
    missing = sum(not (part / RESULT).exists() for part in parts.values())
    searches = missing * (1 if untrained is None else 2)
    with as_one(desc="rotation", total=searches * search.n_steps, unit="step"):
        for key, part in parts.items():
            part.mkdir(parents=True, exist_ok=True)
            kept_table(part / RESULT, partial(looking.found, *key, part))
    held_out = torch.isin(torch.arange(len(prompts)), tested)
    kept_table(folder / PAIRS, lambda: pairs_table(model, prompts, clean, corrupt).assign(held_out=held_out.numpy()))
    for name in (LOSSES, RESULT):
        kept_table(folder / name, partial(_together, [part / name for part in parts.values()]))
    learned = {key: read_directions(part / DIRECTIONS)[key] for key, part in parts.items()}
    save_tensors(named_directions(learned), folder / DIRECTIONS)
    return {
        "clean": float(clean.mean()),
        "corrupt": float(corrupt.mean()),
        "fitted": int((~held_out).sum()),
        "held_out": int(held_out.sum()),
    }


def _together(paths: Sequence[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


@dataclass(frozen=True)
class _Looking:
    """A search at several hooks, all on the same pairs."""

    model: Any
    untrained: Any
    asked: _Asked
    search: Search
    clean: Float[Tensor, " pair"]
    corrupt: Float[Tensor, " pair"]

    def rehearsed(self) -> Int[Tensor, " held_out"]:
        """The held-out pairs, after one step at every hook: what cannot be searched is told before any long search."""
        first, *_ = [self._fit(None, hook, max(self.search.k), n_steps=1, n_controls=0) for hook in self.search.hooks]
        return first.tested

    def found(self, hook: str, k: int, folder: Path) -> pd.DataFrame:
        """One search: its directions and losses are written down, its scores are returned."""
        how = self.search
        found = self._fit(self.untrained, hook, k, n_steps=how.n_steps, n_controls=how.n_controls)
        save_tensors(named_directions({(hook, k): found.subspace}), folder / DIRECTIONS)
        kept_table(folder / LOSSES, lambda: found.losses.assign(hook=hook, k=k))
        return self._scores(hook, found).assign(hook=hook, k=k, place=how.at)[list(COLUMNS)]

    def _fit(self, untrained: Any, hook: str, k: int, *, n_steps: int, n_controls: int) -> Rotation:
        asked, how = self.asked, self.search
        return fit_rotation(
            self.model,
            asked.base,
            asked.source,
            asked.targets,
            hook,
            k,
            at=asked.where(self.model, hook, how.at),
            untrained=untrained,
            n_steps=n_steps,
            n_controls=n_controls,
            batch_size=how.batch_size,
            seed=how.seed,
        )

    def _scores(self, hook: str, found: Rotation) -> pd.DataFrame:
        """The search's own scores, and beside them where the logit difference has come to under the same swaps."""
        compared = {("", LEARNED): found.subspace, ("", PRINCIPAL): found.principal}
        lines = self._differences(self.model, hook, found, compared, self.search.n_controls)
        if found.untrained is not None:
            before = self._differences(self.untrained, hook, found, {("", UNTRAINED): found.untrained}, 0)
            lines = pd.concat([lines, before[before["variant"] == UNTRAINED]], ignore_index=True)
        clean, corrupt = (float(of[found.tested].mean()) for of in (self.clean, self.corrupt))
        # An untrained subject has no gap between clean and corrupt runs that a share could be of.
        own = lines["variant"] != UNTRAINED
        value, *ends = ((lines[c].where(own) - clean) / (corrupt - clean) for c in ("value", "low", "high"))
        low, high = pd.concat(ends, axis=1).agg(["min", "max"], axis=1).to_numpy().T  # corrupt may be below clean
        scores = found.scores.rename(columns={"value": "said", "low": "said_low", "high": "said_high"})
        return scores.assign(value=lines["value"], effect=value, effect_low=low, effect_high=high)

    def _differences(
        self, subject: Any, hook: str, found: Rotation, compared: dict[tuple[str, str], Subspace], n_controls: int
    ) -> pd.DataFrame:
        asked, size = self.asked, self.search.batch_size
        where = asked.where(subject, hook, self.search.at)
        made = Interchange.of(subject, asked.base, asked.source, asked.targets, hook, where, batch_size=size)
        how: dict[str, Any] = {"n_controls": n_controls, "batch_size": size, "seed": self.search.seed}
        return scored(made, found.tested, compared, metric=asked.difference, **how)
