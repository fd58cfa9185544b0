"""`ablate`: what a subject does without one part of it or several, each held against a random change as large.

What stands in for a part decides what its absence costs, often its sign as well (Zhang and Nanda 2024, "Towards best
practices of activation patching in language models"; Li and Janson 2024, "Optimal ablation for interpretability"):
every result names its ablation.

ablate(model, data, TargetLoss(), ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"])
"""

import operator
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.evaluation import as_evaluated
from models.step_hooks import HookFunction, pos_dim_of, positions_seen
from workbench.interventions.controls import random_rotation
from workbench.interventions.hook_parts import (
    COLUMNS,
    HookShape,
    Part,
    as_table,
    hook_names,
    hook_shapes,
    parts_of,
)
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.masked_keys import noting_keys, turned
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given, as_dataset
from workbench.interventions.passes import Hooks, measure_jobs, refuse_unusable
from workbench.interventions.positions import Positions
from workbench.interventions.stand_ins import Ablation, StandIns, refuse_unknown

ABLATED, DIRECTION = "ablation", "random direction"
Places = Sequence[str | tuple]
ABLATION_COLUMNS = (
    *(*COLUMNS, "ablation", "variant", "seed", "value", "low", "high", "unablated"),
    *("effect", "effect_low", "effect_high", "sequences"),
)


class _Job(NamedTuple):
    """What is ablated together, under a name where it is not one place; `seed` turns the change that this makes."""

    name: str | None
    parts: tuple[Part, ...]
    seed: int | None = None


def ablate(
    model: Any,
    data: Given,
    metric: Metric,
    hooks: str | Sequence[str] | Mapping[str, Places],
    *,
    ablation: Ablation = "mean",
    by: Sequence[str] = ("head",),
    positions: Positions | None = None,
    heads: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    reference: Given | None = None,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Take parts of a subject out, one at a time, and measure what it does then.

    In a recurrence what stands in for a step's value is what later steps go on from. Padding is never ablated, and of
    patterns and scores nothing is but what the query may see: a later key stays unseen.

    Args:
        model: the subject.
        data: the sequences that it is run on.
        metric: `metric(output)` or `metric(output, batch)`, one number a sequence.
        hooks: names of hooks, of which parts are ablated one at a time; or, by names of your own, sets of places that
            are ablated together: `{"both": [("blocks.0.attn.hook_z", 1), ("blocks.1.attn.hook_z", 0)]}`. A place is a
            hook, `(hook, head)` or a `Part`; `by` says nothing of sets.
        ablation: what stands in: `zero`; `mean`, over all positions of the reference that count; `position mean`, over
            its sequences at each position; `resample`, what another sequence, drawn at random, has at that position.
        by: which of "position", "head" and "unit" are ablated one at a time; what is not among them all at once.
        positions: those that are ablated, by number or as a mask; all real ones where None.
        heads: of the hooks' heads, those that are ablated.
        units: of the last axis, those that are ablated.
        reference: the sequences that means are over and others drawn from; `data` itself where None.
        bos: whether BOS is ablated, and counts in means, too.
        n_controls: random directions for each line; none where a row is one number, which has no other direction.
        batch_size: sequences a pass, whichever parts they are without.
        seed: of the first control, of what is resampled, and of the intervals.

    Returns:
        A line for each part and `variant`: `ablation`, or `random direction`, every row of a head (or hook) moved as
        far as the ablation moves it, but turned by a rotation of the whole row, drawn by `seed` (of patterns and
        scores, of the keys that the query may see). `value` is the mean of the metric over the sequences that have the
        part's position, `unablated` theirs before, `effect` the difference, each with its interval (95%, over
        documents; NaN of one). Of a set, `hook` is its name.

    Raises:
        ValueError: there is no such hook, head, position, unit or ablation, nothing is chosen, there is nothing to take
            a mean over or to resample from, or the metric does not give one finite number a sequence.
    """
    data = as_dataset(data)
    refuse_unknown(ablation)
    refuse_unusable(metric, n_controls=n_controls, batch_size=batch_size, seed=seed)
    named = _sets(hooks) if isinstance(hooks, Mapping) else []
    names = hook_names(model, hooks if not isinstance(hooks, Mapping) else [p.hook for job in named for p in job.parts])
    shapes = hook_shapes(model, data, names, positions=positions, heads=heads, units=units, bos=bos)
    _refuse_absent(shapes, named)
    chosen = named or [_Job(None, (part,)) for part in parts_of(shapes, by)]
    where = {name: shape.where for name, shape in shapes.items()}
    stand_ins = StandIns.of(
        model, data, names, ablation, where=where, reference=reference, bos=bos, batch_size=batch_size, seed=seed
    )
    seeds = range(seed, seed + n_controls)
    jobs = [_Job("", ())]
    for job in chosen:  # there is no other direction on a line
        turns = all(shapes[part.hook].rest[-1] > 1 for part in job.parts)
        jobs += [job._replace(seed=s) for s in (None, *(seeds if turns else ()))]
    editing = _Editing(jobs, shapes, stand_ins)
    values = measure_jobs(model, data, metric, len(jobs), editing.hooks, batch_size=batch_size, desc="ablations")
    return _table(jobs, shapes, values, ablation, data.docs.numpy(), seed)


def ablating(
    model: Any,
    data: Given,
    places: str | Places,
    *,
    ablation: Ablation = "mean",
    positions: Positions | None = None,
    reference: Given | None = None,
    seq: Int[Tensor, " chosen"] | None = None,
    bos: bool = False,
    batch_size: int = 64,
    seed: int = 0,
) -> Hooks:
    """Hooks that ablate some places together, for `run_with_hooks` (`fwd_hooks=`) or `hooks` of the subject.

    The arguments are those of `ablate`, whose ablation this is.

    Args:
        model: the subject, about to be run on these sequences.
        data: what it will be run on.
        places: hooks, `(hook, head)`, or `Part`s.
        ablation: what stands in.
        positions: those that are ablated; all real ones where None.
        reference: what means are over, and others drawn from.
        seq: the numbers of the sequences that it will be run on, where that is not all of them in their order.
        bos: whether BOS is ablated too.
        batch_size: sequences a pass, of the reference.
        seed: of what is resampled.

    Raises:
        ValueError: as `ablate`.
    """
    data = as_dataset(data)
    refuse_unknown(ablation)
    whole_number(batch_size, "batch_size", least=1)
    whole_number(seed, "seed")
    jobs = [_Job("", _parts([places] if isinstance(places, str) else places))]
    names = hook_names(model, [part.hook for part in jobs[0].parts])
    shapes = hook_shapes(model, data, names, positions=positions, bos=bos)
    _refuse_absent(shapes, jobs)
    where = {name: shape.where for name, shape in shapes.items()}
    stand_ins = StandIns.of(
        model, data, names, ablation, where=where, reference=reference, bos=bos, batch_size=batch_size, seed=seed
    )
    with as_evaluated(model):
        return _Editing(jobs, shapes, stand_ins).hooks([0], torch.arange(len(data)) if seq is None else seq)


def _sets(hooks: Mapping[str, Places]) -> list[_Job]:
    if not hooks:
        raise ValueError("no set of places was named: name at least one.")
    return [_Job(name, _parts([places] if isinstance(places, str) else places)) for name, places in hooks.items()]


def _parts(places: Places) -> tuple[Part, ...]:
    found = tuple(Part(place) if isinstance(place, str) else _part(place) for place in places)
    if not found:
        raise ValueError("there is nothing to ablate: name at least one hook, or (hook, head).")
    return found


def _part(place: tuple) -> Part:
    hook, *of = place
    try:
        # A head may come from a table, whose numbers are not Python's own.
        return Part(hook, *(None if number is None else operator.index(number) for number in of))
    except TypeError:
        raise ValueError(f"{place!r} is no place: name a hook, (hook, head), or a Part, by whole numbers.") from None


def _refuse_absent(shapes: Mapping[str, HookShape], jobs: Sequence[_Job]) -> None:
    for job in jobs:
        for part in job.parts:
            shapes[part.hook].refuse_absent(part)


class _Editing:
    """Hooks of passes in which some sequences are under some jobs, `[job · seq, …]`."""

    def __init__(self, jobs: Sequence[_Job], shapes: Mapping[str, HookShape], stand_ins: StandIns) -> None:
        self.jobs, self.shapes, self.stand_ins = jobs, shapes, stand_ins
        self.rotation = cache(random_rotation)

    def hooks(self, numbers: Sequence[int], seq: Int[Tensor, " chosen"]) -> Hooks:
        """The forward hooks of a pass."""
        jobs = [self.jobs[number] for number in numbers]
        touched = {part.hook for job in jobs for part in job.parts}
        # All hooks of the analysis, so that what was read of other sequences serves the next pass on these as well.
        values = self.stand_ins.at(tuple(self.shapes), seq) if touched else {}
        hooks: Hooks = []
        for name in (name for name in self.shapes if name in touched):
            visible: dict[str, Tensor] = {}
            hooks += noting_keys(self.stand_ins.model, name, visible)
            hooks.append((name, self._edit(self.shapes[name], jobs, values[name], seq, visible)))
        return hooks

    def _edit(
        self,
        shape: HookShape,
        jobs: Sequence[_Job],
        stand_in: Tensor,
        seq: Int[Tensor, " chosen"],
        visible: Mapping[str, Tensor],
    ) -> HookFunction:
        masks = torch.stack([_mask(shape, job, seq) for job in jobs])
        if stand_in.ndim < masks.ndim - 1:  # zero, whatever the shape
            stand_in = stand_in.view(*stand_in.shape, *[1] * len(shape.rest))

        def edit(value: Tensor, hook: Any) -> Tensor | None:
            axis, seen = pos_dim_of(hook), positions_seen(value, hook)
            if len(value) != len(jobs) * len(seq):
                raise ValueError(f"the ablation is of {len(jobs) * len(seq)} sequences, but {len(value)} are run.")
            if seen.stop > masks.shape[2]:  # new positions of a generation, of which nothing was said
                return None
            mask = masks[:, :, seen].to(value.device)
            if not mask.any():
                return None
            x = value.movedim(axis, 1).unflatten(0, (len(jobs), len(seq)))
            put = stand_in if stand_in.shape[1] == 1 else stand_in[:, seen]
            if visible:
                mask = mask & visible["keys"].movedim(axis, 1).unflatten(0, (len(jobs), len(seq)))
            edited = torch.where(mask, put.to(x), x)
            for j, job in enumerate(jobs):
                if job.seed is not None and mask[j].any():
                    edited[j] = turned(x[j], edited[j], self.rotation(x.shape[-1], job.seed), by_query=axis == 2)
            return edited.flatten(0, 1).movedim(1, axis)

        return edit


def _mask(shape: HookShape, job: _Job, seq: Int[Tensor, " chosen"]) -> Bool[Tensor, "chosen pos *rest"]:
    mask = torch.zeros(len(seq), shape.where.shape[1], *shape.rest, dtype=torch.bool)
    for part in job.parts:
        if part.hook == shape.hook:
            mask |= shape.mask(part, seq)
    return mask


def _table(
    jobs: Sequence[_Job],
    shapes: Mapping[str, HookShape],
    values: Float[Tensor, "job seq"],
    ablation: str,
    docs: Any,
    seed: int,
) -> pd.DataFrame:
    """The lines; the first job is the subject as it is."""
    of = torch.stack([_touched(shapes, job) for job in jobs[1:]]).numpy()
    unablated, found = values[0].numpy(), values[1:].numpy()
    value, effect = (mean_over_documents(x, docs, of=of, seed=seed) for x in (found, found - unablated))
    before = mean_over_documents(unablated[None].repeat(len(found), 0), docs, of=of, seed=seed).value
    rows = []
    for i, job in enumerate(jobs[1:]):
        where = job.parts[0].columns if job.name is None else {"hook": job.name}
        variant = ABLATED if job.seed is None else DIRECTION
        about = {"ablation": ablation, "variant": variant, "seed": job.seed, "unablated": before[i]}
        numbers = {"value": value.value[i], "low": value.low[i], "high": value.high[i], "effect": effect.value[i]}
        ends = {"effect_low": effect.low[i], "effect_high": effect.high[i], "sequences": int(of[i].sum())}
        rows.append(where | about | numbers | ends)
    return as_table(rows, ABLATION_COLUMNS)


def _touched(shapes: Mapping[str, HookShape], job: _Job) -> Bool[Tensor, " seq"]:
    return torch.stack([shapes[part.hook].touches(part) for part in job.parts]).any(0)
