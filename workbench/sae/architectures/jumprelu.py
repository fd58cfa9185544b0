"""JumpReLU: a learned threshold for each latent (Rajamanoharan et al., 2024, arXiv:2407.14435)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from workbench.sae.architectures.standard import refuse_k
from workbench.sae.base import SAE, Activated, TrainingStep
from workbench.sae.codes import CSRCodes
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.encoding import encode_above
from workbench.sae.selection import above

THRESHOLD_TIMES = 10.0


class JumpReLU(SAE, architecture="jumprelu"):
    """`f = z · 1[z > θ]` of `z = (x − b_in) W_enc + b_enc`, with `λ ‖f‖₀` as its price.

    Neither the jump nor the count has a useful derivative in θ. Both get the expectation's: that of rows whose z lies
    within half a `bandwidth` ε of θ (equations 10 to 12): ∂f/∂θ = −(θ/ε)·1[|z − θ| < ε/2], ∂‖f‖₀/∂θ = −(1/ε)·1[…].

    Attributes:
        threshold: [d_sae], never negative.
    """

    sparsity = 5.0
    starts_sparse = True

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__(cfg)
        self.threshold = nn.Parameter(torch.zeros(cfg.d_sae, dtype=cfg.torch_dtype))

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """There is no k: the coefficient decides how many latents are active."""
        refuse_k(cfg)

    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> CSRCodes:
        """The pre-activations above their thresholds."""
        return encode_above(x, self.W_enc, self.b_enc, self.b_in, self.threshold.detach())

    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> CSRCodes:
        """Those above the thresholds."""
        return CSRCodes(*above(pre, self.threshold.detach()))

    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The same while training, with those just below their thresholds, which are zero but have a gradient."""
        width = step.cfg.bandwidth
        bar = self.threshold.detach() - width / 2
        found = encode_above(x, self.W_enc, self.b_enc, self.b_in, bar, step.product)
        thresholds = self.threshold.index_select(0, found.indices)
        values, count = _Jump.apply(found.values, thresholds, width)
        codes = CSRCodes(values, found.indices, found.row_starts)
        return Activated(codes, {"l0_penalty": step.sparsity * count / len(x)})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam moves a number by about its rate a step: a threshold has much further to go than a weight."""
        weights = [parameter for parameter in self.parameters() if parameter is not self.threshold]
        return [{"params": weights, "times": 1.0}, {"params": [self.threshold], "times": THRESHOLD_TIMES}]

    @torch.no_grad()
    def begin(self, cfg: SAETrainConfig, x: Tensor, centre_in: Tensor, centre_out: Tensor) -> None:
        """Thresholds set out above zero."""
        super().begin(cfg, x, centre_in, centre_out)
        self.threshold.fill_(cfg.threshold)

    @torch.no_grad()
    def restart_latents(self, latents: Int[Tensor, " chosen"], cfg: SAETrainConfig) -> list[Tensor]:
        """The threshold too."""
        self.threshold[latents] = cfg.threshold
        return [*super().restart_latents(latents, cfg), self.threshold]

    @torch.no_grad()
    def constrain_weights(self) -> None:
        """A negative threshold would let negative activations pass."""
        super().constrain_weights()
        self.threshold.clamp_(min=0)

    @torch.no_grad()
    def scale_latents(self, factor: Float[Tensor, " d_sae"]) -> None:
        """A threshold is in the units of its latent's activation."""
        super().scale_latents(factor)
        self.threshold.mul_(factor)

    @classmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """Nothing but its name."""
        return {"architecture": "jumprelu"}


class _Jump(Function):
    """`z · 1[z > θ]`, and how many pass, entry by entry."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        passes = z > threshold
        ctx.save_for_backward(z, threshold, passes)
        ctx.bandwidth = bandwidth
        return z * passes, passes.sum().to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, grad_count: Tensor) -> tuple[Tensor | None, ...]:
        z, threshold, passes = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        grad_threshold = -(threshold * grad_values + grad_count) * near / ctx.bandwidth
        return grad_values * passes, grad_threshold, None
