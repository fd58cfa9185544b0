"""`AttentionProbe`: labels of whole sequences, read from the positions that tell most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from probes.base import Array, ClassifierProbe
from probes.gradient_training import GradientTrained
from probes.rows import Rows, returned

AT_ONCE = 256


@dataclass(eq=False, repr=False)
class AttentionProbe(GradientTrained, ClassifierProbe):
    """`z = b + Σ_h Σ_pos softmax_pos(q_h · x_pos) V_h x_pos`: linear in each position, and in where to look.

    The probe for labels of a sequence, where no single position is known to hold the answer; with one head and a
    query of zero it reads the mean. (Shown by Belrose and others, "Attention probes", 2025, to do no worse than the
    better of the mean and the last position.)

    Args:
        n_heads: how many queries.
        lr, weight_decay, batch_size, max_epochs, patience, random_state: of the training, see `GradientTrained`; the
            examples are sequences.

    Attributes:
        query_: [head, d], of standardised positions.
        value_: [head, K or t, d].
        intercept_: [K] or [t].
        classes_: [K], or the two of all targets.
        losses_: on the held-out sequences, after each epoch.
    """

    n_heads: int = 1

    def fit(self, X: Sequence[Array] | Array, y: Any) -> "AttentionProbe":
        """Fit to sequences `X`, [positions, d] each (or an array [n, positions, d]), and labels y [n] or [n, t]."""
        if self.n_heads < 1:
            raise ValueError(f"n_heads is {self.n_heads}: at least one is needed.")
        x, mask = self._sequences(X, reset=True)
        rows = Rows(x.flatten(1))
        codes = self._codes(y, rows)
        real = x[mask]
        self.mean_, spread = real.mean(0), real.std(0, correction=0)
        self.scale_ = torch.where(spread > 0, spread, 1)
        n_out = codes.shape[1] if self.n_targets_ is not None or len(self.classes_) == 2 else len(self.classes_)
        module = _Attention(x.shape[2], self.n_heads, n_out, self.random_state).to(x.device)

        def loss(module: nn.Module, chosen: Tensor) -> Tensor:
            z = module((x[chosen] - self.mean_) / self.scale_, mask[chosen])[0]
            if n_out > codes.shape[1]:
                return F.cross_entropy(z, codes[chosen, 0])
            return F.binary_cross_entropy_with_logits(z, codes[chosen].to(z.dtype))

        self.module_ = self._train(module, loss, len(x))
        for name, part in (("query_", module.query), ("value_", module.value), ("intercept_", module.bias)):
            setattr(self, name, returned(part.detach(), X[0]))
        return self

    def decision_function(self, X: Sequence[Array] | Array) -> Array:
        """Log odds: [n] for one target of two classes, [n, K] for one of K, [n, t] for t targets."""
        z = self._read(X)[0]
        return returned(z[:, 0] if self.is_binary_ else z, X[0])

    def predict(self, X: Sequence[Array] | Array) -> Array:
        """The likeliest class of each sequence: [n], or [n, t] for t targets."""
        return self._predicted(self._read(X)[0], X[0])

    def predict_proba(self, X: Sequence[Array] | Array) -> Array:
        """Of each class [n, K]; for t targets, of the second class of each [n, t]."""
        return self._probabilities(self._read(X)[0], X[0])

    def attention(self, X: Sequence[Array] | Array) -> Array:
        """Where each head looks [n, head, positions]; zero behind a sequence's end."""
        return returned(self._read(X)[1], X[0])

    @torch.no_grad()
    def _read(self, X: Sequence[Array] | Array) -> tuple[Float[Tensor, "n out"], Float[Tensor, "n head pos"]]:
        check_is_fitted(self)
        x, mask = self._sequences(X, reset=False)
        parts = [
            self.module_((some - self.mean_) / self.scale_, real)
            for some, real in zip(x.split(AT_ONCE), mask.split(AT_ONCE), strict=True)
        ]
        return torch.cat([z for z, _ in parts]), torch.cat([looks for _, looks in parts])

    def _sequences(
        self, X: Sequence[Array] | Array, *, reset: bool
    ) -> tuple[Float[Tensor, "n pos d"], Bool[Tensor, "n pos"]]:
        if len(X) == 0:
            raise ValueError("there are no sequences to read.")
        found = [torch.as_tensor(x).detach().float() for x in X]
        width = found[0].shape[-1] if reset else self.n_features_in_
        for i, x in enumerate(found):
            if x.ndim != 2 or len(x) == 0 or x.shape[1] != width:
                raise ValueError(f"sequence {i} has shape {tuple(x.shape)}: each must be [positions, {width}].")
            if not torch.isfinite(x).all():
                raise ValueError(f"sequence {i} contains NaN or infinity.")
        self.n_features_in_ = width
        x = nn.utils.rnn.pad_sequence(found, batch_first=True)
        sizes = torch.tensor([len(part) for part in found], device=x.device)
        return x, torch.arange(x.shape[1], device=x.device) < sizes[:, None]


class _Attention(nn.Module):
    def __init__(self, d: int, n_heads: int, n_out: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.query = nn.Parameter(torch.randn(n_heads, d, generator=generator) / d)
        self.value = nn.Parameter(torch.randn(n_heads, n_out, d, generator=generator) / d)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(
        self, x: Float[Tensor, "n pos d"], mask: Bool[Tensor, "n pos"]
    ) -> tuple[Float[Tensor, "n out"], Float[Tensor, "n head pos"]]:
        scores = torch.einsum("npd,hd->nhp", x, self.query).masked_fill(~mask[:, None], -torch.inf)
        looks = scores.softmax(-1)
        read = torch.einsum("nhp,npd->nhd", looks, x)
        return torch.einsum("nhd,hod->no", read, self.value) + self.bias, looks
