"""What the spans that share an active set have in common: labels that hold there more often than elsewhere."""

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool

from workbench.features.naming.concepts import Concepts, concepts_of


def statements(labels: pa.Table) -> Concepts:
    """What labels say of each row, as statements that are true or false there (`concepts_of`)."""
    return concepts_of(labels, np.ones(labels.num_rows, bool))


def span_labels(said: Concepts, spans: pd.DataFrame, random: pd.DataFrame | None = None) -> pd.DataFrame:
    """How often each statement holds within spans, beside how often it holds at all.

    Args:
        said: of every row of the recording.
        spans: as `matching_spans` gives them: `row` and `length`.
        random: as `random_spans` gives them, from the same recording.

    Returns:
        A row a statement, those first that hold most beyond their base rate: `label`; `precision`, the share of the
        spans' rows at which it holds; `base_rate`, that of all rows; `lift`, their ratio; `recall`, the share of the
        rows at which it holds that lie within spans; `throughout`, the share of the spans throughout which it holds;
        `random`, the precision of random sets' spans (their mean over the sets that found any; NaN where none did).
    """
    inside = _inside(spans, len(said.matrix))
    here, everywhere = said.matrix[inside].sum(0, dtype=np.int64), said.matrix.sum(0, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = here / inside.sum()
        base = everywhere / max(1, len(said.matrix))
        table = pd.DataFrame({"label": said.names, "precision": precision, "base_rate": base, "lift": precision / base})
        table["recall"] = here / everywhere
    table["throughout"] = _throughout(said, spans)
    table["random"] = np.nan
    if random is not None and len(random):
        each = [said.matrix[_inside(one, len(inside))].mean(0) for _, one in random.groupby("draw")]
        table["random"] = np.mean(each, 0)
    beyond = (table["precision"] - table["base_rate"]).fillna(0)
    return table.iloc[np.argsort(-beyond, kind="stable")].reset_index(drop=True)


def _inside(spans: pd.DataFrame, n_rows: int) -> Bool[np.ndarray, " row"]:
    edges = np.zeros(n_rows + 1, np.int64)
    np.add.at(edges, spans["row"].to_numpy(), 1)
    np.add.at(edges, (spans["row"] + spans["length"]).to_numpy(), -1)
    return edges.cumsum()[:-1] > 0


def _throughout(said: Concepts, spans: pd.DataFrame) -> np.ndarray:
    start, length = spans["row"].to_numpy(), spans["length"].to_numpy()
    if not len(spans):
        return np.full(len(said.names), np.nan)
    # Only the rows of the spans are read, and those of one span after the other.
    first = np.concatenate([[0], length.cumsum()[:-1]])
    rows = np.repeat(start - first, length) + np.arange(length.sum())
    each = np.add.reduceat(said.matrix[rows], first, axis=0, dtype=np.int64)
    return (each == length[:, None]).mean(0)
