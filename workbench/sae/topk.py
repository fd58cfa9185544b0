"""TopK: the k largest pre-activations of each row, nothing else (Gao et al., 2024, arXiv:2406.04093)."""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from workbench.sae.base import SAE, TrainingLoss
from workbench.sae.codes import TopKCodes, encode_topk, reconstruction_error
from workbench.sae.config import SAEConfig, SAETrainConfig


class TopK(SAE, architecture="topk"):
    """`f = ReLU(TopK((x − b_dec) W_enc + b_enc))`; dead latents are revived by an auxiliary loss."""

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__(cfg)
        assert cfg.k is not None  # `check_config` has seen to it
        self.k = cfg.k

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """k must be given, and lie between 1 and d_sae."""
        if cfg.k is None or cfg.k < 1:
            raise ValueError(f"a topk SAE needs k, the number of active latents, of at least 1; it was {cfg.k}.")
        if cfg.k > cfg.d_sae:
            raise ValueError(f"k = {cfg.k} latents cannot be active in an SAE that has {cfg.d_sae}.")

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> TopKCodes:
        """The k largest pre-activations of each row, with negative ones set to zero."""
        self.check_width(x)
        return encode_topk(x.to(self.W_enc.dtype), self.W_enc, self.b_enc, self.b_dec, self.k)

    def training_loss(
        self, x: Float[Tensor, "n d_in"], dead: Bool[Tensor, " d_sae"], variance: float, cfg: SAETrainConfig
    ) -> TrainingLoss:
        """Mean squared error over the variance, plus the auxiliary loss of the dead latents."""
        codes = encode_topk(x, self.W_enc, self.b_enc, self.b_dec, self.k)
        error = reconstruction_error(x, codes, self.W_dec, self.b_dec)
        squared_error = error.total / len(x)
        aux = self.auxiliary_loss(x, error.residual, dead, cfg.aux_latents(self.cfg.d_in))
        return TrainingLoss(
            total=(squared_error + cfg.aux_coefficient * aux) / variance,
            squared_error=squared_error.detach(),
            terms={"aux": aux.detach() / variance},
            codes=TopKCodes(codes.values.detach(), codes.indices),
        )

    def auxiliary_loss(
        self,
        x: Float[Tensor, "n d_in"],
        residual: Float[Tensor, "n d_in"],
        dead: Bool[Tensor, " d_sae"],
        k: int,
    ) -> Float[Tensor, ""]:
        """How badly the k most active dead latents explain what the living left over; zero without dead ones.

        The residual carries no gradient, and b_dec neither helps to explain it nor learns from it: it has its
        place in the main loss. With fewer than k dead latents the loss shrinks in proportion.
        """
        latents = dead.nonzero().squeeze(1)
        if len(latents) == 0:
            return residual.new_zeros(())
        active = min(k, len(latents))
        codes = encode_topk(x, self.W_enc[:, latents], self.b_enc[latents], self.b_dec.detach(), active)
        no_bias = residual.new_zeros(residual.shape[1])
        error = reconstruction_error(residual, codes, self.W_dec[latents], no_bias)
        return (active / k) * error.total / len(x)

    def saelens_fields(self) -> dict[str, Any]:
        """The decoder's norms are left out of the choice of latents."""
        return {"architecture": "topk", "k": self.cfg.k, "rescale_acts_by_decoder_norm": False}

    @classmethod
    def from_saelens(
        cls, saved: dict[str, Any], weights: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Fold in what SAELens leaves to run time: rescaling by decoder norms, and an input not centred."""
        weights = dict(weights)
        if saved.get("rescale_acts_by_decoder_norm", False):
            norm = weights["W_dec"].norm(dim=1)
            weights["W_enc"] = weights["W_enc"] * norm
            weights["b_enc"] = weights["b_enc"] * norm
            weights["W_dec"] = weights["W_dec"] / norm[:, None]
        if not saved.get("apply_b_dec_to_input", True):
            weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
        return {"k": saved["k"]}, weights
