"""Which features are listed, and in which order: the filters as a value, applied to the index's table."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

KINDS = ("token", "syntax", "none")
KIND_WORDS = {"token": "token set", "syntax": "syntax", "none": "no name"}
# What the list can be sorted by: the table's column, and whether small ones come first.
ORDERS = {
    "gain over neuron": ("gain", False),
    "F1": ("f1", False),
    "best neuron": ("neuron_f1", False),
    "precision": ("precision", False),
    "recall": ("recall", False),
    "lift": ("lift", False),
    "density": ("density", False),
    "maximum": ("max", False),
    "name": ("name", True),
    "number": ("feature", True),
}


@dataclass(frozen=True)
class Filters:
    """What a listed feature must be like.

    Attributes:
        text: each of its words must stand in the name, among the top tokens, or in what people wrote (where the table
            has it); case does not matter.
        kinds: how it is named; empty for any.
        live_only: leave out features that never fire.
        density: lowest and highest share of tokens on which it fires.
        min_f1: least held-out F1 of its name.
        min_gain: least F1 by which it beats its best neuron; None for any.
        order: a key of `ORDERS`.
        reverse: the other way round.
    """

    text: str = ""
    kinds: tuple[str, ...] = ()
    live_only: bool = True
    density: tuple[float, float] = (0.0, 1.0)
    min_f1: float = 0.0
    min_gain: float | None = None
    order: str = "gain over neuron"
    reverse: bool = False


def with_gain(table: pd.DataFrame) -> pd.DataFrame:
    """The index's table with the column `gain`: held-out F1 of the feature less that of its best neuron."""
    return table.assign(gain=table["f1"] - table["neuron_f1"])


def choose(table: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """The rows that pass, in order."""
    kept = pd.Series(True, index=table.index)
    words = table["name"] + " " + table["top_tokens"] + " " + table["feature"].astype(str)
    if "note" in table:
        words += " " + table["label"] + " " + table["note"]
    words = words.str.casefold()
    for word in filters.text.casefold().split():
        kept &= words.str.contains(word, regex=False)
    if filters.kinds:
        kept &= table["kind"].isin(filters.kinds)
    if filters.live_only:
        kept &= ~table["dead"].astype(bool)
    low, high = filters.density
    kept &= table["density"].between(low, high)
    if filters.min_f1 > 0:
        kept &= table["f1"] >= filters.min_f1
    if filters.min_gain is not None:
        kept &= table["gain"] >= filters.min_gain
    column, ascending = direction(filters)
    return table[kept].sort_values(column, ascending=ascending, kind="stable", na_position="last")


def direction(filters: Filters) -> tuple[str, bool]:
    """The column that a list is sorted by, and whether small ones come first."""
    column, ascending = ORDERS[filters.order]
    return column, ascending != filters.reverse


def neighbours_in(listed: pd.DataFrame, feature: int) -> tuple[int | None, int | None, int | None]:
    """The features before and after one in the list, and its place there from 1; None where there is none."""
    order: list[Any] = listed["feature"].tolist()
    if feature not in order:
        return None, (order[0] if order else None), None
    at = order.index(feature)
    before = order[at - 1] if at > 0 else None
    after = order[at + 1] if at + 1 < len(order) else None
    return before, after, at + 1
