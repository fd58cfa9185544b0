"""`activation_patching`: what a subject restores of a clean run's behaviour when given some of its activations."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.evaluation import as_evaluated
from models.hooks import NamesFilter
from models.progress import progress
from models.step_hooks import pos_dim_of
from workbench.interventions import pairs
from workbench.interventions.hook_parts import checked_parts, chosen_numbers, touchable
from workbench.interventions.intervals import over_documents
from workbench.interventions.metrics import Metric, restored, takes_batch
from workbench.interventions.passes import refuse_unusable
from workbench.interventions.patch_plan import Plan
from workbench.interventions.positions import Positions
from workbench.interventions.rerunning import BothRuns, SomePairs, rerun
from workbench.interventions.resuming import CorruptRun, both_runs, can_resume, entry, kept_hooks, resumed
from workbench.interventions.sites import Choice, Site, draw_noise
from workbench.interventions.subspace import Subspace

_FORKS = ("hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input")
PATCH, DIRECTION = "patch", "random direction"
COLUMNS = (
    *("hook", "layer", "head", "position", "unit", "variant", "seed", "value", "low", "high"),
    *("effect", "effect_low", "effect_high", "clean", "corrupt", "sequences"),
)


def activation_patching(
    model: Any,
    clean: pairs.Given,
    corrupt: pairs.Given,
    metric: Metric,
    hooks: NamesFilter,
    *,
    by: Sequence[str] = ("position",),
    positions: Positions | None = None,
    heads: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    within: Subspace | None = None,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    bos: bool = False,
) -> pd.DataFrame:
    """Run the corrupt sequences with some activations of the clean ones, one patch at a time, many in a pass.

    Vig et al., "Investigating gender bias in language models using causal mediation analysis" (2020); Meng et al.,
    "Locating and editing factual associations in GPT" (2022). In a recurrence the patch of a step is what all later
    steps go on from. Of a `Transformer` only that is run which a patch can change: blocks from the patched one on,
    positions from the patched one on, and, for `LogitDifference`, of the last block the position that it reads.

    Args:
        model: the subject; it is run in evaluation mode, without gradients, and left as it was. Hooks that are attached
            to it stay at work.
        clean: sequences, or tokens of which all are real.
        corrupt: as many, each as long as its clean one.
        metric: of a run one number a sequence; see `workbench.interventions.metrics`. A metric with a second parameter
            is given the clean batch beside every output, for it asks of all runs what is asked of the clean one; a
            metric of the output alone is given all sequences at once, in their order.
        hooks: a name, several, or a predicate on names.
        by: what is patched one at a time, of `position` (a time step; of patterns and scores the query's), `head` and
            `unit` (of patterns and scores the key). What is not named is patched all at once.
        positions, heads, units: those that are patched, by number, positions as a mask too; all where None. Padding
            never is.
        within: only the coordinates in this subspace are patched, of a head's row where heads are patched one at a time
            and of all heads side by side otherwise.
        n_controls: draws of the control: of each row that a patch moves, as large a move in a random direction of its
            own (where units are patched one at a time, of the row that the unit is of). Where a row is one number
            there is no other direction, and no control. Those of `ablate`, of paths and
            of attributions turn all rows by one rotation instead, which leaves them as far from each other.
        batch_size: sequences a pass, each under one patch.
        seed: of the first draw, and of the intervals.
        bos: whether BOS is patched too.

    Returns:
        A line for each patch and each of its controls: `value` is the metric's mean over the sequences that have
        something to patch there (`sequences`), `clean` and `corrupt` those runs' means over the same ones, and `effect`
        the share of the difference between these that is restored: 0 as in the corrupt run, 1 as in the clean one.
        Intervals are 95%, over documents; those of the effect take the difference as it is.

    Raises:
        ValueError: the pairs are not aligned, a hook, position, head or unit is not there, `by` names what a hook has
            not, there is nothing to patch, the metric does not tell the clean from the corrupt sequences, or it does
            not give one finite number a sequence.
    """
    clean, corrupt = pairs.aligned(clean, corrupt)
    refuse_unusable(metric, n_controls=n_controls, batch_size=batch_size, seed=seed)
    names = model.match_hooks(hooks)
    checked_parts(by)
    where = [touchable(model, clean, name, positions, bos) for name in names]
    # A metric of the output alone may be of all sequences together.
    together = torch.arange(len(clean)).split(batch_size if takes_batch(metric) else len(clean))
    given = [SomePairs.of(clean, corrupt, seq, metric, batch_size) for seq in together]
    some_heads, some_units = (
        None if of is None else chosen_numbers(of, what) for of, what in ((heads, "heads"), (units, "units"))
    )
    choice = Choice(some_heads, some_units, within, n_controls, seed)
    with as_evaluated(model), torch.inference_mode():
        plan, found = _measured(model, given, names, where, by, choice)
    return _table(plan, found, clean.docs.numpy(), seed)


@dataclass(frozen=True)
class _Found:
    """The metric of each sequence, under every patch, and of the clean and the corrupt run."""

    values: Float[Tensor, "patch seq"]
    clean: Float[Tensor, " seq"]
    corrupt: Float[Tensor, " seq"]


def _measured(
    model: Any,
    given: list[SomePairs],
    hooks: list[str],
    where: list[Bool[Tensor, "seq _"]],
    by: Sequence[str],
    choice: Choice,
) -> tuple[Plan, _Found]:
    resume = [can_resume(model, hook) for hook in hooks]
    kept = kept_hooks(model) if any(resume) else []
    run_both = both_runs if kept else BothRuns.of
    both = run_both(model, given[0], hooks, kept)
    plan = Plan.of(both, hooks, where, by, choice)
    others = (run_both(model, some, []) for some in given[1:])
    ends = [(one.of_clean, one.of_corrupt) for one in itertools.chain([both], others)]
    of_clean, of_corrupt = (torch.cat(values) for values in zip(*ends, strict=True))
    restored(of_corrupt, of_clean, of_corrupt)  # before any long work: whether there is a gap
    values = torch.empty(len(plan.patches), len(of_clean), dtype=torch.float64)
    with progress(total=values.numel(), desc="patching", unit="run") as bar:
        for number, some in enumerate(given):
            both = both if number == 0 else run_both(model, some, hooks, kept)
            sites = _sites(model, some, plan, both)
            corrupt_run = CorruptRun.of(model, both) if kept else None
            for chosen in _passes(plan, resume, max(1, some.rows // len(some))):
                patches = [plan.patches[i] for i in chosen]
                if corrupt_run is not None and resume[patches[0].site]:
                    found = resumed(model, some, corrupt_run, sites, patches)
                else:
                    found = rerun(model, some, sites, patches)
                values[torch.tensor(chosen)[:, None], some.seq] = found
                bar.update(found.numel())
    return plan, _Found(values, of_clean, of_corrupt)


def _sites(model: Any, given: SomePairs, plan: Plan, both: BothRuns) -> list[Site]:
    """What stands at every hook in both runs of some pairs."""
    sites = []
    for name, where in zip(plan.hooks, plan.where, strict=True):
        clean, number = both.clean[name], list(model.hook_dict).index(name)
        noise = draw_noise(plan.choice, number, given.seq.tolist(), tuple(clean.shape[1:]), clean)
        by_query = pos_dim_of(model.hook_dict[name]) == 2
        here = where[given.seq].to(clean.device)
        sites.append(Site(name, by_query, clean, both.corrupt[name], here, noise, plan.choice))
    return sites


def _passes(plan: Plan, resume: list[bool], n_patches: int) -> list[list[int]]:
    """Which patches share a pass: of those that are resumed, those that begin near each other, whatever their block."""

    def turn(number: int) -> tuple[int, ...]:
        patch = plan.patches[number]
        return (patch.part.position or 0, entry(plan.hooks[patch.site])) if resume[patch.site] else (number,)

    passes = []
    # Where a norm is read by copies of the stream, nobody reads what is put in at the norm's own hooks.
    for kind in itertools.product((False, True), (False, True)):
        of_kind = [
            i for i, p in enumerate(plan.patches) if (resume[p.site], plan.hooks[p.site].endswith(_FORKS)) == kind
        ]
        of_kind.sort(key=turn)
        passes += [of_kind[start : start + n_patches] for start in range(0, len(of_kind), n_patches)]
    return passes


def _table(plan: Plan, found: _Found, docs: np.ndarray, seed: int) -> pd.DataFrame:
    """A line for each patch, in their order."""
    lines = [p.part.columns | {"variant": PATCH if p.seed is None else DIRECTION, "seed": p.seed} for p in plan.patches]
    at = [
        plan.where[p.site].any(1) if p.part.position is None else plan.where[p.site][:, p.part.position]
        for p in plan.patches
    ]
    some = torch.stack(at).numpy()
    numbers = np.full((len(lines), len(COLUMNS[7:])), np.nan)
    for of in np.unique(some, axis=0):  # lines of the same sequences
        rows = (some == of).all(1)
        numbers[rows] = _summary(found, rows, of, docs[of], seed)
    columns = {name: [line[name] for line in lines] for name in COLUMNS[:7]} | dict(
        zip(COLUMNS[7:], numbers.T, strict=True)
    )
    whole = ("layer", "head", "position", "unit", "seed", "sequences")
    # Made as it shall be: to fill a table and convert it takes as long as a pass of a small subject.
    return pd.DataFrame(columns | {name: pd.array(columns[name], "Int64") for name in whole})


def _summary(
    found: _Found, rows: np.ndarray, of: np.ndarray, docs: np.ndarray, seed: int
) -> Float[np.ndarray, "line column"]:
    """Means over some sequences, and where they stand between the clean and the corrupt run's."""
    values, clean, corrupt = found.values[rows][:, of].numpy(), found.clean[of].numpy(), found.corrupt[of].numpy()
    gap = clean.mean() - corrupt.mean()
    _, number = np.unique(docs, return_inverse=True)
    member = np.eye(number.max() + 1)[number]
    counts = member.sum(0).astype(np.int64)
    of_value = over_documents(values @ member, counts, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # of some sequences alone there may be nothing to restore
        of_effect = over_documents((values - corrupt) @ member, counts, seed)
        effect, *ends = (x / gap for x in of_effect)
    low, high = np.minimum(*ends), np.maximum(*ends)
    constant = (np.full(len(values), x) for x in (clean.mean(), corrupt.mean(), of.sum()))
    return np.stack([*of_value, effect, low, high, *constant], 1)
