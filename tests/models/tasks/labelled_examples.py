"""A dataset read back example by example, as plain Python, so that slow and obvious code can check it."""

from dataclasses import dataclass
from typing import Any

from models.dataset import Dataset


@dataclass
class Example:
    """One sequence without its padding; `labels[t]` is the row of the label table that belongs to position t."""

    tokens: list
    labels: list[dict[str, Any]]
    targets: list | None
    source: list[int]
    source_labels: list[dict[str, Any]]
    split: str


def examples_of(data: Dataset) -> list[Example]:
    labels = iter(data.labels.to_pylist())
    source_labels = iter(data.source_labels.to_pylist()) if data.source_labels else iter(())
    splits = data.doc_table["split"].to_pylist()
    found = []
    for i in range(len(data)):
        n = int(data.mask[i].sum())
        source = [] if data.source is None else data.source[i][data.source_mask[i]].tolist()
        found.append(
            Example(
                tokens=data.tokens[i, :n].tolist(),
                labels=[next(labels) for _ in range(n)],
                targets=None if data.targets is None else data.targets[i, :n].tolist(),
                source=source,
                source_labels=[next(source_labels) for _ in source] if data.source_labels else [],
                split=splits[int(data.docs[i])],
            )
        )
    assert next(labels, None) is None, "there are more rows of labels than positions"
    assert next(source_labels, None) is None, "there are more rows of source labels than positions"
    return found
