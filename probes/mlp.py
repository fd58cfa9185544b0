"""`MLPProbe`: one hidden layer, the contrast that says what a linear probe misses."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from probes.base import Array, ClassifierProbe
from probes.class_moments import ClassMoments
from probes.gradient_training import GradientTrained
from probes.rows import returned


@dataclass(eq=False, repr=False)
class MLPProbe(GradientTrained, ClassifierProbe):
    """A perceptron of one hidden layer on standardised rows. Many targets share the hidden layer.

    What it finds is there, and not that anything uses it: a network that is large enough learns the labels of a control
    task as well (Hewitt and Liang, 2019), so it never stands without its selectivity.

    Args:
        hidden: hidden units.
        lr, weight_decay, batch_size, max_epochs, patience, random_state: of the training, see `GradientTrained`.

    Attributes:
        module_: what was trained.
        losses_: on held-out rows, after each epoch.
        classes_: [K], or the two of all targets.
    """

    hidden: int = 128
    _: KW_ONLY
    lr: float = 3e-3
    weight_decay: float = 0.5
    batch_size: int = 512
    patience: int = 10

    def fit(self, X: Any, y: Any) -> "MLPProbe":
        """Fit to rows X [n, d] and labels y [n], or [n, t] of two classes each."""
        rows = self._rows(X, reset=True)
        codes = self._codes(y, rows)
        moments = ClassMoments.of(rows, codes[:, :0], None)
        spread = moments.covariance.diagonal().clamp(min=0).sqrt()
        scale = torch.where(spread > 0, spread, 1)
        n_out = codes.shape[1] if self.n_targets_ is not None or len(self.classes_) == 2 else len(self.classes_)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            module = nn.Sequential(nn.Linear(rows.d, self.hidden), nn.ReLU(), nn.Linear(self.hidden, n_out))
        module = module.to(rows.device, rows.dtype)
        self.mean_, self.scale_ = (part.to(rows.dtype) for part in (moments.mean, scale))
        several = n_out > codes.shape[1]

        def loss(module: nn.Module, chosen: Tensor) -> Tensor:
            z = module((rows.take(chosen) - self.mean_) / self.scale_)
            if several:
                return F.cross_entropy(z, codes[chosen, 0])
            return F.binary_cross_entropy_with_logits(z, codes[chosen].to(z.dtype))

        self.module_ = self._train(module, loss, rows.n)
        return self

    @torch.no_grad()
    def _scores(self, X: Any) -> tuple[Tensor, Array]:
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        weight = next(self.module_.parameters())
        parts = [self.module_((x.to(weight) - self.mean_) / self.scale_) for _, x in rows.chunks()]
        return torch.cat(parts).to(rows.device), rows.source

    def decision_function(self, X: Any) -> Array:
        """Log odds: [n] for one target of two classes, [n, K] for one of K, [n, t] for t targets."""
        scores, like = self._scores(X)
        return returned(scores[:, 0] if self.is_binary_ else scores, like)

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row: [n], or [n, t] for t targets."""
        return self._predicted(*self._scores(X))

    def predict_proba(self, X: Any) -> Array:
        """Of each class [n, K]; for t targets, of the second class of each [n, t]."""
        return self._probabilities(*self._scores(X))
