"""How much each attention head writes, read as a dictionary's codes are."""

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.codes import CSRCodes
from workbench.sae.config import SAEConfig
from workbench.sae.selection import above


class HeadNorms:
    """The length of what each head writes at a row, where it is above a threshold.

    A length is no linear map: there is no decoder, and so no direction to add, to take out or to follow to the logits.

    Attributes:
        cfg: the hook that is read, how wide a row of it is, and one column a head.
        factor: for each head an R with ‖z R‖ = ‖z W_O‖, as `factors_of` gives it.
        threshold: above which each head fires.
    """

    def __init__(
        self, cfg: SAEConfig, factor: Float[Tensor, "head d_head r"], threshold: Float[Tensor, " head"]
    ) -> None:
        self.cfg, self.factor, self.threshold = cfg, factor, threshold

    def pre_activations(
        self, x: Float[Tensor, "n d_in"], out: Float[Tensor, "n head"] | None = None
    ) -> Float[Tensor, "n head"]:
        """How long a vector each head writes, whether or not it fires."""
        return lengths(x, self.factor, out)

    def chosen(self, pre: Float[Tensor, "n head"]) -> CSRCodes:
        """The heads that fire, from what each writes."""
        return CSRCodes(*above(pre, self.threshold))

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> CSRCodes:
        """The heads that fire at each row, and how much they write."""
        return self.chosen(self.pre_activations(x))

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n head"]:
        """The same, zeros written out."""
        return self.encode_sparse(x).to_dense(self.cfg.d_sae)


def factors_of(W_O: Float[Tensor, "head d_head d_model"]) -> Float[Tensor, "head d_head r"]:
    """The Rᵀ of the QR decompositions of W_Oᵀ: lengths are kept, and `d_model` numbers become at most `d_head`."""
    return torch.linalg.qr(W_O.double().mT).R.mT.float().contiguous()


def lengths(
    x: Float[Tensor, "n d_in"], factor: Float[Tensor, "head d_head r"], out: Float[Tensor, "n head"] | None = None
) -> Float[Tensor, "n head"]:
    """‖z R‖ of each head."""
    z = einops.rearrange(x.to(factor.dtype), "n (head d_head) -> n head d_head", head=len(factor))
    written = einops.einsum(z, factor, "n head d_head, head d_head r -> n head r")
    return torch.linalg.vector_norm(written, dim=2, out=out)
