"""Standard: ReLU and an L1 penalty weighted by the decoder's norms.

Conerly et al., "Update on how we train SAEs", Transformer Circuits, April 2024.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE, Activated, TrainingStep
from workbench.sae.codes import CSRCodes
from workbench.sae.config import SAEConfig
from workbench.sae.encoding import encode_above
from workbench.sae.products import summed_by_latent
from workbench.sae.selection import above


class Standard(SAE, architecture="standard"):
    """`f = ReLU((x − b_in) W_enc + b_enc)`, with `λ Σ f ‖W_dec‖` as its price.

    The decoder's rows may have any length while training: what a latent costs is the length of what it adds, so that
    nothing is gained by a long row and a small activation.
    """

    unit_decoder = False
    sparsity = 5.0
    starts_sparse = True
    revival = "none"

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """There is no k: the coefficient decides how many latents are active."""
        refuse_k(cfg)

    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> CSRCodes:
        """The positive pre-activations."""
        return encode_above(x, self.W_enc, self.b_enc, self.b_in, 0.0)

    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> CSRCodes:
        """Those above zero."""
        return CSRCodes(*above(pre, 0.0))

    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The same while training, and the L1 penalty."""
        codes = encode_above(x, self.W_enc, self.b_enc, self.b_in, 0.0, step.product)
        l1 = summed_by_latent(codes, self.cfg.d_sae) @ self.decoder_norms() / len(x)
        return Activated(codes, {"l1": step.sparsity * l1})

    @classmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """Nothing but its name."""
        return {"architecture": "standard"}


def refuse_k(cfg: SAEConfig) -> None:
    """Raise `ValueError` where an architecture that has no k is given one."""
    if cfg.k is not None:
        raise ValueError(
            f"a {cfg.architecture} SAE has no k: how many latents are active follows from `sparsity` or `target_l0` "
            "of its training."
        )
