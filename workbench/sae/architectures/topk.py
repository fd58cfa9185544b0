"""TopK: the k largest pre-activations of each row, nothing else (Gao et al., 2024, arXiv:2406.04093)."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE, Activated, TrainingStep
from workbench.sae.codes import TopKCodes
from workbench.sae.config import SAEConfig
from workbench.sae.encoding import encode_topk
from workbench.sae.selection import largest_of_rows


class TopK(SAE, architecture="topk"):
    """`f = ReLU(TopK((x − b_in) W_enc + b_enc))`; dead latents are revived by an auxiliary loss."""

    latents_compete = True

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__(cfg)
        self.k = active_latents(cfg)

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """k must be given, and lie between 1 and d_sae."""
        active_latents(cfg)

    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> TopKCodes:
        """The k largest pre-activations of each row, with negative ones set to zero."""
        return encode_topk(x, self.W_enc, self.b_enc, self.b_in, self.k)

    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> TopKCodes:
        """The k largest, and zero where these are negative."""
        values, indices = largest_of_rows(pre, self.k)
        return TopKCodes(values.relu(), indices)

    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The same while training; k is the sparsity."""
        return Activated(encode_topk(x, self.W_enc, self.b_enc, self.b_in, self.k, step.product), {})

    @classmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """The decoder's norms are left out of the choice of latents."""
        return {"architecture": "topk", "k": cfg.k, "rescale_acts_by_decoder_norm": False}


def active_latents(cfg: SAEConfig) -> int:
    """k, for an architecture that fixes it. Raises `ValueError` unless it lies between 1 and d_sae."""
    if cfg.k is None or cfg.k < 1:
        raise ValueError(
            f"a {cfg.architecture} SAE needs k, the number of active latents, of at least 1; it was {cfg.k}."
        )
    if cfg.k > cfg.d_sae:
        raise ValueError(f"k = {cfg.k} latents cannot be active in an SAE that has {cfg.d_sae}.")
    return cfg.k
