"""The labels of a recording as a probe takes them: Booleans as they are, categories as classes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Shaped

from workbench.activations import ActivationStore

# A label with more values than this is no class to be told by one probe.
MAX_CLASSES = 12
# A class with fewer rows is too rare to be judged: labels are left out that have fewer than two that are not.
MIN_ROWS = 50
MISSING = "(none)"


def probe_labels(
    store: ActivationStore,
    rows: Int[np.ndarray, " n"],
    names: Sequence[str] | None = None,
    *,
    max_classes: int = MAX_CLASSES,
    min_rows: int = MIN_ROWS,
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """The labels of some rows by name.

    Booleans become 0 and 1, a missing one 0; categories and whole numbers become classes, a missing one a class of its
    own, and those of fewer than `min_rows` rows one more, `other`.

    Args:
        store: a recording with labels.
        rows: by number.
        names: which labels; where None, all that have two to `max_classes` classes.
        max_classes: see there.
        min_rows: see above.

    Raises:
        ValueError: the recording has no labels, or none of a name that was given; or one that was given by name cannot
            be probed.
    """
    if not store.labels:
        raise ValueError(f"{store.path} has no labels: there is nothing to probe for.")
    if unknown := [name for name in names or () if name not in store.labels]:
        raise ValueError(f"{store.path} has no label {unknown[0]!r}: there are {', '.join(store.labels)}.")
    table = store.columns(*(names or store.labels)).take(pa.array(rows))
    found = {}
    for name in table.column_names:
        values = _classes(table[name], min_rows)
        n_classes = 0 if values is None else len(np.unique(values))
        if values is not None and 2 <= n_classes <= max_classes:
            found[name] = values
        elif names is not None:
            raise ValueError(
                f"{name} cannot be probed: of these {len(rows):,} rows it has {n_classes or 'no'} classes with at "
                f"least {min_rows} rows, where 2 to {max_classes} are asked."
            )
    return found


def _classes(column: pa.ChunkedArray, min_rows: int) -> Shaped[np.ndarray, " n"] | None:
    """A label's values as classes; None where it is not of classes."""
    column = column.combine_chunks()
    kind = column.type
    if pa.types.is_boolean(kind):
        values = column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int64)
        return values if np.bincount(values, minlength=2).min() >= min_rows else None
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif not pa.types.is_integer(kind) and not pa.types.is_string(kind):
        return None
    text = pc.fill_null(column.cast(pa.string()), MISSING).to_numpy(zero_copy_only=False).astype(str)
    known, codes, counts = np.unique(text, return_inverse=True, return_counts=True)
    known = np.where(counts < min_rows, "other", known)
    values = known[codes]
    return values if len(np.unique(values)) > 1 else None
