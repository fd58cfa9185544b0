"""When a unit counts as on: beyond a value, or beyond a quantile of its own, on one side or on either."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from workbench.features.spans.sources import SpanSource

SIDES = ("above", "below", "either")


@dataclass(frozen=True)
class Bounds:
    """Columns that are on or off at a row: a unit above its bound, or one below it. A unit may have both.

    Attributes:
        unit: of each column.
        sign: 1 where a column is on above its bound, −1 where it is on below.
        bound: the value beyond which it is on.
    """

    unit: Int[np.ndarray, " column"]
    sign: Int[np.ndarray, " column"]
    bound: Float[np.ndarray, " column"]

    def __len__(self) -> int:
        return len(self.unit)

    def on(
        self, values: Float[np.ndarray, "row unit"], columns: Int[np.ndarray, " chosen"] | None = None
    ) -> Bool[np.ndarray, "row column"]:
        """Which columns are on at each row; of some columns only, where they are named."""
        chosen = slice(None) if columns is None else columns
        sign = self.sign[chosen].astype(values.dtype)
        # A bound that float32 cannot hold would else be passed by the very value that it was read from.
        return values[:, self.unit[chosen]] * sign > (self.bound[chosen] * sign).astype(values.dtype)


def bounds(
    source: "SpanSource", *, value: float | None = None, quantile: float | None = None, side: str = "above"
) -> Bounds:
    """The bounds of all units of a source.

    Args:
        source: the recording, or the codes of an index.
        value: one for all. `either` means above it, or below its negative.
        quantile: of each unit's own values, such as 0.95. `below` is below the quantile 1 − 0.95, and `either` both.
        side: on which side of its bound a unit is on.

    Raises:
        ValueError: not one of value and quantile is given, or it is out of range.
    """
    if (value is None) == (quantile is None):
        raise ValueError("a threshold is a value or a quantile: give one of them.")
    if side not in SIDES:
        raise ValueError(f"there is no side {side!r}: a unit is on {', '.join(SIDES)} of its threshold.")
    if quantile is not None and not 0 < quantile < 1:
        raise ValueError(f"the quantile is {quantile}, but it lies between 0 and 1, such as 0.95.")
    if value is not None and (not np.isfinite(value) or (side == "either" and value < 0)):
        raise ValueError(f"the threshold is {value}: it is a number, and not below zero where either side counts.")
    units = np.arange(source.n_units)
    parts = []
    if side in ("above", "either"):
        high = source.quantile(quantile) if quantile is not None else np.full(len(units), value, np.float64)
        parts.append((units, np.ones_like(units), high))
    if side in ("below", "either"):
        turned = -value if side == "either" and value is not None else value
        low = source.quantile(1 - quantile) if quantile is not None else np.full(len(units), turned, np.float64)
        parts.append((units, -np.ones_like(units), low))
    made = Bounds(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    source.check(made)
    return made
