"""Detection scores from counts, and their intervals over groups of rows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import beta

# A label that holds on most rows is hit by whatever fires often: what names a column must be at least this many
# times as frequent where it fires as on all rows.
MIN_LIFT = 2


@dataclass(frozen=True)
class Confusion:
    """How a detector and a label fall together, counted apart in each group of rows (a document, a session).

    Attributes:
        tp: rows where the detector fires and the label holds.
        fired: rows where the detector fires.
        positives: rows where the label holds.
        rows: all rows.
    """

    tp: Int[np.ndarray, " groups"]
    fired: Int[np.ndarray, " groups"]
    positives: Int[np.ndarray, " groups"]
    rows: Int[np.ndarray, " groups"]

    @property
    def precision(self) -> float:
        """Share of the firings where the label holds; 0 for a detector that never fires."""
        return self.tp.sum() / max(1, self.fired.sum())

    @property
    def recall(self) -> float:
        """Share of the label's rows where the detector fires; 0 for a label that never holds."""
        return self.tp.sum() / max(1, self.positives.sum())

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.tp.sum() / max(1, self.fired.sum() + self.positives.sum())

    @property
    def base_rate(self) -> float:
        """Share of rows where the label holds: the precision of a detector that knows nothing."""
        return self.positives.sum() / max(1, self.rows.sum())

    @property
    def lift(self) -> float:
        """Precision over base rate."""
        return self.precision / self.base_rate if self.base_rate else 0.0


def f1_from_counts(tp: np.ndarray, fired: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """F1 = 2 TP / (fired + positives), elementwise; 0 where nothing fires and nothing holds."""
    return 2 * tp.astype(np.float32) / np.maximum(1, (fired + positives).astype(np.float32))


def f1_interval(
    tp: Shaped[np.ndarray, "*n"],
    fired: Shaped[np.ndarray, "*n"],
    positives: Shaped[np.ndarray, "*n"],
    *,
    level: float = 0.95,
) -> Float[np.ndarray, "*n 2"]:
    """Credible intervals of F1 from counts, elementwise: what few rows leave open.

    With B = TP / (TP + FP + FN), F1 = 2B / (1 + B); under Jeffreys's prior of precision and of recall the posterior of
    B is Beta(TP + ½, FP + FN + 1), so the ends are those of its quantiles (Goutte and Gaussier 2005, "A Probabilistic
    Interpretation of Precision, Recall and F-score, with Implication for Evaluation",
    doi 10.1007/978-3-540-31865-1_25). Rows count as independent. Tokens of one document are not, and their interval
    is too narrow: `bootstrap_f1_gain` draws documents.

    Args:
        tp: rows where the detector fires and the label holds.
        fired: rows where it fires.
        positives: rows where the label holds.
        level: of the interval.

    Returns:
        The lower end and the upper end.
    """
    wrong = fired + positives - 2 * tp
    tail = (1 - level) / 2
    share = beta.ppf([tail, 1 - tail], np.asarray(tp)[..., None] + 0.5, np.asarray(wrong)[..., None] + 1.0)
    return 2 * share / (1 + share)


def has_lift(tp: np.ndarray, fired: np.ndarray | int, positives: np.ndarray, n_rows: int) -> np.ndarray:
    """Whether precision is at least `MIN_LIFT` times the base rate, elementwise."""
    return tp * float(n_rows) >= MIN_LIFT * fired * positives.astype(np.float64)


def confusion(
    hits: Shaped[np.ndarray, " firings"],
    groups: Int[np.ndarray, " firings"],
    positives: Int[np.ndarray, " groups"],
    rows: Int[np.ndarray, " groups"],
) -> Confusion:
    """The confusion of a detector, from its firings alone: whether the label holds at each, and the group of each."""
    return Confusion(
        tp=np.bincount(groups[hits != 0], minlength=len(rows)),
        fired=np.bincount(groups, minlength=len(rows)),
        positives=positives,
        rows=rows,
    )


def bootstrap_f1_gain(
    ours: list[Confusion], theirs: list[Confusion], *, n_resamples: int = 200, seed: int = 0, level: float = 0.95
) -> Float[np.ndarray, "pairs 2"]:
    """Percentile intervals of F1(ours) − F1(theirs), each pair resampled over the same groups.

    Groups, not rows, are drawn with replacement: rows of one document are not independent.
    """
    n_groups = len(ours[0].rows)
    draws = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_resamples)

    def resampled(results: list[Confusion]) -> np.ndarray:
        tp, both = (
            draws @ np.stack(columns, axis=1)
            for columns in ([c.tp for c in results], [c.fired + c.positives for c in results])
        )
        return f1_from_counts(tp, both, np.zeros_like(both))

    gain = resampled(ours) - resampled(theirs)
    tail = (1 - level) / 2
    return np.quantile(gain, [tail, 1 - tail], axis=0).T
