"""What a decoder looks at in its source, and how much of that is where the truth about the task says it should be."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from models.dataset import Dataset
from workbench.attention.label_grids import LabelGrids
from workbench.attention.streaming import PatternHook, pattern_hooks, stream_patterns
from workbench.interventions.intervals import over_documents

TRAINED, UNTRAINED, UNIFORM = "trained", "untrained", "uniform"
Places = Bool[np.ndarray, "seq target source"]


def right_places(data: Dataset) -> Places:
    """For each target position, the source positions that what is said next is read off, from exact labels.

    These are `aligned_source`, one position, or `span_start` and `span_end` (the end is not one of them). BOS has no
    labels, and so no place.

    Raises:
        ValueError: there is no source, or there are no such labels.
    """
    place, labels = np.arange(data.of_source().tokens.shape[1]), LabelGrids(data)
    if "aligned_source" in labels:
        found: Places = labels["aligned_source"][..., None] == place
        return found
    start, end = (labels[name][..., None] for name in ("span_start", "span_end"))
    return (start <= place) & (place < end)


def alignments(
    model: Any, data: Dataset, *, untrained: Any = None, right: Places | None = None, batch_size: int = 16
) -> pd.DataFrame:
    """A decoder's attention to its source, weight by weight.

    Args:
        model: a `Seq2Seq` with attention, or an `EncoderDecoderTransformer`.
        data: sequences with their sources; a line for every pair of real positions is made, so give some.
        untrained: the same subject before training, the control.
        right: where each target position should look (`right_places`).
        batch_size: sequences a pass.

    Returns:
        `hook, layer, head, sequence, target, source, variant` (`trained`, `untrained`), `weight`, and `right` where
        that was given.

    Raises:
        ValueError: the subject has no attention to a source, or `right` does not fit.
    """
    _check_places(data, right)
    tables = []
    for variant, subject in _subjects(model, untrained).items():
        for hook, pattern, rows in _patterns(subject, data, batch_size):
            part = slice(rows.start, rows.stop)
            real = data.mask[part, None, :, None] & data.of_source().mask[part, None, None]
            seq, head, target, source = (at.numpy() for at in real.expand_as(pattern).nonzero(as_tuple=True))
            about = {"hook": hook.name, "layer": hook.layer, "head": head, "sequence": seq + rows.start}
            about |= {"target": target, "source": source, "variant": variant}
            about["weight"] = pattern.numpy()[seq, head, target, source]
            if right is not None:
                about["right"] = right[seq + rows.start, target, source]
            tables.append(pd.DataFrame(about))
    return pd.concat(tables, ignore_index=True).astype({"layer": "Int64", "head": "Int64"})


def alignment_accuracy(
    model: Any,
    data: Dataset,
    right: Places | None = None,
    *,
    untrained: Any = None,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of a decoder's attention is where it should be, and how often the most attended place is right.

    Args:
        model: a `Seq2Seq` with attention, or an `EncoderDecoderTransformer`.
        data: sequences with their sources.
        right: where each target position should look; told from labels (`right_places`) where it is None.
        untrained: the same subject before training.
        batch_size: sequences a pass.
        seed: of the intervals.

    Returns:
        A line for each head and `variant` (`trained`; `untrained`; `uniform`, all real source positions alike, whose
        most attended place is drawn): `hook, layer, head, variant, mass, mass_low, mass_high, argmax, argmax_low,
        argmax_high, positions, sequences`; means over the target positions that have a place, with intervals (95%,
        over documents).

    Raises:
        ValueError: the subject has no attention to a source, `right` does not fit, or marks nothing.
    """
    right = right_places(data) if right is None else right
    _check_places(data, right)
    asked = right & data.mask.numpy()[..., None] & data.of_source().mask.numpy()[:, None]
    if not asked.any():
        raise ValueError("no target position has a place in the source that it should look at.")
    tables: dict[tuple[str, int | None, int | None, str], list[pd.DataFrame]] = {}
    for variant, subject in _subjects(model, untrained).items():
        for hook, pattern, rows in _patterns(subject, data, batch_size):
            for head, of_head in enumerate(pattern.unbind(1)):
                scores = alignment_scores(of_head.numpy(), asked[rows.start : rows.stop])
                key = (hook.name, hook.layer, head, variant)
                tables.setdefault(key, []).append(scores.assign(sequence=scores["sequence"] + rows.start))
    source = data.of_source().mask.numpy()[:, None]
    even = alignment_scores(np.broadcast_to(source / source.sum(-1, keepdims=True), asked.shape), asked)
    for hook in _cross(model):
        tables[hook.name, hook.layer, None, UNIFORM] = [even.assign(argmax=even["mass"])]
    lines = [
        dict(zip(("hook", "layer", "head", "variant"), key, strict=True)) | _summary(pd.concat(parts), data, seed)
        for key, parts in tables.items()
    ]
    return pd.DataFrame(lines).astype({"layer": "Int64", "head": "Int64"})


def alignment_scores(
    pattern: Float[np.ndarray, "seq target source"], right: Bool[np.ndarray, "seq target source"]
) -> pd.DataFrame:
    """How much of the attention is where it should be, for each sequence and target position that has such a place.

    Returns:
        Columns `sequence`, `position`, `mass`, the attention on the right places, and `argmax`, whether the most
        attended place is one of them.
    """
    sequence, position = np.nonzero(right.any(-1))
    top = np.take_along_axis(right, pattern.argmax(-1)[..., None], -1)[..., 0]
    return pd.DataFrame(
        {
            "sequence": sequence,
            "position": position,
            "mass": (pattern * right).sum(-1)[sequence, position],
            "argmax": top[sequence, position],
        }
    )


def _cross(model: Any) -> list[PatternHook]:
    found = [hook for hook in pattern_hooks(model) if hook.is_cross]
    if not found:
        raise ValueError(f"a {type(model).__name__} like this has no attention to a source.")
    return found


def _subjects(model: Any, untrained: Any) -> dict[str, Any]:
    return {TRAINED: model} | ({} if untrained is None else {UNTRAINED: untrained})


def _patterns(model: Any, data: Dataset, batch_size: int) -> list[tuple[PatternHook, Tensor, range]]:
    """The attention to the source, batch by batch, on the CPU: small beside a subject's self-attention."""
    found: list[tuple[PatternHook, Tensor, range]] = []

    def keep(hook: PatternHook, pattern: Tensor, rows: range) -> None:
        found.append((hook, pattern.cpu().clone(), rows))

    stream_patterns(model, data, _cross(model), keep, batch_size=batch_size, desc="alignments")
    return found


def _check_places(data: Dataset, right: Places | None) -> None:
    shape = (*data.tokens.shape[:2], data.of_source().tokens.shape[1])
    if right is not None and right.shape != shape:
        raise ValueError(f"right is {list(right.shape)}: it must be {list(shape)}, [seq, target, source].")


def _summary(scores: pd.DataFrame, data: Dataset, seed: int) -> dict[str, Any]:
    _, doc = np.unique(data.docs.numpy()[scores["sequence"]], return_inverse=True)
    counts = np.bincount(doc)
    found: dict[str, Any] = {}
    for name in ("mass", "argmax"):
        mean = over_documents(np.bincount(doc, scores[name].astype(float))[None], counts, seed)
        found |= {name: mean.value[0], f"{name}_low": mean.low[0], f"{name}_high": mean.high[0]}
    return found | {"positions": len(scores), "sequences": scores["sequence"].nunique()}
