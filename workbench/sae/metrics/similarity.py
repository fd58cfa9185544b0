"""How alike two sets of directions are: each one's nearest among the others, and the best one-to-one matching.

Directions alone are compared here, whatever fires: leave dead latents out by a mask, for a direction that nothing
ever uses found nothing. Each number stands with and without its sign: the activations of a latent are never
negative, so one that points the wrong way cannot stand for a feature, however exact its line.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# A true direction counts as recovered from this cosine on.
RECOVERED = 0.9
CHUNK_ROWS = 4096


class Matching(NamedTuple):
    """Pairs of a found and a true direction, each in at most one pair."""

    found: Int[np.ndarray, " pairs"]
    """Rows of the found directions."""
    true: Int[np.ndarray, " pairs"]
    """Rows of the true ones, in step."""
    cosine: Float[np.ndarray, " pairs"]
    """The cosine of each pair, with its sign."""


def match_directions(
    found: Float[Tensor, "found d"],
    true: Float[Tensor, "true _"],
    alive: Bool[Tensor, " found"] | None = None,
    *,
    signed: bool = True,
) -> Matching:
    """The one-to-one matching whose cosines add up to the most (Hungarian method).

    Args:
        found: decoder rows, of any length; one of length zero has a cosine of 0 with everything.
        true: what they are matched to.
        alive: which found rows take part; all where None.
        signed: whether a direction and its opposite are different things.

    Raises:
        ValueError: the widths differ, no row is alive, or a true direction has length zero.
    """
    rows, found, true = _prepared(found, true, alive)
    cosine = (_unit(found) @ _unit(true).T).numpy()
    chosen, partners = linear_sum_assignment(cosine if signed else np.abs(cosine), maximize=True)
    return Matching(rows[chosen], partners, cosine[chosen, partners])


def mmcs(
    found: Float[Tensor, "found d"], true: Float[Tensor, "true _"], alive: Bool[Tensor, " found"] | None = None
) -> dict[str, float]:
    """Mean maximal cosine similarity, both ways (Sharkey et al., 2022).

    `mmcs_of_true`: the mean over true directions of the largest |cos| with a found one: is every feature found?
    `mmcs_of_found`: the mean over found ones of the largest |cos| with a true one: is everything found a feature?
    Either alone misleads: the first does not see latents that are no feature, the second neither missing features
    nor duplicates. `signed_…`: the same with the largest cosine.

    Arguments and errors are those of `match_directions`.
    """
    _, found, true = _prepared(found, true, alive)
    true = _unit(true)
    of_found: dict[bool, list[Tensor]] = {False: [], True: []}
    of_true = {signed: torch.full((len(true),), -torch.inf, dtype=torch.float64) for signed in (False, True)}
    for chunk in found.split(CHUNK_ROWS):
        cosine = _unit(chunk) @ true.T
        for signed, values in ((True, cosine), (False, cosine.abs())):
            of_found[signed].append(values.amax(1))
            of_true[signed] = torch.maximum(of_true[signed], values.amax(0))
    return {
        f"{prefix}mmcs_of_{kind}": values[signed].mean().item()
        for prefix, signed in (("", False), ("signed_", True))
        for kind, values in (("true", of_true), ("found", {s: torch.cat(v) for s, v in of_found.items()}))
    }


def mcc(
    found: Float[Tensor, "found d"], true: Float[Tensor, "true _"], alive: Bool[Tensor, " found"] | None = None
) -> dict[str, float]:
    """`mcc`: the mean |cos| over the best one-to-one matching; a duplicate has nothing left to be matched to.

    `signed_mcc`: the mean cosine over the matching that is best with signs. `mcc_coverage`: the share of true
    directions that have a partner at all; below 1 where fewer latents live than there are features, and the mean is
    then one over those alone. `recovered`: the share of true directions whose partner in the signed matching has a
    cosine of at least 0.9.

    Arguments and errors are those of `match_directions`.
    """
    unsigned = match_directions(found, true, alive, signed=False)
    signed = match_directions(found, true, alive)
    return {
        "mcc": float(np.abs(unsigned.cosine).mean()),
        "signed_mcc": float(signed.cosine.mean()),
        "mcc_coverage": len(unsigned.true) / len(true),
        "recovered": float((signed.cosine >= RECOVERED).sum() / len(true)),
    }


def seed_stability(
    a: Float[Tensor, "latent_a d"],
    b: Float[Tensor, "latent_b _"],
    alive_a: Bool[Tensor, " latent_a"] | None = None,
    alive_b: Bool[Tensor, " latent_b"] | None = None,
) -> dict[str, float]:
    """How much of a dictionary another seed gives again: their decoders matched one to one.

    `seed_mcc` and `seed_signed_mcc` as in `mcc`; `seed_shared`: the matched pairs with a cosine of at least 0.9 as a
    share of the larger dictionary's living latents. The same either way round. Raises `ValueError` as
    `match_directions` does.
    """
    _, living_b, _ = _prepared(b, a, alive_b)
    unsigned = match_directions(a, living_b, alive_a, signed=False)
    signed = match_directions(a, living_b, alive_a)
    larger = max(len(a) if alive_a is None else int(alive_a.sum()), len(living_b))
    return {
        "seed_mcc": float(np.abs(unsigned.cosine).mean()),
        "seed_signed_mcc": float(signed.cosine.mean()),
        "seed_shared": float((signed.cosine >= RECOVERED).sum() / larger),
    }


def _prepared(found: Tensor, true: Tensor, alive: Tensor | None) -> tuple[np.ndarray, Tensor, Tensor]:
    """The rows of `found` that live, and both sets of directions, without gradients."""
    if found.shape[1] != true.shape[1]:
        raise ValueError(f"directions of width {found.shape[1]} cannot be compared with others of {true.shape[1]}.")
    if len(true) == 0 or not (true.norm(dim=1) > 0).all():
        raise ValueError("the true directions must be at least one, and none of length zero.")
    rows = torch.arange(len(found)) if alive is None else alive.cpu().nonzero().squeeze(1)
    if len(rows) == 0:
        raise ValueError("no latent is alive: there is nothing to compare with the true directions.")
    return rows.numpy(), found.detach().cpu()[rows], true.detach().cpu()


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return F.normalize(rows.double(), dim=1)
