"""Which sequences make which shard: known before anything is computed, and the same however many processes work."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from models.checked_input import whole_number


@dataclass(frozen=True)
class ShardPlan:
    """One shard: the forward passes it is made of, and its rows.

    Attributes:
        number: its place among the shards.
        batches: the sequences of each forward pass, one run of them after the other.
        n_rows: for each axis of positions, how many rows it has.
    """

    number: int
    batches: list[slice]
    n_rows: dict[str, int]

    @property
    def sequences(self) -> slice:
        """All its sequences."""
        return slice(self.batches[0].start, self.batches[-1].stop)


def plan_shards(
    rows_of_seq: Mapping[str, Int[np.ndarray, " seq"]], batch_size: int, shard_rows: int, n_rows: int | None = None
) -> list[ShardPlan]:
    """Whole forward passes a shard, none with more than `shard_rows` rows unless a single pass has.

    Args:
        rows_of_seq: for each axis, how many rows each sequence gives.
        batch_size: sequences a forward pass.
        shard_rows: rows a shard, at most.
        n_rows: a budget: the first sequences that together give as many rows of the first axis; all of them for None.

    Raises:
        ValueError: a size or the budget is smaller than 1.
    """
    for name, value in {"batch_size": batch_size, "shard_rows": shard_rows, "the budget of rows": n_rows}.items():
        if value is not None:
            whole_number(value, name, least=1)
    first = next(iter(rows_of_seq.values()))
    n_seq = len(first) if n_rows is None else int(np.searchsorted(np.cumsum(first), n_rows) + 1)
    plan: list[ShardPlan] = []
    batches: list[slice] = []
    n = dict.fromkeys(rows_of_seq, 0)
    for start in range(0, min(n_seq, len(first)), batch_size):
        batch = slice(start, min(start + batch_size, n_seq, len(first)))
        more = {axis: int(rows[batch].sum()) for axis, rows in rows_of_seq.items()}
        if batches and any(n[axis] + more[axis] > shard_rows for axis in n):
            plan.append(ShardPlan(len(plan), batches, n))
            batches, n = [], dict.fromkeys(rows_of_seq, 0)
        batches.append(batch)
        n = {axis: n[axis] + more[axis] for axis in n}
    return [*plan, ShardPlan(len(plan), batches, n)]
