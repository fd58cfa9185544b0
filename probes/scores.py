"""What predictions are worth on held-out rows, with intervals over documents and the odds of chance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes import detection

N_RESAMPLES = 200
LEVEL = 0.95
METRICS = ("accuracy", "balanced_accuracy", "f1")


@dataclass(frozen=True)
class Resampling:
    """How often each group of rows is drawn, in each of many draws with replacement.

    Rows of one document are not independent, so that intervals are over documents.
    """

    of: Int[np.ndarray, " n"]
    """The group of each row, numbered from 0."""
    draws: Int[np.ndarray, "draws groups"]

    @classmethod
    def of_groups(
        cls, groups: Shaped[np.ndarray, " n"], *, n_resamples: int = N_RESAMPLES, seed: int = 0
    ) -> "Resampling":
        """Of as many groups as there are. Raises `ValueError` for fewer than two."""
        known, of = np.unique(groups, return_inverse=True)
        if len(known) < 2:
            raise ValueError("an interval needs at least two groups of rows to draw from.")
        rng = np.random.default_rng(seed)
        return cls(of, rng.multinomial(len(known), np.full(len(known), 1 / len(known)), n_resamples))


@dataclass(frozen=True)
class Scores:
    """Of one target.

    Attributes:
        accuracy: the share of rows that are right.
        balanced_accuracy: the mean over classes of the share of their rows that are right.
        f1: of the second class of two, or the mean over classes.
        auroc: how often a row of the second class of two is scored above one of the first; NaN for more classes.
        low, high: of each of these, but `auroc`, the interval over groups.
        p_value: how often labels dealt out anew to the rows would agree with the predictions as well; where rows come
            in groups, how often labels shifted along them would.
    """

    accuracy: float
    balanced_accuracy: float
    f1: float
    auroc: float
    low: dict[str, float]
    high: dict[str, float]
    p_value: float

    @classmethod
    def of(
        cls,
        y: Int[np.ndarray, " n"],
        predicted: Int[np.ndarray, " n"],
        n_classes: int,
        resampling: Resampling,
        decision: Float[np.ndarray, " n"] | None = None,
        *,
        n_permutations: int = 1000,
        seed: int = 0,
    ) -> "Scores":
        """Of predicted classes against the true ones, both by number; `decision` ranks the rows of two classes."""
        cells = n_classes * n_classes
        n_groups = resampling.draws.shape[1]
        flat = np.bincount(resampling.of * cells + y * n_classes + predicted, minlength=n_groups * cells)
        by_group = flat.reshape(n_groups, cells)
        shape = (-1, n_classes, n_classes)
        seen = _metrics(by_group.sum(0).reshape(shape))
        drawn = _metrics((resampling.draws @ by_group).reshape(shape))
        tail = (1 - LEVEL) / 2
        ends = {name: np.nanquantile(values, [tail, 1 - tail]) for name, values in drawn.items()}
        return cls(
            **{name: float(values[0]) for name, values in seen.items()},
            auroc=auroc(y, decision) if decision is not None and n_classes == 2 else float("nan"),
            low={name: float(low) for name, (low, _) in ends.items()},
            high={name: float(high) for name, (_, high) in ends.items()},
            p_value=(
                _agreement(by_group.sum(0).reshape(n_classes, n_classes), n_permutations, seed)
                if n_groups == len(y)
                else _shifted_agreement(y, predicted, n_classes, resampling.of)
            ),
        )


def auroc(y: Int[np.ndarray, " n"], decision: Float[np.ndarray, " n"]) -> float:
    """The area under the ROC curve: Mann and Whitney's U over its largest value; NaN where there is one class only."""
    return float(detection.auroc(decision[:, None], y[:, None])[0, 0])


def _metrics(confusion: Shaped[np.ndarray, "draws true predicted"]) -> dict[str, Float[np.ndarray, " draws"]]:
    """Accuracy, balanced accuracy and F1 of confusion matrices; a class that is not there counts for nothing."""
    right = confusion.diagonal(axis1=1, axis2=2)
    true, said = confusion.sum(2), confusion.sum(1)
    recall = np.where(true > 0, right / np.maximum(1, true), np.nan)
    f1 = np.where(true + said > 0, 2 * right / np.maximum(1, true + said), np.nan)
    return {
        "accuracy": right.sum(1) / np.maximum(1, true.sum(1)),
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "f1": np.nan_to_num(f1[:, 1]) if confusion.shape[1] == 2 else np.nanmean(f1, axis=1),
    }


def _shifted_agreement(
    y: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], n_classes: int, of: Int[np.ndarray, " n"]
) -> float:
    """The same where neighbours are alike: labels stay in their order and are moved along the rows, by every distance.

    Runs of equal labels stay whole, within documents and of them, so that they count as the few examples that they are.
    """
    order = np.argsort(of, kind="stable")
    y, predicted = y[order], predicted[order]
    right = np.zeros(len(y))
    for k in range(n_classes):  # of every shift, how many rows agree: a circular correlation
        right += np.fft.irfft(np.fft.rfft(y == k) * np.fft.rfft(predicted == k).conj(), len(y))
    right = np.rint(right)
    return float(np.sum(right >= right[0]) / len(y))


def _agreement(confusion: Int[np.ndarray, "true predicted"], n_permutations: int, seed: int) -> float:
    """A permutation test of fixed predictions: how often as many rows are right when labels are dealt out anew.

    Nothing is fitted again, so only the numbers of rows of each class count: tables with the same margins are drawn.
    (Ojala and Garriga, "Permutation tests for studying classifier performance", 2010; the one more that is counted is
    Phipson and Smyth's, 2010.)
    """
    rng = np.random.default_rng(seed)
    left = np.tile(confusion.sum(0), (n_permutations, 1))  # predictions that have no row yet
    right = np.zeros(n_permutations, np.int64)
    for k, n_rows in enumerate(confusion.sum(1)):
        rows, rest = np.full(n_permutations, n_rows), left.sum(1)
        for j in range(len(confusion)):  # of the rows of class k, how many get a prediction of class j
            rest = rest - left[:, j]
            dealt = rng.hypergeometric(left[:, j], rest, rows)
            left[:, j] -= dealt
            rows = rows - dealt
            if j == k:
                right += dealt
    return float((np.sum(right >= np.trace(confusion)) + 1) / (n_permutations + 1))
