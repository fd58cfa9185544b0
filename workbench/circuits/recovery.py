"""How well scores of edges tell a known circuit's from the others: the area under the ROC curve."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from models.compiled import Circuit
from probes.scores import auroc
from workbench.interventions.hook_parts import named

BY = ("ablation", "variant", "seed")


def edge_recovery(scores: pd.DataFrame, circuit: Circuit, *, by: Sequence[str] = BY) -> pd.DataFrame:
    """The area under the ROC curve of each ranking of edges by the size of their scores; half a point for ties.

    Args:
        scores: what `edge_attribution` or, of a sweep, `acdc.falls_at` gave: `sender, receiver, score`, and `by`.
        circuit: the edges that are to be found, and all that there are.
        by: the columns that tell one ranking from another.

    Returns:
        A line for each ranking: `by`, `auc`, `true_edges`, `edges`.

    Raises:
        ValueError: a ranking does not have every edge once, or the circuit has none or all of them.
    """
    lines = []
    for which, truth, score in _rankings(scores, circuit, by):
        about = {"auc": auroc(truth.astype(np.int64), score), "true_edges": int(truth.sum()), "edges": len(truth)}
        lines.append(which | about)
    return _typed(pd.DataFrame(lines))


def _rankings(
    scores: pd.DataFrame, circuit: Circuit, by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Bool[np.ndarray, " edge"], Float[np.ndarray, " edge"]]]:
    """Each ranking: what it is called, which edges are true, and the sizes of their scores."""
    wanted = [(named(edge.sender), named(edge.receiver)) for edge in circuit.all_edges]
    truth = np.array([edge in circuit.edges for edge in circuit.all_edges])
    if truth.all() or not truth.any():
        raise ValueError(f"the circuit has {int(truth.sum())} of {len(truth)} edges: there is nothing to tell apart.")
    for key, lines in scores.groupby(list(by), sort=False, dropna=False):
        which = dict(zip(by, key, strict=True))
        of = lines.set_index(["sender", "receiver"])["score"]
        if set(of.index) != set(wanted) or len(of) != len(wanted):
            about = ", ".join(f"{name} {value}" for name, value in which.items())
            raise ValueError(f"the ranking ({about}) does not have each of the circuit's {len(wanted)} edges once.")
        yield which, truth, np.abs(of.loc[wanted].to_numpy(float))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({"seed": "Int64"}) if "seed" in table else table
