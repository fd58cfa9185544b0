"""`Site`: a hook, what stands there in a clean and in a corrupt run, and what patches put there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.step_hooks import HookFunction, pos_dim_of, positions_seen
from workbench.interventions.hook_parts import Part
from workbench.interventions.subspace import Subspace

At = slice | Int[Tensor, " asked"]


class Patch(NamedTuple):
    """One thing that is done to the corrupt run.

    Attributes:
        site: the number of the hook.
        part: what of it is patched; where it says all, all that may be.
        seed: of a control's random directions; None where the clean run's values are put there.
    """

    site: int
    part: Part
    seed: int | None


@dataclass(frozen=True)
class Choice:
    """What of a hook may be patched; all heads, units and directions where nothing is said."""

    heads: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None
    within: Subspace | None = None
    n_controls: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Site:
    """A hook in both runs.

    Attributes:
        name: the hook's.
        by_query: whether its rows are attention patterns or scores, of which some entries are masked.
        clean, corrupt: what stands there, positions first: a row is [unit] or [head, unit].
        where: the positions that may be patched.
        noise: a direction for each row under each control.
        choice: what of a row may be patched.
    """

    name: str
    by_query: bool
    clean: Float[Tensor, "seq pos *row"]
    corrupt: Float[Tensor, "seq pos *row"]
    where: Bool[Tensor, "seq pos"]
    noise: Float[Tensor, "control seq pos *row"]
    choice: Choice

    @property
    def row(self) -> tuple[int, ...]:
        """Heads and units, or units alone."""
        return tuple(self.clean.shape[2:])

    def of(self, part: slice) -> "Site":
        """The same in some of the sequences."""
        parts = {name: getattr(self, name)[part] for name in ("clean", "corrupt", "where")}
        return replace(self, **parts, noise=self.noise[:, part])

    def put(
        self, current: Float[Tensor, "patch seq pos *row"], patches: Sequence[Patch], pos: At | None
    ) -> Float[Tensor, "patch seq pos *row"]:
        """What stands there once the patches are made.

        Args:
            current: what stands there before.
            patches: all of this site.
            pos: the positions; None where there is one, each patch's own.
        """
        clean, corrupt, where = (self._at(x[None], patches, pos) for x in (self.clean, self.corrupt, self.where))
        where = where.view(*where.shape, *[1] * len(self.row))
        part = self._part(patches)
        moved = clean if self.choice.within is None else current + self._within(patches, clean, current)
        new = torch.where(part & where, moved, current)
        drawn = [i for i, patch in enumerate(patches) if patch.seed is not None]
        if drawn:
            of_drawn = [patches[i] for i in drawn]
            if len(clean) > 1:
                clean, corrupt, where = (x[drawn] for x in (clean, corrupt, where))
            target, free = self._control(clean, corrupt, of_drawn, pos)
            new[drawn] = torch.where(free & where, target.to(current.dtype), current[drawn])
        return new

    def _at(self, x: Tensor, patches: Sequence[Patch], pos: At | None) -> Tensor:
        """Values [control or 1, seq, pos, …] at the positions that are patched, [patch or 1, seq, pos, …]."""
        number = torch.tensor([0 if len(x) == 1 else self._control_of(patch) for patch in patches], device=x.device)
        if pos is not None:
            return x[:, :, pos] if len(x) == 1 else x[number][:, :, pos]
        at = torch.tensor([patch.part.position for patch in patches], device=x.device)
        return x[number, :, at][:, :, None]

    def _control_of(self, patch: Patch) -> int:
        return 0 if patch.seed is None else patch.seed - self.choice.seed

    def _part(self, patches: Sequence[Patch], whole_rows: bool = False) -> Bool[Tensor, "patch 1 1 *row"]:
        """Which numbers of a row are patched; of `whole_rows`, those that may be where units are not one at a time."""
        units = _chosen([None if whole_rows else patch.part.unit for patch in patches], self.choice.units, self.row[-1])
        if len(self.row) == 1:
            return units[:, None, None].to(self.clean.device)
        heads = _chosen([patch.part.head for patch in patches], self.choice.heads, self.row[0])
        return (heads[:, :, None] & units[:, None, :])[:, None, None].to(self.clean.device)

    def _within(self, patches: Sequence[Patch], clean: Tensor, current: Tensor) -> Tensor:
        """What moves rows to where the clean run's are in the subspace; heads side by side unless they are apart."""
        within = self.choice.within
        assert within is not None
        together = len(self.row) == 2 and patches[0].part.head is None
        to, start = (
            (x.flatten(-2) if together else x).to(torch.promote_types(x.dtype, torch.float32)) for x in (clean, current)
        )
        change = (within.coordinates(to) - within.coordinates(start)) @ within.write.to(start)
        return (change.unflatten(-1, self.row) if together else change).to(current.dtype)

    def _control(
        self, clean: Tensor, corrupt: Tensor, patches: Sequence[Patch], pos: At | None
    ) -> tuple[Tensor, Tensor]:
        """Rows as far from the corrupt run's as the patched ones, in random directions; and which numbers these are."""
        noise = self._at(self.noise, patches, pos)
        free = self._part(patches, whole_rows=True) & clean.isfinite() & corrupt.isfinite()
        if self.by_query:
            free = free & ((clean != 0) | (corrupt != 0))
        if self.choice.within is None:
            change = torch.where(free, clean - corrupt, 0)
        else:
            change = self._within(patches, clean, corrupt)
        change, noise = torch.where(self._part(patches), change, 0).to(noise), torch.where(free, noise, 0)
        over = tuple(range(3, noise.ndim))
        size, length = (x.square().sum(over, keepdim=True).sqrt() for x in (change, noise))
        return corrupt + noise * (size / length.clamp_min(torch.finfo(length.dtype).tiny)), free


def _chosen(one: list[int | None], some: tuple[int, ...] | None, n: int) -> Bool[Tensor, "patch n"]:
    number = torch.arange(n)
    if one[0] is not None:
        return number == torch.tensor(one)[:, None]
    chosen = torch.ones(n, dtype=torch.bool) if some is None else torch.isin(number, torch.tensor(some))
    return chosen.expand(len(one), n)


def draw_noise(
    choice: Choice, hook: int, sequences: Sequence[int], shape: tuple[int, ...], like: Tensor
) -> Float[Tensor, "control seq pos *row"]:
    """A direction for each row under each control, the same whatever sequences are drawn for beside it."""
    drawn = [
        [np.random.default_rng((seed, hook, s)).standard_normal(shape, np.float32) for s in sequences]
        for seed in range(choice.seed, choice.seed + choice.n_controls)
    ]
    noise = torch.from_numpy(np.array(drawn, np.float32).reshape(choice.n_controls, len(sequences), *shape))
    return noise.to(like.device, torch.promote_types(like.dtype, torch.float32))


def putting(
    site: Site, patches: Sequence[Patch], rows: slice, *, at: At = slice(0, None), each_its_own: bool = False
) -> HookFunction:
    """A hook that makes patches, in a pass of every sequence under one after the other.

    Args:
        site: where.
        patches: what is done.
        rows: which of the pass's patches these are.
        at: the positions that the pass has: from one on; or, where patches are of all at once, some of them.
        each_its_own: the pass has one position, which is each patch's own.
    """
    n_seq = len(site.where)
    by_position = patches[0].part.position is not None and not each_its_own

    def edit(value: Tensor, hook: Any) -> Tensor | None:
        seen, offset = positions_seen(value, hook), at.start if isinstance(at, slice) else 0
        first, after = seen.start + offset, seen.stop + offset
        chosen = [i for i, p in enumerate(patches) if not by_position or first <= p.part.position < after]
        if not chosen:
            return None
        edited = value.clone()
        # Views all: what is written there is written to the copy.
        mine = edited.unflatten(0, (-1, n_seq)).movedim(pos_dim_of(hook) + 1, 2)[rows]
        if not by_position:
            pos = slice(first, after) if isinstance(at, slice) else at
            mine[:] = site.put(mine, patches, None if each_its_own else pos)
            return edited
        of_these = [patches[i] for i in chosen]
        own = torch.tensor([patch.part.position for patch in of_these]) - first
        index = torch.tensor(chosen)
        mine[index, :, own] = site.put(mine[index, :, own][:, :, None], of_these, None)[:, :, 0]
        return edited

    return edit
