"""Parts of tidy tables, as the explorer draws them and as its code says them."""

from collections.abc import Iterable
from typing import Any

import pandas as pd


def rows(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The lines whose columns have these values; of a list any of them. `rows(pairs, layer=1, head=[0, 3])`.

    Raises:
        ValueError: the table has no such column.
    """
    chosen = pd.Series(True, index=table.index)
    for name, value in wanted.items():
        if name not in table:
            raise ValueError(f"this table has no column {name!r}: it has {', '.join(map(str, table.columns))}.")
        chosen &= table[name].isin(value) if isinstance(value, list) else table[name] == value
    return table[chosen]


def lines(table: pd.DataFrame, start: int, n: int) -> pd.DataFrame:
    """The lines from the `start`-th on, `n` of them at most."""
    return table.iloc[start : start + n]


def stretch(table: pd.DataFrame, by: str, start: int, n: int) -> pd.DataFrame:
    """Of each group of lines those from the `start`-th on, `n` of them at most, in the table's order."""
    at = table.groupby(by, sort=False).cumcount()
    return table[(at >= start) & (at < start + n)]


def in_order(table: pd.DataFrame, column: str, order: Iterable[Any]) -> pd.DataFrame:
    """The lines in the order in which a column's values stand elsewhere."""
    place = {value: at for at, value in enumerate(order)}
    return table.sort_values(column, key=lambda values: values.map(place), kind="stable")
