"""BatchTopK: the n·k largest activations of a batch of n rows (Bussmann et al., 2024, arXiv:2412.06410)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models import ranks
from workbench.sae.architectures.topk import active_latents
from workbench.sae.base import SAE, Activated, TrainingStep
from workbench.sae.codes import CSRCodes
from workbench.sae.config import SAEConfig
from workbench.sae.encoding import encode_above, encode_largest
from workbench.sae.selection import above


class BatchTopK(SAE, architecture="batchtopk"):
    """k latents a row on average: a hard row may have more, an easy one fewer.

    A row by itself has no batch to be compared with: outside training a latent is active above `threshold`, the
    running mean of the smallest activation that was kept. It is saved, and read by SAELens, as a JumpReLU SAE.

    Attributes:
        threshold: [d_sae]; one number for all until the decoder's norms are folded in.
    """

    threshold: Tensor

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__(cfg)
        self.k = active_latents(cfg)
        self.register_buffer("threshold", torch.zeros(cfg.d_sae, dtype=cfg.torch_dtype))

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """k must be given, and lie between 1 and d_sae."""
        active_latents(cfg)

    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> CSRCodes:
        """The pre-activations above the threshold."""
        return encode_above(x, self.W_enc, self.b_enc, self.b_in, self.threshold)

    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> CSRCodes:
        """Those above the threshold."""
        return CSRCodes(*above(pre, self.threshold))

    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The n·k largest of the batch; the threshold follows the smallest of them."""
        codes = encode_largest(x, self.W_enc, self.b_enc, self.b_in, len(x) * self.k, step.product)
        self._follow(codes.values.detach(), step.cfg.threshold_lr)
        return Activated(codes, {})

    @torch.no_grad()
    def _follow(self, kept: Float[Tensor, " entries"], lr: float) -> None:
        if len(kept):
            smallest = ranks.mean(kept.min())
            self.threshold.lerp_(smallest.expand_as(self.threshold), lr if self.threshold.any() else 1.0)

    @torch.no_grad()
    def scale_latents(self, factor: Float[Tensor, " d_sae"]) -> None:
        """The threshold is in the units of the activations."""
        super().scale_latents(factor)
        self.threshold.mul_(factor)

    @classmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """What it does outside training is a JumpReLU."""
        return {"architecture": "jumprelu"}
