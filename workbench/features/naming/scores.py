"""How well names hold on held-out documents, and how many tokens that rests on."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from probes.detection import Confusion, f1_interval

SCORES = ("precision", "recall", "f1", "lift", "base_rate")
EVIDENCE = ("f1_low", "support")


def score_frame(scores: list[Confusion]) -> pd.DataFrame:
    """One row a score: precision, recall, f1, lift, base_rate, f1_low and support."""
    frame = pd.DataFrame([[getattr(score, name) for name in SCORES] for score in scores], columns=list(SCORES))
    counts = [(score.tp.sum(), score.fired.sum(), score.positives.sum()) for score in scores]
    tp, fired, positives = np.array(counts, np.int64).reshape(-1, 3).T
    return _with_evidence(frame, tp, fired, positives)


def with_evidence(names: pd.DataFrame, n_held_out: int | None) -> pd.DataFrame:
    """Names with `f1_low` and `support`: as they are kept, or counted back in an index made before they were.

    Args:
        names: columns precision, recall and base_rate, from which all counts follow.
        n_held_out: rows that they were measured on; where it is not known, both columns are missing values.
    """
    if set(EVIDENCE) <= set(names):
        return names
    if n_held_out is None:
        return names.assign(**dict.fromkeys(EVIDENCE, np.nan))
    positives = np.round(names["base_rate"].to_numpy(float) * n_held_out)
    tp = np.round(names["recall"].to_numpy(float) * positives)
    precision = names["precision"].to_numpy(float)
    fired = np.round(np.divide(tp, precision, out=np.zeros_like(tp), where=precision > 0))
    return _with_evidence(names, *(counts.astype(np.int64) for counts in (tp, fired, positives)))


def _with_evidence(
    frame: pd.DataFrame, tp: Int[np.ndarray, " n"], fired: Int[np.ndarray, " n"], positives: Int[np.ndarray, " n"]
) -> pd.DataFrame:
    """`support` is how many rows a name is true on, `f1_low` the lower end of the 95% interval of its F1."""
    low = f1_interval(tp, fired, positives)[:, 0]
    # Without a hit there is nothing to be sure of, and in an older index no telling how often it fired.
    return frame.assign(f1_low=np.where(tp > 0, low, 0.0), support=positives.astype(np.int32))
