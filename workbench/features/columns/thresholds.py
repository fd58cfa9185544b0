"""Where a column begins to fire."""

from jaxtyping import Float
from torch import Tensor

# A value that many rows share, such as that of a saturated gate, fires on all of them up to this share of the rows.
MOST_ALIKE = 0.25


def thresholds_of(values: Float[Tensor, "n m"], shares: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """For each column the value that its share of the rows exceeds, and never less than 0.

    Rows of the very same value fire together or not at all. So more rows than the share may fire, up to `MOST_ALIKE` of
    all; where so many would have to, fewer do: none, where that value is the largest.
    """
    n = len(values)
    place = (shares.double() * n).long().clamp(max=n - 1)
    largest = values.T.topk(int(place.max()) + 1, dim=1).values
    first_out = largest.gather(1, place[:, None])[:, 0]
    alike = values == first_out
    exceed = (values > first_out).sum(0)
    let_in = (exceed < place) & (exceed + alike.sum(0) <= MOST_ALIKE * n)
    below = values.masked_fill(values >= first_out, -float("inf")).amax(0)
    return below.where(let_in, first_out).clamp(min=0)
