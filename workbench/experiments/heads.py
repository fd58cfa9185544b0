"""All that `workbench heads` asks of a subject's heads, part by part: a killed survey goes on from the next part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from models.table_files import kept_table
from workbench.attention.alignments import alignment_accuracy, alignments, right_places
from workbench.attention.head_scores import head_scores
from workbench.attention.importance import head_importance, weighted_scores
from workbench.attention.random_heads import with_random_weights
from workbench.attention.streaming import PatternHook, pattern_hooks, stream_patterns
from workbench.experiments.heads_moved import moved_in, moved_table, rollouts_of, with_values
from workbench.experiments.heads_results import (
    ALIGNED,
    ALIGNMENTS,
    IMPORTANCE,
    MOVED,
    PATTERNS,
    ROLLOUTS,
    SCORES,
    VALUES,
    WEIGHTED,
    WORDS,
    write_patterns,
    write_rollouts,
    write_values,
)
from workbench.experiments.heads_weights import survey_weights
from workbench.features.vocabulary import ANY_STEP, token_strings
from workbench.interventions.stand_ins import Ablation

KEPT, LONGEST = 4, 128  # sequences whose patterns are kept, and their positions
_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class SurveySettings:
    """How a survey is made.

    Attributes:
        ablation: what stands in for a head's output where its importance is measured.
        seed: of random repeats, random weights, controls and intervals.
    """

    ablation: Ablation
    seed: int


def survey_heads(model: Any, untrained: Any, data: Dataset, folder: Path, settings: SurveySettings) -> dict[str, Any]:
    """Ask everything that can be asked of this subject's heads, and write it into a folder.

    Args:
        model: the subject.
        untrained: the same before training; None where that was not kept: random weights then stand in as the control
            of scores and alignments.
        data: sequences that it was not trained on.
        folder: where; parts that lie there are not made again.
        settings: how.

    Returns:
        By hook, whose positions its queries and keys are.

    Raises:
        ValueError: the subject has no attention.
    """
    hooks = pattern_hooks(model)
    control = with_random_weights(model, settings.seed) if untrained is None else untrained
    repeats = not data.tokens.is_floating_point() and data.tokens.shape[1] > 4
    kept_table(
        folder / SCORES,
        lambda: head_scores(model, data, untrained=control, random_repeats=repeats, seed=settings.seed),
    )
    survey_weights(model, untrained, data, folder, settings.seed)
    outputs = [name for name in model.hook_dict if name.endswith("attn.hook_z")]
    if outputs and not _asks_vectors(data):
        kept_table(
            folder / IMPORTANCE,
            lambda: head_importance(model, data, ablation=settings.ablation, seed=settings.seed),
        )
        scores, importance = (pd.read_parquet(folder / name) for name in (SCORES, IMPORTANCE))
        if importance["share"].notna().all():
            kept_table(folder / WEIGHTED, lambda: weighted_scores(scores, importance))
    kept = kept_sequences(data, hooks)
    _kept_patterns(model, control, kept, hooks, folder)
    kept_table(folder / WORDS, lambda: words_table(kept, model))
    if any(hook.is_cross for hook in hooks):
        some = data.select(torch.arange(len(kept)))
        known = _has_places(data)
        right = right_places(some) if known else None
        kept_table(folder / ALIGNMENTS, lambda: alignments(model, some, untrained=control, right=right))
        if known:
            kept_table(folder / ALIGNED, lambda: alignment_accuracy(model, data, untrained=control, seed=settings.seed))
    return {"axes": {hook.name: [hook.queries, hook.keys] for hook in hooks}}


def _kept_patterns(model: Any, control: Any, kept: Dataset, hooks: list[PatternHook], folder: Path) -> None:
    """What is drawn of some sequences: attention, what it moves, and attention through the layers."""
    if not (folder / PATTERNS).exists():
        write_patterns(folder, patterns_of(model, kept, hooks))
    moving = with_values(model, hooks)
    if moving:
        if not (folder / VALUES).exists():
            write_values(folder, moved_in(model, kept, moving))

        def moved() -> pd.DataFrame:
            own, other = (
                (patterns_of(subject, kept, moving), moved_in(subject, kept, moving)) for subject in (model, control)
            )
            return moved_table(moving, own, other)

        kept_table(folder / MOVED, moved)
    if any(not hook.is_cross for hook in hooks) and not (folder / ROLLOUTS).exists():
        write_rollouts(folder, rollouts_of(model, control, kept, hooks))


def kept_sequences(data: Dataset, hooks: Sequence[PatternHook]) -> Dataset:
    """The first sequences, cut where they are very long; fewer of a subject with very many heads."""
    n_heads = 16 * len(hooks)
    fits = max(1, _MOST_BYTES // (n_heads * LONGEST * LONGEST))
    rows = slice(0, min(KEPT, fits, len(data)))
    batch = data.batch(rows)
    cut: dict[str, Any] = {name: value[:, :LONGEST] for name, value in batch.items()}
    tokens, mask = cut.pop("input"), cut.pop("mask")
    return Dataset(tokens, mask, bos=data.bos, tokenizer=data.tokenizer, **cut)


@torch.inference_mode()
def patterns_of(
    model: Any, data: Dataset, hooks: Sequence[PatternHook]
) -> dict[tuple[str, int], Float[Tensor, "head query key"]]:
    """By hook and sequence the attention at the real positions."""
    real = {axis: data.on_axis(axis).mask.sum(1).tolist() for hook in hooks for axis in (hook.queries, hook.keys)}
    found: dict[tuple[str, int], Tensor] = {}

    def keep(hook: PatternHook, pattern: Tensor, rows: range) -> None:
        for row, of_row in zip(rows, pattern, strict=True):
            n_queries, n_keys = real[hook.queries][row], real[hook.keys][row]
            found[hook.name, row] = of_row[:, :n_queries, :n_keys].float().cpu().clone()

    stream_patterns(model, data, list(hooks), keep, desc="patterns")
    return found


def words_table(data: Dataset, model: Any) -> pd.DataFrame:
    """The real positions of sequences, and of their sources, in words: `sequence, axis, position, word`."""
    tables = []
    for axis in ("target", "source")[: 1 + (data.source is not None)]:
        rows = data.on_axis(axis)
        sequence, position = (at.numpy() for at in rows.mask.nonzero(as_tuple=True))
        tokenizer = data.tokenizer or getattr(model, "tokenizer", None)
        if rows.tokens.is_floating_point():
            words = [ANY_STEP] * len(sequence)
        else:
            words = token_strings(tokenizer, rows.tokens[rows.mask].tolist())
        tables.append(pd.DataFrame({"sequence": sequence, "axis": axis, "position": position, "word": words}))
    return pd.concat(tables, ignore_index=True)


def _asks_vectors(data: Dataset) -> bool:
    return data.tokens.is_floating_point() or (data.targets is not None and data.targets.is_floating_point())


def _has_places(data: Dataset) -> bool:
    """Whether it is known where a decoder should look."""
    labels = set() if data.labels is None else set(data.labels.column_names)
    return "aligned_source" in labels or {"span_start", "span_end"} <= labels
