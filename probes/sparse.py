"""`SparseProbe`: how well a few columns alone tell a label."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.base import LogLinearProbe
from probes.class_moments import ClassMoments, indicators
from probes.logistic import LogisticProbe
from probes.rows import Rows

RANKINGS = ("mean_difference", "f_score", "weight", "mutual_information")
# Mutual information is estimated from neighbours, which takes a search for every column.
MOST_ROWS = 2_000


class SparseProbe(LogLinearProbe):
    """Logistic regression on the k columns that rank highest.

    Gurnee et al., "Finding neurons in a haystack: case studies with sparse probing" (2023), arXiv:2305.01610. Of many
    targets each has columns of its own.

    Args:
        k: how many columns.
        ranking: `mean_difference` (the distance between the class means), `f_score` (the same over the spread
            within classes: an analysis of variance), `weight` (the size of the coefficients of a logistic probe on all
            columns, standardised), or `mutual_information` (with neighbours, on a spread of 2,000 rows).
        C: the inverse of the penalty of the regression on those columns.

    Attributes:
        columns_: [k], or [t, k]: which columns, the best first.
        coef_: [1, d], [K, d] or [t, d], zero but there.
        intercept_: as many.
        classes_: [K], or the two of all targets.
    """

    def __init__(self, k: int = 1, *, ranking: str = "mean_difference", C: float = 1.0) -> None:
        self.k = k
        self.ranking = ranking
        self.C = C

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "SparseProbe":
        """Fit to rows X [n, d] and labels y [n], or [n, t] of two classes each."""
        if self.ranking not in RANKINGS:
            raise ValueError(f"ranking is {self.ranking!r}: choose one of {', '.join(RANKINGS)}.")
        rows = self._rows(X, reset=True)
        codes = self._codes(y, rows)
        weight = self._weight(sample_weight, rows)
        if not 1 <= self.k <= rows.d:
            raise ValueError(f"k is {self.k}: it must lie between 1 and the {rows.d} columns of X.")
        columns = torch.argsort(self._ranks(rows, codes, weight), dim=1, descending=True, stable=True)[:, : self.k]
        n_out = len(self.classes_) if self.n_targets_ is None and len(self.classes_) > 2 else codes.shape[1]
        coef = torch.zeros(n_out, rows.d, dtype=torch.float64, device=rows.device)
        intercept = torch.zeros(n_out, dtype=torch.float64, device=rows.device)
        for target, chosen in enumerate(columns):
            found = LogisticProbe(self.C).fit(_columns(rows, chosen), codes[:, target], weight)
            which = slice(None) if self.n_targets_ is None else slice(target, target + 1)
            coef[which, chosen] = torch.as_tensor(found.coef_).to(coef)
            intercept[which] = torch.as_tensor(found.intercept_).to(intercept)
        picked = columns if self.n_targets_ is not None else columns[0]
        self.columns_ = picked if isinstance(X, Tensor) else picked.cpu().numpy()
        self._keep(coef, intercept, rows)
        return self

    def _ranks(self, rows: Rows, codes: Int[Tensor, "n t"], weight: Float[Tensor, " n"] | None) -> Tensor:
        """How well each column does for each target [t, d]."""
        if self.ranking == "mutual_information":
            return _mutual_information(rows, codes)
        if self.ranking == "weight":
            return self._weights(rows, codes, weight)
        n_classes = 2 if self.n_targets_ is not None else len(self.classes_)
        moments = ClassMoments.of(rows, indicators(codes, n_classes), weight)
        between = (moments.class_means - moments.mean).square()
        share = (moments.counts / moments.count)[:, None]
        if n_classes == 2:  # two means lie on one line with that of all rows
            between = between * share / (1 - share)
            apart = (between / (share * (1 - share))).sqrt()
        else:
            apart = between.amax(0, keepdim=True).sqrt()
            between = (between * share).sum(0, keepdim=True)
        if self.ranking == "mean_difference":
            return apart
        within = moments.covariance.diagonal() - between
        return between / within.clamp(min=torch.finfo(within.dtype).tiny)

    def _weights(self, rows: Rows, codes: Tensor, weight: Tensor | None) -> Tensor:
        moments = ClassMoments.of(rows, codes[:, :0], weight)
        spread = moments.covariance.diagonal().clamp(min=0).sqrt()
        labels = codes if self.n_targets_ is not None else codes[:, 0]
        found = LogisticProbe(self.C).fit(rows.source, labels, weight)
        sizes = (torch.as_tensor(found.coef_).to(spread) * spread).abs()
        return sizes if self.n_targets_ is not None else sizes.amax(0, keepdim=True)


def _columns(rows: Rows, chosen: Int[Tensor, " k"]) -> Float[Tensor, "n k"]:
    return torch.cat([x[:, chosen] for _, x in rows.chunks()])


def _mutual_information(rows: Rows, codes: Int[Tensor, "n t"]) -> Float[Tensor, "t d"]:
    from sklearn.feature_selection import mutual_info_classif  # slow to import, and seldom wanted

    step = -(-rows.n // MOST_ROWS)
    x = torch.cat([x for _, x in rows.chunks(step)]).cpu().numpy()
    of_rows = codes[::step].cpu().numpy()
    found = [mutual_info_classif(x, labels, random_state=0) for labels in of_rows.T]
    return torch.from_numpy(np.stack(found)).to(rows.device)
