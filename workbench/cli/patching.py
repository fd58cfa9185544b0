"""All that `workbench patch` does to pairs of prompts, part by part: a killed one goes on from the next part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import as_evaluated
from workbench.activations.recorder import axis_of
from workbench.cli.prompt_pairs import Prompts, words_of
from workbench.dynamics import has_recurrence
from workbench.features.vocabulary import token_strings
from workbench.interventions.ablation import ablate
from workbench.interventions.attribution import attribution_patching
from workbench.interventions.components import components_of
from workbench.interventions.direct_logit_attribution import beside_random, direct_logit_attribution
from workbench.interventions.lens_tokens import lens_tokens
from workbench.interventions.logit_lens import logit_lens
from workbench.interventions.metrics import LogitDifference, Metric, measured
from workbench.interventions.pairs import batch_of, run
from workbench.interventions.patching import activation_patching
from workbench.interventions.reading_out import ReadOutOf, read_out_of
from workbench.interventions.results import (
    ATTRIBUTION,
    BETWEEN,
    DIFFER,
    LAST,
    LENS,
    LENS_TOKENS,
    PAIRS,
    PROFILE,
    PROMPTS,
    RESULT,
    kept_table,
)
from workbench.interventions.stand_ins import Ablation

METHODS = ("patching", "attribution", "ablation")


@dataclass(frozen=True)
class Settings:
    """How an experiment is made.

    Attributes:
        method: one of `METHODS`.
        hooks: where.
        by: what is patched one at a time.
        ablation: what stands in, of an ablation.
        n_controls: random directions for each line.
        seed: of these, and of intervals.
    """

    method: str
    hooks: Sequence[str]
    by: Sequence[str]
    ablation: Ablation
    n_controls: int
    seed: int


def patch_prompts(model: Any, untrained: Any, prompts: Prompts, folder: Path, settings: Settings) -> dict[str, Any]:
    """Intervene on pairs of prompts, and read the same prompts by lens and direct attribution; write it all down.

    Where positions are taken one at a time, the map is of the pairs whose prompts differ at the same positions and are
    as long as those of most: elsewhere the same position means another thing. The profile and the lens are of all.

    Args:
        model: the subject.
        untrained: the same before training, a control of the lens; None where that was not kept.
        prompts: the pairs.
        folder: where; parts that lie there are not made again.
        settings: how.

    Returns:
        `axes`, by hook whose positions it has rows for; the mean metric of `clean` and `corrupt` prompts; and of how
        many pairs the map is.

    Raises:
        ValueError: as the functions that it calls.
    """
    by_position = "position" in settings.by
    layouts = layouts_of(prompts)
    (common, _), *_ = Counter(layouts).most_common(1)
    chosen = [i for i, layout in enumerate(layouts) if layout == common] if by_position else list(range(len(layouts)))
    clean, corrupt = (_metric_of(model, prompts.metric, data) for data in (prompts.clean, prompts.corrupt))
    if settings.method != "ablation" and not (clean.mean() - corrupt.mean()).abs() > 0:
        raise ValueError("the metric is the same on clean and on corrupt prompts: there is nothing to restore.")
    part = _some(prompts, torch.tensor(chosen))
    kept_table(folder / RESULT, lambda: _map(model, part, settings))
    kept_table(folder / PROMPTS, lambda: _prompts_table(prompts, set(chosen)))
    kept_table(folder / PAIRS, lambda: _pairs_table(model, prompts, clean, corrupt))
    axes = {hook: axis_of(model, hook) for hook in settings.hooks}
    if (
        settings.method == "patching"
        and by_position
        and prompts.position is not None
        and set(axes.values()) == {"target"}
    ):
        kept_table(folder / PROFILE, lambda: profile(model, prompts, settings))
    lens: dict[str, Any] = {"untrained": untrained, "seed": settings.seed}
    if prompts.answer is not None and (read_out := _read_out(model)) is not None:
        kept_table(folder / LENS, lambda: logit_lens(model, prompts.clean, targets=prompts.targets, **lens))
        if _adds_up(model, read_out):
            kept_table(folder / ATTRIBUTION, lambda: _attribution(model, prompts, settings.seed))
    if prompts.speaks:
        first = _some(prompts, torch.tensor(chosen[:1]))
        kept_table(folder / LENS_TOKENS, lambda: _likeliest(model, first, lens))
    return {
        "axes": axes,
        "clean": float(clean.mean()),
        "corrupt": float(corrupt.mean()),
        "pairs": len(prompts),
        "mapped": len(chosen),
    }


def layouts_of(prompts: Prompts) -> list[tuple[int, ...]]:
    """For each pair how long it is up to where its answer is asked, and the positions until there that differ."""
    differs = _differs(prompts.clean, prompts.corrupt)
    lengths = prompts.clean.mask.sum(1) if prompts.position is None else prompts.position + 1
    rows = zip(lengths.tolist(), differs, strict=True)
    return [(n, *row[:n].nonzero()[:, 0].tolist()) for n, row in rows]


def profile(model: Any, prompts: Prompts, settings: Settings) -> pd.DataFrame:
    """By hook what is restored by patching every position of a place at once, over pairs of any length.

    Returns:
        `hook, place, variant, seed, effect, value, clean, corrupt, sequences`; `effect` is the share of the means' gap.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, layout in enumerate(layouts_of(prompts)):
        groups.setdefault(layout, []).append(i)
    tables = []
    for (length, *differing), rows in groups.items():
        part = _some(prompts, torch.tensor(rows))
        for place, positions in _places(length, differing, part.clean.bos is not None).items():
            if positions:
                found = activation_patching(
                    model,
                    part.clean,
                    part.corrupt,
                    part.metric,
                    list(settings.hooks),
                    by=(),
                    positions=positions,
                    n_controls=settings.n_controls,
                    seed=settings.seed,
                )
                tables.append(found.assign(place=place))
    table = pd.concat(tables, ignore_index=True)
    numbers = ["value", "clean", "corrupt"]
    table[numbers] = table[numbers].mul(table["sequences"].astype(float), axis=0)
    keys = ["hook", "place", "variant", "seed"]
    sums = table.groupby(keys, sort=False, dropna=False, as_index=False)[[*numbers, "sequences"]].sum()
    sums[numbers] = sums[numbers].div(sums["sequences"].astype(float), axis=0)
    sums["effect"] = (sums["value"] - sums["corrupt"]) / (sums["clean"] - sums["corrupt"])
    return sums[[*keys, "effect", *numbers, "sequences"]]


def _places(length: int, differing: Sequence[int], has_bos: bool) -> dict[str, list[int]]:
    """The positions of each place; one that differs and is the last is the last alone."""
    last = length - 1
    differ = [position for position in differing if position != last]
    between = [p for p in range(min(differing, default=0) + 1, last) if p not in differ]
    return {DIFFER: differ, BETWEEN: [p for p in between if p or not has_bos], LAST: [last]}


def _map(model: Any, prompts: Prompts, settings: Settings) -> pd.DataFrame:
    how: dict[str, Any] = {"by": settings.by, "n_controls": settings.n_controls, "seed": settings.seed}
    pair, hooks = (prompts.clean, prompts.corrupt), list(settings.hooks)
    if settings.method == "patching":
        return activation_patching(model, *pair, prompts.metric, hooks, **how)
    if settings.method == "attribution":
        return attribution_patching(model, *pair, prompts.metric, hooks, **how)
    return ablate(model, prompts.clean, prompts.metric, hooks, ablation=settings.ablation, **how)


def _read_out(model: Any) -> ReadOutOf | None:
    """How logits are read off a subject; None of a kind that has no stream to read them off."""
    try:
        return read_out_of(model)
    except ValueError:
        return None


def _fineness(model: Any) -> str:
    """How fine a logit is taken apart: by head, or by unit of a recurrent subject's state."""
    return "neuron" if has_recurrence(model) else "head"


def _adds_up(model: Any, read_out: ReadOutOf) -> bool:
    """Whether logits are sums of what parts add: not where a tanh caps them, or each norm changes all of the stream."""
    try:
        components_of(model, read_out, {_fineness(model)})
    except ValueError:
        return False
    return read_out.cap is None


def _attribution(model: Any, prompts: Prompts, seed: int) -> pd.DataFrame:
    """What each head and MLP adds to the clean prompts' logit differences; of a recurrent subject each unit."""
    assert prompts.answer is not None
    answers: dict[str, Any] = {"wrong": prompts.wrong, "positions": prompts.position}
    by = _fineness(model)
    return beside_random(
        direct_logit_attribution(model, prompts.clean, prompts.answer, **answers, by=by, n_controls=40, seed=seed)
    )


def _likeliest(model: Any, prompts: Prompts, how: dict[str, Any]) -> pd.DataFrame:
    """The likeliest tokens in words, or, where there is no tokenizer, their numbers."""
    found = lens_tokens(model, prompts.clean, targets=prompts.targets, k=1, **how)
    return found.assign(text=found["text"].where(found["text"].notna(), found["token"].astype(str)))


def _metric_of(model: Any, metric: Metric, data: Dataset) -> Tensor:
    """The metric of each sequence of an unpatched run."""
    found = []
    with as_evaluated(model), torch.inference_mode():
        for seq in torch.arange(len(data)).split(64):
            batch = batch_of(data, seq)
            found.append(measured(metric, run(model, batch), batch).double().cpu())
    return torch.cat(found).clone()


def _some(prompts: Prompts, rows: Int[Tensor, " chosen"]) -> Prompts:
    clean, corrupt = (data.select(rows) for data in (prompts.clean, prompts.corrupt))
    if prompts.answer is None or prompts.wrong is None or prompts.position is None:
        return Prompts(clean, corrupt, prompts.metric, None, None, None, prompts.speaks)
    answer, wrong, position = (x[rows] for x in (prompts.answer, prompts.wrong, prompts.position))
    metric = LogitDifference(answer, wrong, position)
    return Prompts(clean, corrupt, metric, answer, wrong, position, prompts.speaks)


def _differs(clean: Dataset, corrupt: Dataset) -> Tensor:
    apart = clean.tokens != corrupt.tokens
    return apart.flatten(2).any(2) if apart.ndim == 3 else apart


def _prompts_table(prompts: Prompts, mapped: set[int]) -> pd.DataFrame:
    rows = []
    axes = ("target", "source")[: 1 + (prompts.clean.source is not None)]
    for axis in axes:
        pair = [data.on_axis(axis) for data in (prompts.clean, prompts.corrupt)]
        apart = _differs(*pair)
        words = [words_of(data, axis) for data in (prompts.clean, prompts.corrupt)]
        for i, (ours, theirs) in enumerate(zip(*words, strict=True)):
            for position, (clean, corrupt) in enumerate(zip(ours, theirs, strict=True)):
                about = {"pair": i, "axis": axis, "position": position, "clean": clean, "corrupt": corrupt}
                rows.append(about | {"differs": bool(apart[i, position]), "mapped": i in mapped})
    return pd.DataFrame(rows)


def _pairs_table(model: Any, prompts: Prompts, clean: Tensor, corrupt: Tensor) -> pd.DataFrame:
    texts = [
        "".join(w[prompts.clean.bos is not None :])
        for d in (prompts.clean, prompts.corrupt)
        for w in words_of(d, "target")
    ]
    n = len(prompts)
    table = pd.DataFrame({"pair": range(n), "clean_text": texts[:n], "corrupt_text": texts[n:]})
    tokenizer = getattr(model, "tokenizer", None) if prompts.speaks else None
    for name, ids in (("answer", prompts.answer), ("wrong", prompts.wrong)):
        table[name] = "" if ids is None else token_strings(tokenizer, ids.tolist())
    return table.assign(clean=clean.numpy(), corrupt=corrupt.numpy())
