"""Rows with Boolean labels, for probes: what is fitted on, what is held out, and classes made equally large."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from workbench.sae.base import SAE

# A Boolean column each, as long as there are rows.
Labels = Mapping[str, Bool[np.ndarray, " _"]]
HELD_OUT_SHARE = 0.3
FITTED, HELD_OUT = "rows that are fitted on", "held-out rows"
CHUNK_ROWS = 1024


@torch.no_grad()
def latent_matrix(sae: SAE, x: Float[Tensor, "n ..."]) -> sp.csr_matrix:
    """The activations of x, [n, d_sae], with nothing stored for inactive latents."""
    chunks = [sp.csr_matrix(sae.encode(rows).float().cpu().numpy()) for rows in x.split(CHUNK_ROWS)]
    return sp.vstack(chunks, format="csr")


def check_labels(labels: Labels, documents: Shaped[np.ndarray, " _"], n: int) -> None:
    """`ValueError` where a label or the documents have another length than the rows, or a label is constant."""
    if len(documents) != n:
        raise ValueError(f"there are {n} rows, but the documents of {len(documents)}.")
    if not labels:
        raise ValueError("there are no labels to probe for: give at least one.")
    for name, label in labels.items():
        if len(label) != n:
            raise ValueError(f"the label {name!r} has {len(label)} entries, but there are {n} rows.")
        check_varies(name, label, "rows")


def check_varies(name: str, label: Bool[np.ndarray, " n"], where: str) -> None:
    """`ValueError` where a label is the same on all of these rows."""
    if label.all() or not label.any():
        raise ValueError(
            f"the label {name!r} is {'true' if label.all() else 'false'} on all {len(label)} {where}: nothing can be "
            "told apart."
        )


def balanced(
    cells: Iterable[tuple[str, Bool[np.ndarray, " n"]]],
    rows: Int[np.ndarray, " rows"],
    kind: str,
    rng: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """Of the given rows, of that kind, equally many from each cell, at random, ascending.

    `ValueError` names a cell that is empty.
    """
    members = {name: rows[where[rows]] for name, where in cells}
    for name, found in members.items():
        if len(found) == 0:
            raise ValueError(f"there are no {kind} with {name}: classes of equal size cannot be made.")
    size = min(len(found) for found in members.values())
    return np.sort(np.concatenate([rng.choice(found, size, replace=False) for found in members.values()]))


@dataclass(frozen=True)
class LinearProbe:
    """A logistic regression, its weights in the units of what it reads."""

    weight: Float[np.ndarray, " d"]
    bias: float

    @classmethod
    def fit(cls, x: Float[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]) -> "LinearProbe":
        """The maximum-likelihood fit with an L2 penalty of 1 on standardised columns, so that units do not matter."""
        # Importing scikit-learn takes most of a second, which whoever trains a dictionary need not wait for.
        from sklearn.linear_model import LogisticRegression

        x = x.astype(np.float64)
        mean, scale = x.mean(0), x.std(0)
        scale[scale == 0] = 1
        fitted = LogisticRegression(max_iter=1000).fit((x - mean) / scale, y)
        weight = fitted.coef_[0] / scale
        return cls(weight, float(fitted.intercept_[0] - mean @ weight))

    def predict(self, x: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Where the label is the likelier."""
        return x @ self.weight + self.bias > 0

    def accuracy(self, x: Float[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]) -> float:
        """The share of rows that are told right."""
        return float((self.predict(x) == y).mean())
