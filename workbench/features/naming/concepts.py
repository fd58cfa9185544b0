"""Label columns as concepts: statements about a token that are true or false, each with a name in words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, UInt8

# The line number tells where a token stands, not what it is.
NOT_A_CONCEPT = {"line"}
MIN_POSITIVES = 50
EXACT = range(0, 6)
AT_LEAST = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Concepts:
    """Concepts by name, and where each of them holds."""

    names: list[str]
    matrix: UInt8[np.ndarray, "rows concepts"]


def concepts_of(labels: pa.Table, fit: Bool[np.ndarray, " rows"], min_positives: int = MIN_POSITIVES) -> Concepts:
    """Every Boolean column, every value of a categorical one, a whole number's small values and lower bounds, and
    where a measured quantity lies among the quarters that it has on the rows `fit`.

    A concept must hold, and fail to hold, on at least `min_positives` of the rows `fit`; of concepts that hold on
    the very same rows, the first is kept.
    """
    names: list[str] = []
    columns: list[np.ndarray] = []
    seen: set[int] = set()
    for name in labels.column_names:
        if name in NOT_A_CONCEPT:
            continue
        for words, holds in _statements(name, labels[name].combine_chunks(), fit):
            positives = int(holds[fit].sum())
            key = hash(np.packbits(holds).tobytes())
            if min(positives, int(fit.sum()) - positives) >= min_positives and key not in seen:
                seen.add(key)
                names.append(words)
                columns.append(holds.astype(np.uint8))
    matrix = np.ascontiguousarray(np.stack(columns, axis=1)) if columns else np.zeros((len(fit), 0), np.uint8)
    return Concepts(names, matrix)


def conjunction_name(first: str, second: str) -> str:
    """Two concepts at once, in words."""
    return f"{first} and {second}"


def _statements(
    name: str, column: pa.Array, fit: Bool[np.ndarray, " rows"]
) -> Iterator[tuple[str, Bool[np.ndarray, " rows"]]]:
    """The concepts of one label column. A missing label makes every one of them false."""
    words = name.removeprefix("is_").replace("_", " ")
    if pa.types.is_boolean(column.type):
        yield words, _as_numpy(column, False)
    elif pa.types.is_dictionary(column.type):
        codes = _as_numpy(column.indices, -1)
        for code, value in enumerate(column.dictionary.to_pylist()):
            shown = value.replace("_", " ") if value.replace("_", "").isalnum() else f'"{value}"'
            yield f"{words} is {shown}", codes == code
    elif pa.types.is_integer(column.type):
        known = _as_numpy(pc.is_valid(column), False)
        numbers = _as_numpy(column, -1)
        for value in EXACT:
            yield f"{words} = {value}", known & (numbers == value)
        for value in AT_LEAST:
            yield f"{words} ≥ {value}", known & (numbers >= value)
    elif pa.types.is_floating(column.type):
        measured = _as_numpy(column, np.nan)
        quarters = np.nanquantile(measured[fit], QUARTERS)
        for value in quarters:
            yield f"{words} ≥ {value:.3g}", measured >= value
        yield f"{words} < {quarters[0]:.3g}", measured < quarters[0]


def _as_numpy(column: pa.Array, missing: bool | float) -> np.ndarray:
    return pc.fill_null(column, pa.scalar(missing, column.type)).to_numpy(zero_copy_only=False)
