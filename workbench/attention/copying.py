"""Copying: whether what a head says of a token is the token itself."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from models.checked_input import whole_number
from workbench.attention.head_circuits import ov_circuit
from workbench.attention.weights import Heads, HeadWeights, random_weights, weights_of, with_percentiles


def eigenvalue_score(circuit: FactoredMatrix) -> Float[Tensor, "*lead"]:
    """Σ Re λ / Σ |λ| over a square matrix's eigenvalues: 1 where all are positive, −1 where all are negative.

    Elhage et al. 2021. The eigenvalues that are not zero are those of the factors' product the other way round, which
    is small. Of a matrix whose eigenvalues are all zero it is NaN.
    """
    eigenvalues = torch.linalg.eigvals((circuit.B @ circuit.A).double())
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)


@torch.no_grad()
def copying_scores(
    model: Heads,
    *,
    untrained: Heads | None = None,
    top: int = 5,
    n_random: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """How much each head copies: the eigenvalues of its W_E W_V W_O W_U, and the tokens that raise themselves most.

    The folded model's weights are used. The eigenvalue score sees tokens only through a matrix of d_head × d_head, and
    can be high of a head that raises similar tokens; the share of tokens cannot.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one.
        untrained: the same before training, whose scores stand beside.
        top: a token counts as copied where its own logit is among so many that the head raises most.
        n_random: random heads: Gaussian W_V and W_O of the same shapes, between the same embeddings.
        seed: of their draw.

    Returns:
        `layer, head, value` (Σ Re λ / Σ |λ|, from −1 to 1), `random_mean, random_high` (99th percentile of random
        heads), `percentile` (of 100), `copied` (share of tokens), `chance` (top / d_vocab), and with an untrained
        subject `untrained`, `untrained_copied`.

    Raises:
        ValueError: the subject's heads are not known, or the untrained one is of another shape.
    """
    whole_number(n_random, "n_random", least=1)
    weights = weights_of(model)
    n_tokens = min(weights.W_E.shape[0], weights.W_U.shape[1])
    if not 1 <= whole_number(top, "top") <= n_tokens:
        raise ValueError(f"top is {top}: it must be from 1 to {n_tokens}, the number of tokens.")
    table = _scores(weights, top)
    if untrained is not None:
        before = weights_of(untrained)
        if before.W_Q.shape != weights.W_Q.shape:
            raise ValueError("the untrained subject has other layers or heads: give the same one before training.")
    through = _through_embeddings(weights)
    generator = torch.Generator().manual_seed(seed)
    v, o = (random_weights(weights.d_model, weights.d_head, n_random, generator, weights.centred) for _ in range(2))
    table = with_percentiles(table, eigenvalue_score(FactoredMatrix(v, o.mT @ through)))
    columns = ["layer", "head", "value", "random_mean", "random_high", "percentile", "copied", "chance"]
    table = table.assign(chance=top / n_tokens)[columns]
    if untrained is not None:
        was = _scores(before, top)
        table = table.assign(untrained=was["value"], untrained_copied=was["copied"])
    return table


def _scores(weights: HeadWeights, top: int) -> pd.DataFrame:
    rows = []
    for layer, head in weights.each_head():
        circuit = ov_circuit(weights, layer, head, ends="tokens")
        score = float(eigenvalue_score(circuit))
        rows.append({"layer": layer, "head": head, "value": score, "copied": copied_share(circuit, top)})
    return pd.DataFrame(rows)


def copied_share(circuit: FactoredMatrix, top: int = 1, block: int = 1 << 22) -> float:
    """The share of rows of a square matrix whose own column is among its `top` largest entries, some rows at a time.

    Among entries that are equal it is there as often as in a random order of them: a matrix of zeros has `top` / n.
    """
    A, B = circuit.A, circuit.B
    n, hits = A.shape[0], 0.0
    step = max(1, block // B.shape[1])
    for start in range(0, n, step):
        entries = A[start : start + step] @ B
        own = entries.diagonal(start)[:, None]
        above, equal = (entries > own).sum(1), (entries == own).sum(1)
        hits += float(((top - above) / equal).clamp(0, 1).double().sum())
    return hits / n


def _through_embeddings(weights: HeadWeights) -> Float[Tensor, "d_model d_model"]:
    """W_U W_E, some tokens at a time: in double precision both would be twice as large."""
    total = torch.zeros(weights.d_model, weights.d_model, dtype=torch.float64)
    for rows, columns in zip(weights.W_E.split(4096), weights.W_U.split(4096, dim=1), strict=True):
        total += columns.double() @ rows.double()
    return total
