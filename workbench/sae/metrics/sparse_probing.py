"""How much of a label stands in a few latents: k-sparse probing.

Gurnee et al., "Finding neurons in a haystack" (arXiv 2305.01610); as a measure of dictionaries in SAEBench (Karvonen
et al., arXiv 2503.09532).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from probes.validation import split_by_group
from workbench.sae.base import SAE
from workbench.sae.metrics.labelled_rows import (
    FITTED,
    HELD_OUT,
    HELD_OUT_SHARE,
    Labels,
    LinearProbe,
    check_labels,
    check_varies,
    latent_matrix,
)

KS = (1, 2, 5)


def sparse_probing(
    sae: SAE,
    x: Float[Tensor, "n ..."],
    labels: Labels,
    documents: Shaped[np.ndarray, " _"],
    *,
    ks: Sequence[int] = KS,
    held_out_share: float = HELD_OUT_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """What a logistic regression on the k likeliest latents tells of each label, on rows of documents held out.

    The k columns are those whose means differ most, |E[f | label] − E[f | no label]|, on the rows that are fitted on.
    Classes are as frequent as they are (SAEBench makes them equally large), and the columns of a probe are
    standardised, so that no unit matters to the fit.

    Args:
        sae: the dictionary.
        x: rows, held out of its training; of a crosscoder [n, layer, d].
        labels: a Boolean column each.
        documents: which document each row is of.
        ks: how many latents.
        held_out_share: of the documents.
        seed: of their choice.

    Returns:
        A line for each label, `columns` and k: `latents` and `neurons` (of x, chosen the same way) at each k; `all`,
        every dimension of x, the ceiling of a linear reader; `majority`, the commoner answer whatever x is. `accuracy`
        and `f1` on held-out rows, `base_rate` there, and which columns were `chosen`.

    Raises:
        ValueError: a label is constant or of another length, fewer than two documents, or a k that is not there.
    """
    check_labels(labels, documents, len(x))
    neurons = x.detach().flatten(1).float().cpu().numpy()
    narrowest = min(sae.cfg.d_sae, neurons.shape[1])
    for k in ks:
        if not 1 <= k <= narrowest:
            raise ValueError(
                f"k is {k}: it must be at least 1 and at most {narrowest}, the width of x or of the codes."
            )
    fit, held_out = split_by_group(documents, held_out_share=held_out_share, seed=seed)
    for name, label in labels.items():
        check_varies(name, label[fit], FITTED)
        check_varies(name, label[held_out], HELD_OUT)
    latents = latent_matrix(sae, x)
    lines = []
    for name, label in labels.items():
        y, truth = label[fit], label[held_out]
        answers: list[tuple[str, Int[np.ndarray, " k"], Bool[np.ndarray, " held_out"]]] = []
        for kind, columns in (("latents", latents), ("neurons", neurons)):
            order = by_mean_difference(columns[fit], y)
            for k in ks:
                chosen = order[:k]
                read = _dense(columns[:, chosen])
                answers.append((kind, chosen, LinearProbe.fit(read[fit], y).predict(read[held_out])))
        everything = LinearProbe.fit(neurons[fit], y).predict(neurons[held_out])
        answers.append(("all", np.arange(neurons.shape[1]), everything))
        answers.append(("majority", np.arange(0), np.full(len(truth), y.mean() > 0.5)))
        lines += [
            {
                "label": name,
                "columns": kind,
                "k": len(chosen),
                "accuracy": (answer == truth).mean(),
                "f1": 2 * (answer & truth).sum() / (answer.sum() + truth.sum()),
                "base_rate": truth.mean(),
                "chosen": chosen.tolist() if kind in ("latents", "neurons") else [],
            }
            for kind, chosen, answer in answers
        ]
    return pd.DataFrame(lines)


def by_mean_difference(
    columns: Float[np.ndarray, "n columns"] | sp.csr_matrix, label: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " columns"]:
    """The columns by |E[column | label] − E[column | no label]|, the largest first; ties in their own order."""
    return np.argsort(-np.abs(mean_difference(columns, label)), kind="stable")


def mean_difference(
    columns: Float[np.ndarray, "n columns"] | sp.csr_matrix, label: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " columns"]:
    """E[column | label] − E[column | no label] of each column, in float64."""
    weight = np.where(label, 1 / label.sum(), -1 / (~label).sum())
    return np.asarray(weight @ columns)


def _dense(columns: Float[np.ndarray, "n k"] | sp.csr_matrix) -> Float[np.ndarray, "n k"]:
    return columns if isinstance(columns, np.ndarray) else columns.toarray()
