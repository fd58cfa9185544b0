"""All that `workbench patch` does to pairs of prompts, part by part: a killed one goes on from the next part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from models.compiled import Node
from models.table_files import kept_table
from workbench.activations.recorder import axis_of
from workbench.experiments.answer_parts import adds_up, answer_parts
from workbench.experiments.ends import both_ends
from workbench.experiments.patching_results import (
    LENS,
    LENS_TOKENS,
    LOGIT_ATTRIBUTION,
    PAIRS,
    PROFILE,
    PROMPTS,
    RESULT,
)
from workbench.experiments.places import alike, by_place, differing
from workbench.experiments.prompts import Prompts, words_of
from workbench.features.vocabulary import token_strings
from workbench.interventions.ablation import ablate
from workbench.interventions.attribution import attribution_patching
from workbench.interventions.hook_parts import Part, named
from workbench.interventions.lens_tokens import lens_tokens
from workbench.interventions.logit_lens import logit_lens
from workbench.interventions.metrics import restored
from workbench.interventions.patching import activation_patching
from workbench.interventions.reading_out import ReadOutOf, read_out_of
from workbench.interventions.stand_ins import Ablation

METHODS = ("patching", "attribution", "ablation")


@dataclass(frozen=True)
class PatchingSettings:
    """How an experiment is made.

    Attributes:
        method: one of `METHODS`.
        hooks: where.
        by: what is patched one at a time.
        ablation: what stands in, of an ablation.
        sets: of an ablation, by name places that are ablated together, one set at a time; None: as `by` says.
        steps: of the way along which attribution takes gradients; 1: at the corrupt prompts.
        n_controls: random directions for each line.
        batch_size: prompts a pass.
        seed: of random directions, and of intervals.
    """

    method: str
    hooks: Sequence[str]
    by: Sequence[str]
    ablation: Ablation = "mean"
    steps: int = 1
    n_controls: int = 1
    batch_size: int = 64
    seed: int = 0
    sets: Mapping[str, Sequence[Part]] | None = None

    def __post_init__(self) -> None:
        if self.sets is not None and self.method != "ablation":
            raise ValueError(f"sets are of the method ablation: this one is {self.method}.")
        if self.method not in METHODS:
            raise ValueError(f"there is no method {self.method!r}: there are {', '.join(METHODS)}.")

    @property
    def keywords(self) -> dict[str, Any]:
        """Those that all methods take."""
        return {"n_controls": self.n_controls, "batch_size": self.batch_size, "seed": self.seed}


def patch_prompts(
    model: Any, untrained: Any, prompts: Prompts, folder: Path, settings: PatchingSettings
) -> dict[str, Any]:
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
    chosen = max((group.rows for group in alike(prompts)), key=len) if by_position else torch.arange(len(prompts))
    size = settings.batch_size
    clean, corrupt = both_ends(model, prompts, size)
    if settings.method != "ablation":
        restored(corrupt, clean, corrupt)  # before any long work: whether there is a gap
    part = prompts.some(chosen)
    kept_table(folder / RESULT, lambda: _map(model, part, settings))
    kept_table(folder / PROMPTS, lambda: _prompts_table(prompts, set(chosen.tolist())))
    kept_table(folder / PAIRS, lambda: pairs_table(model, prompts, clean, corrupt))
    axes = {hook: axis_of(model, hook) for hook in settings.hooks} if settings.sets is None else {}
    of_places = prompts.position is not None and set(axes.values()) == {"target"}
    if settings.method == "patching" and by_position and of_places:
        kept_table(folder / PROFILE, lambda: by_place(model, prompts, settings.hooks, **settings.keywords))
    lens: dict[str, Any] = {"untrained": untrained, "batch_size": size, "seed": settings.seed}
    if prompts.answer is not None and (read_out := _read_out(model)) is not None:
        kept_table(folder / LENS, lambda: logit_lens(model, prompts.clean, targets=prompts.targets, **lens))
        if adds_up(model, read_out):
            of_answer: dict[str, Any] = {"positions": prompts.position, "batch_size": size, "seed": settings.seed}
            parts = partial(answer_parts, model, prompts.clean, prompts.answer, prompts.wrong, **of_answer)
            kept_table(folder / LOGIT_ATTRIBUTION, parts)
    if prompts.speaks:
        first = prompts.some(chosen[:1])
        kept_table(folder / LENS_TOKENS, lambda: _likeliest(model, first, lens))
    return {
        "axes": axes,
        "clean": float(clean.mean()),
        "corrupt": float(corrupt.mean()),
        "pairs": len(prompts),
        "mapped": len(chosen),
    }


def _map(model: Any, prompts: Prompts, settings: PatchingSettings) -> pd.DataFrame:
    how = {"by": settings.by, **settings.keywords}
    pair, hooks = (prompts.clean, prompts.corrupt), list(settings.hooks)
    if settings.method == "patching":
        return activation_patching(model, *pair, prompts.metric, hooks, **how)
    if settings.method == "attribution":
        return attribution_patching(model, *pair, prompts.metric, hooks, steps=settings.steps, **how)
    if settings.sets is not None:
        found = ablate(model, prompts.clean, prompts.metric, dict(settings.sets), ablation=settings.ablation, **how)
        of = {name: ", ".join(named(Node(p.hook, p.head)) for p in places) for name, places in settings.sets.items()}
        return found.assign(places=found["hook"].map(of))
    return ablate(model, prompts.clean, prompts.metric, hooks, ablation=settings.ablation, **how)


def _read_out(model: Any) -> ReadOutOf | None:
    """How logits are read off a subject; None of a kind that has no stream to read them off."""
    try:
        return read_out_of(model)
    except ValueError:
        return None


def _likeliest(model: Any, prompts: Prompts, how: dict[str, Any]) -> pd.DataFrame:
    """The likeliest tokens in words, or, where there is no tokenizer, their numbers."""
    found = lens_tokens(model, prompts.clean, targets=prompts.targets, k=1, **how)
    return found.assign(text=found["text"].where(found["text"].notna(), found["token"].astype(str)))


def _prompts_table(prompts: Prompts, mapped: set[int]) -> pd.DataFrame:
    rows = []
    axes = ("target", "source")[: 1 + (prompts.clean.source is not None)]
    for axis in axes:
        pair = [data.on_axis(axis) for data in (prompts.clean, prompts.corrupt)]
        apart = differing(*pair)
        words = [words_of(data, axis) for data in (prompts.clean, prompts.corrupt)]
        for i, (ours, theirs) in enumerate(zip(*words, strict=True)):
            for position, (clean, corrupt) in enumerate(zip(ours, theirs, strict=True)):
                about = {"pair": i, "axis": axis, "position": position, "clean": clean, "corrupt": corrupt}
                rows.append(about | {"differs": bool(apart[i, position]), "mapped": i in mapped})
    return pd.DataFrame(rows)


def pairs_table(model: Any, prompts: Prompts, clean: Tensor, corrupt: Tensor) -> pd.DataFrame:
    """Each pair's texts and answers, and the metric of both runs."""
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
