"""`CCSProbe`: what a subject holds true, found from pairs of opposite statements without any label."""

from typing import Any

import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from probes.base import Array, Probe
from probes.rows import returned


class CCSProbe(Probe):
    """Contrast-consistent search: `p(x⁺) + p(x⁻) = 1`, and neither of them ½.

    Burns et al., "Discovering latent knowledge in language models without supervision" (2022), arXiv:2212.03827. The
    loss of a pair is `(p⁺ − (1 − p⁻))² + min(p⁺, p⁻)²`, of both sides centred and scaled each by itself; of several
    starts that with the least loss is kept. No label is used, so the sign is undetermined: `orient` sets it.

    Args:
        n_starts: random starts.
        max_iter: steps of L-BFGS from each.
        random_state: of the starts.

    Attributes:
        coef_: [d], in the units of standardised rows.
        intercept_: a number.
        loss_: of the start that was kept.
        losses_: of all.
    """

    def __init__(self, *, n_starts: int = 10, max_iter: int = 200, random_state: int = 0) -> None:
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "CCSProbe":
        """Fit to pairs: `X` is two arrays [n, d], row i of one the opposite of row i of the other."""
        positive, negative = self._pair(X, reset=True)
        self.centres_ = torch.stack([positive.mean(0), negative.mean(0)])
        spread = torch.stack([positive.std(0, correction=0), negative.std(0, correction=0)])
        self.scales_ = torch.where(spread > 0, spread, 1)
        a, b = self._scaled(positive, negative)
        generator = torch.Generator().manual_seed(self.random_state)
        found = [self._search(a, b, generator) for _ in range(self.n_starts)]
        losses = torch.tensor([loss for _, loss in found])
        theta, self.loss_ = found[int(losses.nan_to_num(torch.inf).argmin())]
        self.losses_ = losses.numpy()
        self.coef_, self.intercept_ = returned(theta[:-1], X[0]), float(theta[-1])
        return self

    def orient(self, X: Any, y: Any) -> "CCSProbe":
        """Turn the probe round where it is wrong on more than half of some labelled pairs."""
        wrong = (torch.as_tensor(self.predict(X)).cpu() != torch.as_tensor(y).cpu()).double().mean()
        if wrong > 0.5:
            self.coef_, self.intercept_ = -self.coef_, -self.intercept_
        return self

    def predict_proba(self, X: Any) -> Array:
        """That the first statement of each pair is the true one [n]: the mean of p⁺ and 1 − p⁻."""
        check_is_fitted(self)
        a, b = self._scaled(*self._pair(X, reset=False))
        theta = torch.cat([torch.as_tensor(self.coef_).to(a), a.new_tensor([self.intercept_])])
        return returned((_probability(theta, a) + 1 - _probability(theta, b)) / 2, X[0])

    def predict(self, X: Any) -> Array:
        """Whether the first statement of each pair is the true one, 0 or 1 [n]."""
        return (self.predict_proba(X) > 0.5) * 1

    def _pair(self, X: Any, *, reset: bool) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        if not isinstance(X, tuple | list) or len(X) != 2:
            raise ValueError("X must be a pair of arrays [n, d]: the statements, and their opposites.")
        positive, negative = (self._rows(side, reset=reset and i == 0) for i, side in enumerate(X))
        if positive.n != negative.n:
            raise ValueError(f"there are {positive.n} statements and {negative.n} opposites: they must be pairs.")
        return tuple(torch.cat([x for _, x in side.chunks()]) for side in (positive, negative))  # type: ignore[return-value]

    def _scaled(self, positive: Tensor, negative: Tensor) -> list[Tensor]:
        sides = zip((positive, negative), self.centres_, self.scales_, strict=True)
        return [(side - centre.to(side)) / scale.to(side) for side, centre, scale in sides]

    def _search(self, a: Tensor, b: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
        start = torch.randn(a.shape[1] + 1, generator=generator)
        theta = (start / start.norm()).to(a).requires_grad_()
        optimiser = torch.optim.LBFGS([theta], max_iter=self.max_iter, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = _loss(theta, a, b)
            loss.backward()
            return loss

        optimiser.step(closure)
        return theta.detach(), _loss(theta.detach(), a, b).item()


def _probability(theta: Float[Tensor, " d_and_one"], x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return (x @ theta[:-1] + theta[-1]).sigmoid()


def _loss(theta: Float[Tensor, " d_and_one"], a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    p, q = _probability(theta, a), _probability(theta, b)
    return ((p - (1 - q)).square() + torch.minimum(p, q).square()).mean()
