"""`telling_sequence`: a sequence on which what a head is scored by can be seen, and the token at which to look."""

from typing import Any, NamedTuple

from torch import Tensor

from models.dataset import Dataset
from workbench.attention.head_scores import DETECTIONS
from workbench.attention.label_grids import LabelGrids, MissingLabelError
from workbench.attention.patterns import in_single
from workbench.attention.streaming import PatternHook, pattern_hooks, stream_patterns

_NEARLY = 0.9  # of the most attention: among these queries the one that looks farthest is shown


class Telling(NamedTuple):
    """Where a head has something to show.

    Attributes:
        sequence: which of the sequences.
        query: at which of its positions; it looks farther back than others that look as surely.
        queries: how many positions of the sequence have a key that the score is about.
        share: the mean attention that these give to such keys.
    """

    sequence: int
    query: int
    queries: int
    share: float


def telling_sequence(
    model: Any, data: Dataset, hook: str, head: int, score: str, *, first: int | None = None, batch_size: int = 16
) -> Telling | None:
    """The sequence in which a head gives most attention to the keys that a score is about, summed over its queries.

    Args:
        model: the subject.
        data: the sequences, with the labels that the score needs.
        hook: the head's pattern, of queries and keys of one text.
        head: its number.
        score: a name of `DETECTIONS`.
        first: look at so many positions of each sequence alone; all where None. Of a causal head they are what they
            would be of the sequence cut there.
        batch_size: sequences a pass, which bounds the memory.

    Returns:
        The sequence and a query in it; None where the score is no share of attention, its labels are not there, or no
        query has a key.

    Raises:
        ValueError: the subject has no such pattern, or there are no sequences.
    """
    (described,) = pattern_hooks(model, hook)
    if score not in DETECTIONS or described.is_cross:
        return None
    found: list[tuple[float, Telling]] = []

    def read(of: PatternHook, pattern: Tensor, rows: range) -> None:
        part = slice(rows.start, rows.stop)
        asked = data.counted[part].clone()
        if first is not None:
            asked[:, first:] = False
        keys = DETECTIONS[score](data.tokens[part], LabelGrids(data, rows.start, rows.stop))
        keys = keys & asked[..., None] & data.mask[part][:, None]
        weight = (in_single(pattern)[:, head].cpu() * keys).sum(-1)
        for row in weight.sum(-1).nonzero().flatten().tolist():
            total, n = float(weight[row].sum()), int(keys[row].any(-1).sum())
            sure = (weight[row] >= _NEARLY * weight[row].max()).nonzero().flatten()
            back = sure - keys[row, sure].int().argmax(-1)
            found.append((total, Telling(rows.start + row, int(sure[back.argmax()]), n, total / n)))

    try:
        stream_patterns(model, data, [described], read, batch_size=batch_size, desc="telling sequence")
    except MissingLabelError:
        return None
    return max(found, key=lambda one: one[0])[1] if found else None
