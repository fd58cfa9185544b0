"""`attribution_patching`: what patching every part would do, estimated from gradients in two runs and one pass back.

The effect of putting a clean value in the place of a corrupt one is about (a_clean − a_corrupt) · ∂metric/∂a (Nanda
2023, "Attribution patching"; Syed, Rager and Conmy 2023, arXiv 2310.10348). Taken at the corrupt run the gradient is
blind to what saturates on the way; its mean along the straight path from one value to the other is not (integrated
gradients: Sundararajan, Taly and Yan 2017, arXiv 1703.01365, equation 1; for circuits Hanna, Pezzelle and Belinkov
2024, arXiv 2403.17806, and Marks et al. 2024, arXiv 2403.19647).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import Batch, as_evaluated
from models.progress import progress
from models.step_hooks import StepHookPoint
from workbench.interventions.controls import random_rotation
from workbench.interventions.gradients import Slopes, slope_by_output, slopes_at
from workbench.interventions.hook_parts import (
    COLUMNS,
    HookShape,
    Part,
    as_table,
    checked_parts,
    hook_names,
    hook_shapes,
    parts_of,
)
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.masked_keys import by_query, seen_in, slope_among
from workbench.interventions.metrics import Metric, measured, restored, takes_batch
from workbench.interventions.pairs import Given, aligned, batch_of, run
from workbench.interventions.passes import measure_jobs, refuse_unusable
from workbench.interventions.positions import Positions

ATTRIBUTION, INTEGRATED, DIRECTION = "attribution", "integrated gradients", "random direction"
ATTRIBUTION_COLUMNS = (
    *(*COLUMNS, "variant", "seed", "value", "low", "high", "effect", "effect_low", "effect_high"),
    *("clean", "corrupt", "sequences"),
)


def attribution_patching(
    model: Any,
    clean: Given,
    corrupt: Given,
    metric: Metric,
    hooks: str | Sequence[str],
    *,
    by: Sequence[str] = ("position",),
    steps: int = 1,
    positions: Positions | None = None,
    heads: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate what `activation_patching` would find, for all parts of all hooks at once.

    A batch of sequences costs one clean run, one corrupt run and one pass back, however many hooks and parts there
    are. With `steps` > 1 each hook is moved from its corrupt to its clean values by itself, which costs as many runs
    and passes back for each; where all that the metric hears of goes through the hook, the effects of its parts then
    add up to 1.

    In a recurrence a step's gradient is that of all that follows from it, later steps too, which answers for a patch of
    this step alone: these are patched by position.

    Args:
        model: the subject.
        clean, corrupt: sequences, aligned position by position.
        metric: `metric(output)` or `metric(output, batch)`, one number a sequence; the batch is always the clean one,
            which says what is asked. A metric of the output alone is given all sequences in order: where they are more
            than a batch both runs are made once more for it.
        hooks: names.
        by: which of "position", "head" and "unit" are patched one at a time; what is not among them all at once.
        steps: points of the path at which gradients are taken, in the middle of as many equal stretches; 1: at the
            corrupt run.
        positions: those that are patched, by number or as a mask; all real ones where None.
        heads: of the hooks' heads, those that are patched.
        units: of the last axis, those that are patched.
        bos: whether BOS is patched too.
        n_controls: random directions for each line; none where a row is one number, which has no other direction.
        batch_size: sequences a pass.
        seed: of the first control, and of the intervals.

    Returns:
        A line for each part and `variant`: `attribution` (`integrated gradients` of several steps), and `random
        direction`, the same of displacements as large, turned by a rotation of the whole row drawn by `seed` (of
        patterns and scores, of the keys that the query sees). `value` is what the metric should then be over the
        sequences that have something to patch there, `effect` the share of the gap between `corrupt` (0) and `clean`
        (1) of the same, with intervals (95%, over documents, the gap held).

    Raises:
        ValueError: the sequences are not aligned, the metric has no gap between them, does not give one finite number a
            sequence, or wants several steps of more sequences at once than `batch_size`; there is no such hook, head,
            position or unit; steps of a recurrence are asked for all at once.
    """
    clean, corrupt = aligned(clean, corrupt)
    whole_number(steps, "steps", least=1)
    refuse_unusable(metric, n_controls=n_controls, batch_size=batch_size, seed=seed)
    names = hook_names(model, hooks)
    together = not takes_batch(metric) and len(clean) > batch_size
    if together and steps > 1:
        raise ValueError(
            f"a metric of the output alone is given all {len(clean)} sequences at once, but batch_size is "
            f"{batch_size}: give the metric a second parameter, the batch, take one step, or raise batch_size."
        )
    for name in names:
        if isinstance(model.hook_dict[name], StepHookPoint) and "position" not in checked_parts(by):
            raise ValueError(
                f"{name} fires once a step, and one gradient cannot say what several steps would do together: patch "
                "one at a time (by with 'position')."
            )
    shapes = hook_shapes(model, corrupt, names, positions=positions, heads=heads, units=units, bos=bos)
    parts = parts_of(shapes, by)
    seeds: list[int | None] = [None, *range(seed, seed + n_controls)]
    if steps > 1:  # before any long work: whether there is a gap
        how: dict[str, Any] = {"asked": clean, "batch_size": batch_size}
        of_clean, of_corrupt = (measure_jobs(model, d, metric, 1, lambda *_: [], **how)[0] for d in (clean, corrupt))
        restored(of_corrupt, of_clean, of_corrupt)
    effects = torch.empty(len(parts), len(seeds), len(clean), dtype=torch.float64)
    before = torch.empty(2, len(clean), dtype=torch.float64)

    @cache
    def turn(s: int | None, d: int) -> Tensor | None:
        return None if s is None else random_rotation(d, s)

    with as_evaluated(model):
        numbers = torch.arange(len(clean)).split(batch_size)
        measures = _of_all(model, (clean, corrupt), metric, numbers) if together else [None] * len(numbers)
        for seq, measure in zip(progress(numbers, desc="attribution", unit="batch"), measures, strict=True):
            asked = batch_of(clean, seq)
            pair = asked, batch_of(corrupt, seq)
            of_output = measure or (partial(measured, metric, batch=asked),) * 2
            before[:, seq], found = _slopes(model, pair, of_output, shapes, seq, steps)
            for i, s in enumerate(seeds):
                of_hooks = [
                    _by_part(shape, found[name], parts, seq, turn(s, shape.rest[-1])) for name, shape in shapes.items()
                ]
                effects[:, i, seq] = torch.cat(of_hooks)
    restored(before[1], before[0], before[1])  # refuses where there is no gap
    variant = ATTRIBUTION if steps == 1 else INTEGRATED
    return _table(parts, seeds, shapes, effects, before, variant, clean.docs.numpy(), seed)


class Changes(NamedTuple):
    """Of a hook, `[batch, pos, …]`.

    Attributes:
        change: by how much the clean run's values are from the corrupt run's.
        slope: the metric's gradient on the way.
        seen: of patterns and scores, the keys that the query sees.
    """

    change: Tensor
    slope: Tensor
    seen: Bool[Tensor, "..."] | None


OfOutput = Callable[[Tensor], Float[Tensor, " batch"]]


@torch.no_grad()
def _of_all(
    model: Any, pair: tuple[Dataset, Dataset], metric: Metric, numbers: Sequence[Int[Tensor, " _"]]
) -> list[tuple[OfOutput, OfOutput]]:
    """Of each batch, the metric of the clean and of the corrupt run where it wants all sequences at once."""
    everything, found = batch_of(pair[0], torch.arange(len(pair[0]))), []
    for data in pair:
        output = torch.cat([run(model, batch_of(data, seq)) for seq in numbers])
        value, slope = measured(metric, output, everything), slope_by_output(metric, output, everything)
        found.append([partial(_known, value[seq], slope[seq]) for seq in numbers])
    return list(zip(*found, strict=True))


def _known(
    value: Float[Tensor, " batch"], slope: Float[Tensor, "batch pos d_out"], output: Float[Tensor, "batch pos d_out"]
) -> Float[Tensor, " batch"]:
    """A metric's value, with its slope."""
    return value + ((output - output.detach()) * slope).flatten(1).sum(1)


def _slopes(
    model: Any,
    pair: tuple[Batch, Batch],
    measure: tuple[OfOutput, OfOutput],
    shapes: Mapping[str, HookShape],
    seq: Int[Tensor, " batch"],
    steps: int,
) -> tuple[Float[Tensor, "2 batch"], dict[str, Changes]]:
    """The metric of the clean and the corrupt run; of each hook how far apart they are, and the gradient between."""
    names = list(shapes)
    clean = slopes_at(model, pair[0], measure[0], names, backward=False)
    corrupt = slopes_at(model, pair[1], measure[1], names, backward=steps == 1)
    before = torch.stack([clean.of_output, corrupt.of_output])
    # Where both are −∞ nothing changes.
    change = {
        n: torch.where(clean.values[n] == corrupt.values[n], 0, clean.values[n] - corrupt.values[n]) for n in names
    }
    slopes = corrupt.slopes
    if steps > 1:
        slopes = {
            name: _along(model, pair[1], measure[1], shapes[name], corrupt, change[name], seq, steps) for name in names
        }
    seen = {name: seen_in(clean.values[name], corrupt.values[name]) for name in names if by_query(model, name)}
    return before, {name: Changes(change[name], slopes[name], seen.get(name)) for name in names}


def _along(
    model: Any,
    batch: Batch,
    measure: OfOutput,
    shape: HookShape,
    corrupt: Slopes,
    change: Tensor,
    seq: Int[Tensor, " batch"],
    steps: int,
) -> Tensor:
    """The mean gradient on the way of one hook's values, where they are patched, from corrupt to clean."""
    start, where = corrupt.values[shape.hook], shape.mask(Part(shape.hook), seq).to(change.device) & (change != 0)
    total = torch.zeros_like(start)
    for step in range(steps):
        on_the_way = start + (step + 0.5) / steps * change
        at = slopes_at(model, batch, measure, [shape.hook], moved={shape.hook: (on_the_way, where)})
        total += at.slopes[shape.hook]
    return total / steps


def _by_part(
    shape: HookShape, found: Changes, parts: Sequence[Part], seq: Int[Tensor, " batch"], rotation: Tensor | None
) -> Float[Tensor, "part batch"]:
    """What the change of each part of a hook comes to; with a rotation, of that change turned."""
    where, mine = shape.mask(Part(shape.hook), seq), [part for part in parts if part.hook == shape.hook]
    change, slope = (x.double().cpu() for x in found[:2])
    change = torch.where(where, change, 0)
    if rotation is not None and found.seen is None:
        # (change @ rotation) · slope, for all parts of the change at once.
        slope = slope @ rotation.T
    elif rotation is not None and found.seen is not None:
        slope = slope_among(found.seen.cpu(), change, slope, rotation, one_at_a_time=mine[0].unit is not None)
    product = torch.where(where, change * slope, 0)
    product = product if shape.n_heads is not None else product.unsqueeze(2)
    index = []
    for axis, field in ((1, "position"), (2, "head"), (3, "unit")):
        numbers = [getattr(part, field) for part in mine]
        if numbers[0] is None:
            product, numbers = product.sum(axis, keepdim=True), [0] * len(mine)
        index.append(torch.tensor(numbers))
    return product[:, index[0], index[1], index[2]].T


def _table(
    parts: Sequence[Part],
    seeds: Sequence[int | None],
    shapes: Mapping[str, HookShape],
    effects: Float[Tensor, "part seed seq"],
    before: Float[Tensor, "2 seq"],
    variant: str,
    docs: Any,
    seed: int,
) -> pd.DataFrame:
    of = torch.stack([shapes[part.hook].touches(part) for part in parts]).repeat_interleave(len(seeds), 0)
    change = effects.flatten(0, 1)
    clean, corrupt = (torch.where(of, x, 0).sum(1).div(of.sum(1)).numpy() for x in before)
    gap = torch.from_numpy(clean - corrupt)[:, None]
    value, effect = (
        mean_over_documents(x.numpy(), docs, of=of.numpy(), seed=seed) for x in (change + before[1], change / gap)
    )
    rows = []
    for i, (part, s) in enumerate((part, s) for part in parts for s in seeds):
        if s is not None and shapes[part.hook].rest[-1] == 1:
            continue  # there is no other direction on a line
        about = part.columns | {"variant": variant if s is None else DIRECTION, "seed": s}
        numbers = {"value": value.value[i], "low": value.low[i], "high": value.high[i], "effect": effect.value[i]}
        numbers |= {"effect_low": effect.low[i], "effect_high": effect.high[i]}
        rows.append(about | numbers | {"clean": clean[i], "corrupt": corrupt[i], "sequences": int(of[i].sum())})
    return as_table(rows, ATTRIBUTION_COLUMNS)
