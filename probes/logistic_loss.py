"""The losses of logistic regression over rows that are read chunk by chunk, and what is known of their curvature.

The objective is scikit-learn's over C times the sum of the weights: the weighted mean of the log losses plus
`ridge/2 · ‖w‖²`. Rows are centred, so that the intercept, the last parameter, hangs little on the others, and the other
parameters are coefficients along the principal axes of the rows, where there are not too many columns: what is known
of the curvature is then diagonal.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor

from probes.minimise import Evaluation
from probes.principal_axes import Planes, PrincipalAxes
from probes.rows import Rows

# The curvature is a mean over rows: every so many are enough.
SAMPLED = 4
# The search sets out from what so many rows, spread over all, ask for in so many steps.
START_ROWS, START_STEPS, START_POSITIVES = 2_500, 8, 10
# A curvature that has fallen to less than this share of what it would be without its bend is not believed.
LEAST_BEND = 0.05


class BinaryLosses(Planes):
    """Many binary targets of the same rows, each a problem of its own.

    The gradient is `Xᵀ(p − y)`, of which Xᵀy is known beforehand: a pass needs no labels.

    Args:
        rows: what is read.
        axes: of these rows.
        targets: 0 or 1.
        weight: of the rows.
        class_weight: of zeros and of ones, target by target.
        C: the inverse of the penalty, as scikit-learn has it.
        fit_intercept: whether there is one.
    """

    def __init__(
        self,
        rows: Rows,
        axes: PrincipalAxes,
        targets: Integer[Tensor, "n t"],
        weight: Float[Tensor, " n"] | None,
        class_weight: Float[Tensor, "2 t"] | None,
        C: float,
        fit_intercept: bool,
    ) -> None:
        super().__init__(rows, axes, targets.shape[1])
        self.targets, self.fit_intercept = targets, fit_intercept
        self.weight, self.class_weight = weight, class_weight
        self._every = torch.arange(targets.shape[1], device=rows.device)
        positive = torch.zeros(self.rows.d + 1, targets.shape[1], dtype=torch.float64, device=rows.device)
        self.totals = torch.zeros_like(positive[-1])
        for where, x in self.rows.chunks():
            y, weights = targets[where].to(rows.dtype), self._weights(where, self._every)
            share = y if weights is None else weights * y
            positive[:-1] += (x.T @ share).double()
            positive[-1] += share.sum(0).double()
            self.totals += len(x) if weights is None else weights.sum(0).double()
        self.positive = positive / self.totals
        _refuse_no_weight(torch.stack([self.positive[-1], 1 - self.positive[-1]]))
        self.ridge = 1 / (C * self.totals)

    def start(self) -> Float[Tensor, "axis_and_one t"]:
        """The direction of least squares, which Gaussian rows would keep, as long as some of the rows ask for."""
        share = self.positive[-1]
        covariance = self.along(self.positive[:-1])  # of rows with labels, for the rows are centred
        spread = self.axes.scales[:, None] + self.ridge / (share * (1 - share))
        directions = covariance / spread.clamp(min=torch.finfo(spread.dtype).tiny)
        W = self.of_read(directions).to(self.rows.dtype)
        step = max(1, self.rows.n // START_ROWS)
        parts = [(x @ W, where) for where, x in self.rows.chunks(step)]
        along = torch.cat([z for z, _ in parts]).double()
        y = torch.cat([self.targets[where] for _, where in parts]).double()
        weights = [self._weights(where, self._every) for _, where in parts]
        weight = None if weights[0] is None else torch.cat(weights).double()  # type: ignore[arg-type]
        length, intercept = self._scale(along, y, weight, directions.square().sum(0))
        # A class that the sample hardly has would be pushed so far away that nothing calls it back.
        known = torch.minimum(y.sum(0), (1 - y).sum(0)) >= START_POSITIVES
        length = torch.where(known, length, 0)
        if self.fit_intercept:
            intercept = torch.where(known, intercept, torch.logit(share))
        return torch.cat([length * directions, intercept[None]])

    def _scale(
        self,
        along: Float[Tensor, "m t"],
        y: Float[Tensor, "m t"],
        weight: Float[Tensor, "m _"] | None,
        square: Float[Tensor, " t"],
    ) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
        """Newton's method in two parameters: how long a direction, of this square, is best, and with what intercept.

        Of all the steps the best is taken, and the first is no direction at all.
        """
        intercept = torch.logit(self.positive[-1]) if self.fit_intercept else torch.zeros_like(square)
        length = torch.zeros_like(square)
        best, least = (length, intercept), torch.full_like(square, torch.inf)
        for _ in range(START_STEPS):
            z = length * along + intercept
            loss = F.softplus(z) - y * z
            value = (loss if weight is None else weight * loss).mean(0) + 0.5 * self.ridge * length.square() * square
            better = value < least
            least = torch.where(better, value, least)
            best = torch.where(better, length, best[0]), torch.where(better, intercept, best[1])
            p = z.sigmoid()
            r, q = p - y, p * (1 - p)
            if weight is not None:
                r, q = weight * r, weight * q
            g = (r * along).mean(0) + self.ridge * length * square
            h, c, a = (q * along.square()).mean(0) + self.ridge * square, (q * along).mean(0), q.mean(0)
            if not self.fit_intercept:
                length = length - g / h
                continue
            k = r.mean(0)
            determinant = (h * a - c.square()).clamp(min=torch.finfo(h.dtype).tiny)
            length = length - (a * g - c * k) / determinant
            intercept = intercept - (h * k - c * g) / determinant
        return best

    def __call__(self, theta: Float[Tensor, "axis_and_one t"], which: Int[Tensor, " t"]) -> Evaluation:
        """Gradients of the targets `which`; and of σ′ the mean, that weighted by σ, and that of its square."""
        W, b = self.planes(theta)
        slope = torch.zeros(len(which), self.rows.d + 1, dtype=theta.dtype, device=theta.device)
        curvature = torch.zeros(3, len(which), dtype=torch.float64, device=theta.device)
        for where, x in self.rows.chunks():
            p = torch.addmm(b, W, x.T).sigmoid_()
            some = p[:, ::SAMPLED]
            flat = some * (1 - some)
            weights = self._weights(where, which)
            q = flat
            if weights is not None:
                q = weights.T[:, ::SAMPLED] * flat
                p = weights.T * p
            slope[:, :-1] += p @ x
            slope[:, -1] += p.sum(1)
            curvature += torch.stack([q.sum(1), (q * some).sum(1), (q * flat).sum(1)])
        totals = self.totals[which]
        slope = self.slope(slope.T / totals - self.positive[:, which], theta, self.ridge[which])
        if not self.fit_intercept:
            slope[-1] = 0
        return Evaluation(slope, SAMPLED * curvature / totals)

    def precondition(
        self,
        g: Float[Tensor, "axis_and_one t"],
        which: Int[Tensor, " t"],
        theta: Float[Tensor, "axis_and_one t"],
        curvature: Float[Tensor, "3 t"],
    ) -> Float[Tensor, "axis_and_one t"]:
        """The inverse Hessian that Gaussian rows of this covariance Σ would have, applied to columns.

        With z = x·w + b and u = Σ w it is, by Stein's lemma, `E[σ′] Σ + E[σ‴] u uᵀ + ridge`, beside the intercept's
        `E[σ′]`, and `E[σ″] u` between them.
        """
        least = torch.finfo(g.dtype).tiny
        first, with_p, square = curvature
        a = first.clamp(min=1e-6)
        second, third = first - 2 * with_p, first - 6 * square

        spread = a * self.axes.scales[:, None] + self.ridge[which]
        spread = spread.clamp(min=least)  # a column without variance, without a penalty
        found = torch.cat([g[:-1] / spread, g[-1:] / a])
        u = self.axes.scales[:, None] * theta[:-1]
        solved = u / spread
        along = (u * solved).sum(0)
        # I + M G of Woodbury's identity, M = [[third, second], [second, 0]], G = diag(along, 1 / a).
        determinant = 1 + third * along - second.square() * along / a
        sound = (determinant > LEAST_BEND) & (1 + third * along > LEAST_BEND)
        scale = torch.where(sound, 1 / determinant.clamp(min=least), 0)
        on_u, on_one = (u * found[:-1]).sum(0), found[-1]
        x = scale * ((third - second.square() / a) * on_u + second * on_one)
        y = scale * (second * on_u - second.square() * along * on_one)
        if not self.fit_intercept:
            x, y = (
                torch.where(1 + third * along > LEAST_BEND, third * on_u / (1 + third * along), 0),
                torch.zeros_like(y),
            )
        return found - torch.cat([x * solved, (y / a)[None]])

    def _weights(self, where: slice, which: Int[Tensor, " t"]) -> Float[Tensor, "chunk _"] | None:
        """Of some rows, target by target where classes have weights; None where nothing has."""
        weight = None if self.weight is None else self.weight[where, None].to(self.rows.dtype)
        if self.class_weight is None:
            return weight
        zeros, ones = self.class_weight[:, which].to(self.rows.dtype)
        by_class = torch.lerp(zeros, ones, self.targets[where][:, which].to(self.rows.dtype))
        return by_class if weight is None else weight * by_class


def _refuse_no_weight(shares: Float[Tensor, "..."]) -> None:
    if not (shares > 0).all():
        raise ValueError("a class has no weight: leave its rows out, or give it some.")


class MultinomialLoss(Planes):
    """One target of K classes: one problem, whose parameters are those of all classes.

    Args: as for `BinaryLosses`; `classes` says which class each row has, 0 to K − 1, and `weight` has those of the
    classes in it.
    """

    def __init__(
        self,
        rows: Rows,
        axes: PrincipalAxes,
        classes: Int[Tensor, " n"],
        n_classes: int,
        weight: Float[Tensor, " n"] | None,
        C: float,
        fit_intercept: bool,
    ) -> None:
        super().__init__(rows, axes, n_classes)
        self.classes, self.weight = classes, weight
        self.n_classes, self.fit_intercept = n_classes, fit_intercept
        self.total = float(rows.n if weight is None else weight.sum())
        self.ridge = 1 / (C * self.total)
        self.share = torch.bincount(classes, weights=weight, minlength=n_classes).double() / self.total
        _refuse_no_weight(self.share)

    def start(self) -> Float[Tensor, "parameters 1"]:
        """No coefficients, and the intercepts that are then the best."""
        theta = torch.zeros(self.n_parameters, self.n_classes, dtype=torch.float64, device=self.rows.device)
        if self.fit_intercept:
            theta[-1] = self.share.log() - self.share.log().mean()
        return theta.reshape(-1, 1)

    def by_class(self, parameters: Float[Tensor, "parameters 1"]) -> Float[Tensor, "axis_and_one K"]:
        """The same, one column a class."""
        return parameters.reshape(-1, self.n_classes)

    def __call__(self, parameters: Float[Tensor, "parameters 1"], _: Int[Tensor, " 1"]) -> Evaluation:
        """The gradient, and the mean of diag(p) − p pᵀ."""
        theta = self.by_class(parameters)
        W, b = self.planes(theta)
        slope = torch.zeros(self.n_classes, self.rows.d + 1, dtype=theta.dtype, device=theta.device)
        products = torch.zeros(self.n_classes, self.n_classes, dtype=torch.float64, device=theta.device)
        expected = torch.zeros_like(products[0])
        for where, x in self.rows.chunks():
            p = torch.addmm(b, W, x.T).softmax(0)
            residual, weighted = p - F.one_hot(self.classes[where], self.n_classes).T.to(p), p
            if self.weight is not None:
                weight = self.weight[where].to(x)
                residual, weighted = weight * residual, weight * p
            slope[:, :-1] += residual @ x
            slope[:, -1] += residual.sum(1)
            products += weighted @ p.T
            expected += weighted.sum(1)
        slope = self.slope(slope.T / self.total, theta, self.ridge)
        if not self.fit_intercept:
            slope[-1] = 0
        return Evaluation(slope.reshape(-1, 1), (expected.diag() - products).reshape(-1, 1) / self.total)

    def precondition(
        self, g: Float[Tensor, "parameters 1"], _: Tensor, parameters: Tensor, curvature: Float[Tensor, "K_times_K 1"]
    ) -> Float[Tensor, "parameters 1"]:
        """The inverse Hessian if all rows had the mean curvature between classes, which its eigenvectors part."""
        shares, mixtures = torch.linalg.eigh(curvature.reshape(self.n_classes, -1))
        a, g = shares.clamp(min=1e-6), self.by_class(g) @ mixtures
        spread = a * self.axes.scales[:, None] + self.ridge
        solved = g[:-1] / spread.clamp(min=torch.finfo(spread.dtype).tiny)
        return (torch.cat([solved, g[-1:] / a]) @ mixtures.T).reshape(-1, 1)

    def spread(self, parameters: Float[Tensor, "parameters 1"]) -> Float[Tensor, " 1"]:
        """Of the class whose scores lie farthest apart."""
        return super().spread(self.by_class(parameters)).amax()[None]

    def uncentred(self, parameters: Float[Tensor, "parameters 1"]) -> tuple[Float[Tensor, "K d"], Float[Tensor, " K"]]:
        """Coefficients and intercepts of the rows as they are; what the classes have in common changes nothing."""
        coef, intercept = super().uncentred(self.by_class(parameters))
        return coef - coef.mean(0), intercept - intercept.mean()
