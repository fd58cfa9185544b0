"""Which pairs of tokens a head's weights put together most, without a matrix of all pairs."""

from typing import Literal, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import FactoredMatrix

from models.checked_input import whole_number
from workbench.attention.head_circuits import ov_circuit, qk_circuit
from workbench.attention.weights import Heads, HeadWeights, random_weights, weights_of
from workbench.features.vocabulary import token_strings

QKOrOV = Literal["QK", "OV"]
BLOCK = 1 << 24  # entries of the matrix that are there at a time


class TopPairs(NamedTuple):
    """The largest entries of a matrix, largest first.

    Attributes:
        value: the entries.
        row, column: where they are.
        mean, deviation: of all the matrix's entries.
    """

    value: Float[Tensor, " k"]
    row: Int[Tensor, " k"]
    column: Int[Tensor, " k"]
    mean: float
    deviation: float

    @property
    def deviations(self) -> Float[Tensor, " k"]:
        """How many standard deviations of all entries these are above their mean."""
        return (self.value - self.mean) / self.deviation


@torch.no_grad()
def top_pairs(circuit: FactoredMatrix, k: int = 10, *, block: int = BLOCK) -> TopPairs:
    """The k largest entries of a factored matrix, computed some rows at a time.

    Mean and deviation are exact, of the factors: Σ M = (1ᵀA)(B1), Σ M² = tr(AᵀA BBᵀ).

    Args:
        circuit: factors without leading dimensions.
        k: how many; all of them where there are fewer.
        block: entries that are computed at a time, a row at least.
    """
    A, B = circuit.A, circuit.B
    n_rows, n_columns = A.shape[0], B.shape[1]
    k = min(whole_number(k, "k", least=1), n_rows * n_columns)
    value, index = A.new_empty(0), torch.empty(0, dtype=torch.int64)
    step = max(1, block // n_columns)
    for start in range(0, n_rows, step):
        entries = (A[start : start + step] @ B).flatten()
        found, at = entries.topk(min(k, len(entries)))
        value, index = torch.cat([value, found]), torch.cat([index, at + start * n_columns])
        value, kept = value.topk(min(k, len(value)))
        index = index[kept]
    n = n_rows * n_columns
    mean = float(A.sum(0) @ B.sum(1)) / n
    square = float(((A.mT @ A) * (B @ B.mT)).sum()) / n
    return TopPairs(value, index // n_columns, index % n_columns, mean, max(square - mean * mean, 0.0) ** 0.5)


@torch.no_grad()
def token_pairs(
    model: Heads,
    layer: int,
    head: int,
    circuit: QKOrOV = "QK",
    *,
    k: int = 10,
    tokens: Int[Tensor, " token"] | None = None,
    distance: int = 0,
    n_random: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """The pairs of tokens whose entry in a head's full QK or OV circuit is largest, beside random heads' largest.

    The folded model's embeddings and weights are used. A random head has Gaussian weights of the same shapes; its
    entries are scaled to the spread of this head's, so that `value` compares as `deviations` do.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one.
        layer, head: which.
        circuit: `QK`: query and key (a score is the value over √d_head). `OV`: token attended to, and the one whose
            logit it raises.
        k: pairs of each variant.
        tokens: ids that take part, such as those that a text has; all of them where None.
        distance: of the key before the query, where positions are rotary.
        n_random: random heads.
        seed: of their draw.

    Returns:
        `layer, head, circuit, variant ("head" | "random matrices"), seed, rank, from_token, to_token, from_text,
        to_text, value, deviations` (above the mean of all pairs, in their standard deviation). From query to key, or
        from what is attended to to what is said.

    Raises:
        ValueError: a head or token is not there, or the circuit is neither.
    """
    if circuit not in ("QK", "OV"):
        raise ValueError(f"circuit is {circuit!r}: it must be 'QK' or 'OV'.")
    whole_number(n_random, "n_random")
    weights = weights_of(model)
    layer, head = weights.checked(layer, head)
    ids = torch.arange(weights.W_E.shape[0]) if tokens is None else _checked(tokens, weights)
    if circuit == "QK":
        whole = qk_circuit(weights, layer, head, ends="tokens", distance=distance)
    else:
        whole = ov_circuit(weights, layer, head, ends="tokens")
    own = FactoredMatrix(whole.A[ids], whole.B[:, ids])
    place = {"layer": layer, "head": head, "circuit": circuit}
    found = top_pairs(own, k)
    parts = [_table(found, ids, weights, place | {"variant": "head", "seed": pd.NA})]
    for number in range(n_random):
        drawn = _random_circuit(weights, circuit, ids, seed + number)
        random = top_pairs(drawn, k)
        scaled = random.deviations * found.deviation + found.mean
        random = random._replace(value=scaled, mean=found.mean, deviation=found.deviation)
        parts.append(_table(random, ids, weights, place | {"variant": "random matrices", "seed": seed + number}))
    return pd.concat(parts, ignore_index=True).astype({"seed": "Int64"})


def _random_circuit(weights: HeadWeights, circuit: QKOrOV, ids: Int[Tensor, " token"], seed: int) -> FactoredMatrix:
    generator = torch.Generator().manual_seed(seed)
    a, b = random_weights(weights.d_model, weights.d_head, 2, generator).float()
    ends = weights.W_E[ids] if circuit == "QK" else weights.W_U[:, ids].mT
    return FactoredMatrix((weights.W_E[ids] @ a).double(), (ends @ b).double().mT)


def _checked(tokens: Int[Tensor, " token"], weights: HeadWeights) -> Int[Tensor, " token"]:
    d_vocab = weights.W_E.shape[0]
    if not len(tokens) or int(tokens.min()) < 0 or int(tokens.max()) >= d_vocab:
        raise ValueError(f"tokens must be ids from 0 to {d_vocab - 1}, one at least.")
    return tokens.unique()


def _table(found: TopPairs, ids: Tensor, weights: HeadWeights, place: dict[str, object]) -> pd.DataFrame:
    start, end = ids[found.row].tolist(), ids[found.column].tolist()
    return pd.DataFrame(
        place
        | {
            "rank": range(1, len(start) + 1),
            "from_token": start,
            "to_token": end,
            "from_text": token_strings(weights.tokenizer, start),
            "to_text": token_strings(weights.tokenizer, end),
            "value": found.value.numpy(),
            "deviations": found.deviations.numpy(),
        }
    )
