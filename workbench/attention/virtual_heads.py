"""Virtual heads: two heads in a row, whose OV circuits multiply into one."""

import pandas as pd
import torch
from torch import Tensor
from transformer_lens import FactoredMatrix

from models.checked_input import whole_number
from workbench.attention.composition import composition
from workbench.attention.copying import eigenvalue_score
from workbench.attention.head_circuits import ov_circuit
from workbench.attention.weights import Heads, HeadWeights, random_weights, weights_of


@torch.no_grad()
def virtual_heads(model: Heads, *, n_random: int = 200, seed: int = 0) -> pd.DataFrame:
    """Every pair of an earlier and a later head, as the one head that they make by V-composition.

    Its full OV circuit is W_E W_OV W_OV′ W_U, of the folded model (Elhage et al. 2021). How far it reaches into the
    logits is told as a share of the square of all the paths through heads that there are: those through one head and
    those through two. This is a share of weights; what attention lets through of it is not seen.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one.
        n_random: pairs of random heads: Gaussian factors of the same shapes.
        seed: of their draw.

    Returns:
        A line a head (`to_layer`, `to_head` NA) and one a pair: `from_layer, from_head, to_layer, to_head, norm`
        (Frobenius, tokens to logits), `share` (of 1), `composition` (‖L R‖ / (‖L‖ ‖R‖), NaN of one head), `copying`
        (Σ Re λ / Σ |λ|), and of random heads or pairs `random_copying_high`, `random_composition_high` (99th
        percentiles).

    Raises:
        ValueError: the subject's heads are not known.
    """
    whole_number(n_random, "n_random", least=1)
    weights = weights_of(model)
    heads = weights.each_head()
    # The later factor of W_E and the earlier one of W_U are all that a norm between tokens and logits needs of them.
    W_E, W_U = weights.W_E.double(), weights.W_U.double()
    reads, says, through = W_E.mT @ W_E, W_U @ W_U.mT, W_U @ W_E
    rows = []
    for layer, head in heads:
        own = ov_circuit(weights, layer, head)
        rows.append(_line(own, reads, says, through) | {"from_layer": layer, "from_head": head})
        for later, other in ((later, other) for later, other in heads if later > layer):
            second = ov_circuit(weights, later, other)
            both = FactoredMatrix(own.A, own.B @ second.A @ second.B)
            place = {"from_layer": layer, "from_head": head, "to_layer": later, "to_head": other}
            rows.append(_line(both, reads, says, through) | place | {"composition": float(composition(own, second))})
    table = pd.DataFrame(rows, columns=["from_layer", "from_head", "to_layer", "to_head", *_MEASURES])
    table["share"] = table["norm"] ** 2 / (table["norm"] ** 2).sum()
    one, two, composed = _random(weights, n_random, seed)
    alone = table["to_layer"].isna()
    table["random_copying_high"] = alone.map({True: one, False: two})
    table["random_composition_high"] = alone.map({True: float("nan"), False: composed})
    return table.astype(dict.fromkeys(("from_layer", "from_head", "to_layer", "to_head"), "Int64"))


_MEASURES = ["norm", "share", "composition", "copying"]


def _line(ov: FactoredMatrix, reads: Tensor, says: Tensor, through: Tensor) -> dict[str, float]:
    square = ((ov.A.mT @ reads @ ov.A) * (ov.B @ says @ ov.B.mT)).sum()
    # The eigenvalues of W_E A B W_U are those of B W_U W_E A, which no vocabulary makes large.
    copying = eigenvalue_score(FactoredMatrix(ov.A, ov.B @ through))
    return {"norm": float(square.clamp(min=0).sqrt()), "copying": float(copying)}


def _random(weights: HeadWeights, n: int, seed: int) -> tuple[float, float, float]:
    """The 99th percentiles of copying, of random heads and of pairs of them, and of the pairs' composition."""
    generator = torch.Generator().manual_seed(seed)
    shape = weights.d_model, weights.d_head, n, generator, weights.centred
    v, o, v2, o2 = (random_weights(*shape) for _ in range(4))
    through = (weights.W_U @ weights.W_E).double()
    one = eigenvalue_score(FactoredMatrix(v, o.mT @ through))
    two = eigenvalue_score(FactoredMatrix(v, o.mT @ v2 @ o2.mT @ through))
    composed = composition(FactoredMatrix(v, o.mT), FactoredMatrix(v2, o2.mT))
    return float(one.quantile(0.99)), float(two.quantile(0.99)), float(composed.quantile(0.99))
