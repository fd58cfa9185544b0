"""What a dictionary leaves over, and how much of it is no mystery: a linear function of what was read.

Engels et al., "Decomposing the dark matter of sparse autoencoders" (arXiv 2410.14670).
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE

ROWS_PER_DIMENSION = 100
# Relative to the largest: directions that the inputs do not have are left out of the fit.
RANK_TOLERANCE = 1e-12
# A target whose variance is below this share of its scale is constant but for rounding.
CONSTANT = 1e-12


class JointMoments:
    """Sums of rows x and y, their squares and products in float64, about the first batch's means."""

    def __init__(self) -> None:
        self.n = 0
        self.xx: Tensor
        self.xy: Tensor
        self.yy: Tensor

    def update(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n targets"]) -> None:
        """Take one batch into account."""
        x, y = x.double().cpu(), y.double().cpu()
        if self.n == 0:
            self.origin = x.mean(0), y.mean(0)
            self.sums = torch.zeros_like(x[0]), torch.zeros_like(y[0])
            self.xx = x.new_zeros(x.shape[1], x.shape[1])
            self.xy = x.new_zeros(x.shape[1], y.shape[1])
            self.yy = torch.zeros_like(y[0])
        x, y = x - self.origin[0], y - self.origin[1]
        self.n += len(x)
        self.sums[0].add_(x.sum(0))
        self.sums[1].add_(y.sum(0))
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)
        self.yy.add_(y.square().sum(0))

    @property
    def means(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " targets"]]:
        """E x and E y."""
        return self.origin[0] + self.sums[0] / self.n, self.origin[1] + self.sums[1] / self.n

    @property
    def scatter(self) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d targets"], Float[Tensor, " targets"]]:
        """Sums of (x − E x)(x − E x)ᵀ, of (x − E x)(y − E y)ᵀ, and of (y − E y)² target by target."""
        x, y = self.sums
        return (
            self.xx - torch.outer(x, x) / self.n,
            self.xy - torch.outer(x, y) / self.n,
            self.yy - y.square() / self.n,
        )


@torch.no_grad()
def dark_matter(
    sae: SAE,
    fit: Iterable[Float[Tensor, "_ d"]],
    held_out: Iterable[Float[Tensor, "_ d"]],
    *,
    rows_per_dimension: int = ROWS_PER_DIMENSION,
) -> dict[str, float]:
    """How well the error x − x̂ and its squared length are predicted from x by least squares with an intercept.

    Args:
        sae: the dictionary.
        fit: rows the predictions are fitted on.
        held_out: rows they are scored on; of other documents.
        rows_per_dimension: each must have at least this many rows for each dimension of x: with fewer the fit follows
            its own rows, and even independent noise scores well below 0.

    Returns:
        `error_r2` (all dimensions together: 1 − Σ‖e − ê‖² / Σ‖e − E e‖²) and `error_norm_r2` (of ‖e‖²), beside what
        the same fit makes of squared lengths that are no mystery: `x_norm_r2` and `x_hat_norm_r2`; all on held-out
        rows, NaN where the target is constant but for rounding. `fit_rows` and `held_out_rows`.

    Raises:
        ValueError: too few rows, or a transcoder or crosscoder, whose error is not one of the rows x.
    """
    if sae.cfg.kind != "sae":
        raise ValueError(f"dark matter is what an SAE leaves over of the rows it reads: this is a {sae.cfg.kind}.")
    moments = JointMoments(), JointMoments()
    for kept, batches in zip(moments, (fit, held_out), strict=True):
        for x in batches:
            kept.update(x, _targets(x, sae(x)))
    fitted, scored = moments
    least = rows_per_dimension * sae.cfg.d_in
    if min(fitted.n, scored.n) < max(2, least):
        raise ValueError(
            f"dark matter needs {least} rows to fit and as many held out ({rows_per_dimension} for each of the "
            f"{sae.cfg.d_in} dimensions), but there are {fitted.n} and {scored.n}: give more, or fewer "
            "rows_per_dimension."
        )
    left, total = residual_squares(fitted, scored)
    square_x, square_error = scored.means[1][-2], scored.means[1][-3]
    return {
        "error_r2": _r2(left[:-3].sum(), total[:-3].sum(), scored.n * square_x),
        "error_norm_r2": _r2(left[-3], total[-3], scored.n * square_error * square_x),
        "x_norm_r2": _r2(left[-2], total[-2], scored.n * square_x**2),
        "x_hat_norm_r2": _r2(left[-1], total[-1], scored.n * square_x**2),
        "fit_rows": float(fitted.n),
        "held_out_rows": float(scored.n),
    }


def residual_squares(
    fitted: JointMoments, scored: JointMoments
) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"]]:
    """Σ(y − ŷ)² and Σ(y − E y)² of each target on the scored rows, ŷ fitted on the others.

    The fit is by least squares with an intercept. Moments are all that it or its residuals need: no row is read twice.
    """
    xx, xy, _ = fitted.scatter
    weight = torch.linalg.pinv(xx, rtol=RANK_TOLERANCE, hermitian=True) @ xy
    (fit_x, fit_y), (x, y) = fitted.means, scored.means
    scored_xx, scored_xy, scored_yy = scored.scatter
    spread = scored_yy - 2 * (weight * scored_xy).sum(0) + (weight * (scored_xx @ weight)).sum(0)
    bias = (y - fit_y) - (x - fit_x) @ weight
    return spread + scored.n * bias.square(), scored_yy


def _targets(x: Float[Tensor, "n d"], x_hat: Float[Tensor, "n d"]) -> Float[Tensor, "n targets"]:
    """The error, and the squared lengths of the error, of x and of x̂, all in float64."""
    x, x_hat = x.double(), x_hat.double()
    error = x - x_hat
    squares = [rows.square().sum(1, keepdim=True) for rows in (error, x, x_hat)]
    return torch.cat([error, *squares], dim=1)


def _r2(left: Tensor, total: Tensor, scale: Tensor) -> float:
    return float("nan") if total <= CONSTANT * scale else (1 - left / total).item()
