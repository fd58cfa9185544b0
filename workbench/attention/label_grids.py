"""Labels of some sequences as grids [batch, pos], for detections that need the truth about positions."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from models.dataset import Dataset


class MissingLabelError(ValueError):
    """A label was asked for that the sequences do not have."""


class LabelGrids(Mapping[str, np.ndarray]):
    """The labels of neighbouring sequences of a dataset: `labels[name]` is [batch, pos].

    Categories are strings, None where the label does not apply; Booleans are False there; numbers are float64, NaN
    there. So are BOS and padding.

    Args:
        data: the sequences.
        start, stop: which of them.
    """

    def __init__(self, data: Dataset, start: int = 0, stop: int | None = None) -> None:
        mask = data.mask.numpy()
        self._mask = mask[start:stop]
        first = int(np.count_nonzero(mask[:start]))
        self._table = None if data.labels is None else data.labels.slice(first, int(np.count_nonzero(self._mask)))

    def __getitem__(self, name: str) -> Shaped[np.ndarray, "batch pos"]:
        """The grid of a label. `MissingLabelError` if there is none of that name."""
        if self._table is None or name not in self:
            known = ", ".join(list(self)[:8]) or "none"
            raise MissingLabelError(f"the sequences have no label {name!r}: there are {known}.")
        column = self._table[name]
        if pa.types.is_dictionary(column.type):
            values = column.cast(column.type.value_type).to_numpy()
            return self._laid_out(values, np.full(self._mask.shape, None, dtype=object))
        if pa.types.is_boolean(column.type):
            return self._laid_out(column.fill_null(False).to_numpy(), np.zeros(self._mask.shape, dtype=bool))
        return self._laid_out(column.cast(pa.float64()).to_numpy(), np.full(self._mask.shape, np.nan))

    def __contains__(self, name: object) -> bool:
        return self._table is not None and name in self._table.column_names

    def __iter__(self) -> Iterator[str]:
        return iter([] if self._table is None else self._table.column_names)

    def __len__(self) -> int:
        return 0 if self._table is None else len(self._table.column_names)

    def _laid_out(self, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
        grid[self._mask] = values
        return grid
