"""Gated: one path decides which latents are active, another how strongly (Rajamanoharan et al., 2024a).

arXiv:2404.16014.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.sae.architectures.standard import refuse_k
from workbench.sae.base import SAE, Activated, TrainingStep
from workbench.sae.codes import CSRCodes
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.encoding import encode_above
from workbench.sae.products import summed_by_latent
from workbench.sae.reconstruction import reconstruction_error
from workbench.sae.selection import above


class Gated(SAE, architecture="gated"):
    """`f = 1[π > 0] · ReLU(exp(r_mag) · (x − b_in) W_enc + b_mag)`, with the gate `π = (x − b_in) W_enc + b_gate`.

    The L1 penalty is the gate's, so it does not shrink the magnitudes. A gate has no derivative: it learns by an
    auxiliary loss, the error of ReLU(π) through a decoder that takes no gradient from it (equation 8).

    Attributes:
        b_gate, b_mag, r_mag: [d_sae].
    """

    sparsity = 5.0
    starts_sparse = True
    revival = "none"
    b_gate: nn.Parameter
    b_mag: nn.Parameter
    r_mag: nn.Parameter

    def add_encoder_biases(self) -> None:
        """Two paths share W_enc: each has its bias, and the magnitudes a scale."""
        for name in ("b_gate", "b_mag", "r_mag"):
            setattr(self, name, nn.Parameter(torch.zeros(self.cfg.d_sae, dtype=self.cfg.torch_dtype)))

    @property
    def encoder_bias(self) -> Float[Tensor, " d_sae"]:
        """The gate's."""
        return self.b_gate

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """There is no k: the coefficient decides how many latents are active."""
        refuse_k(cfg)

    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> CSRCodes:
        """The magnitudes of the latents whose gates are open."""
        return self._magnitudes(encode_above(x, self.W_enc, self.b_gate, self.b_in, 0.0))

    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> CSRCodes:
        """The magnitudes where the gate, whose pre-activations these are, is open."""
        return self._magnitudes(CSRCodes(*above(pre, 0.0)))

    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The same while training, the gate's L1 penalty, and the gate's own error."""
        gate = encode_above(x, self.W_enc, self.b_gate, self.b_in, 0.0, step.product)
        l1 = summed_by_latent(gate, self.cfg.d_sae) @ self.decoder_norms().detach() / len(x)
        target = y if self.W_skip is None else y - x @ self.W_skip.detach().T
        error = reconstruction_error(target, gate, self.W_dec.detach(), self.b_dec.detach())
        penalties = {"l1": step.sparsity * l1, "gate_error": error.total / len(x)}
        return Activated(self._magnitudes(gate), penalties)

    def _magnitudes(self, gate: CSRCodes) -> CSRCodes:
        def here(parameter: Tensor) -> Tensor:
            return parameter.index_select(0, gate.indices)

        magnitudes = (gate.values - here(self.b_gate)) * here(self.r_mag.exp()) + here(self.b_mag)
        return CSRCodes(magnitudes.relu(), gate.indices, gate.row_starts)

    @torch.no_grad()
    def align_paths(self) -> None:
        """Both set out alike."""
        self.b_mag.copy_(self.b_gate)

    @torch.no_grad()
    def restart_latents(self, latents: Int[Tensor, " chosen"], cfg: SAETrainConfig) -> list[Tensor]:
        """Both paths."""
        for parameter in (self.b_mag, self.r_mag):
            parameter[latents] = 0
        return [*super().restart_latents(latents, cfg), self.b_mag, self.r_mag]

    @torch.no_grad()
    def shift_encoder(self, shift: Float[Tensor, " d_sae"]) -> None:
        """Both paths read the same rows."""
        self.b_gate.add_(shift)
        self.b_mag.add_(shift * self.r_mag.exp())

    @torch.no_grad()
    def scale_latents(self, factor: Float[Tensor, " d_sae"]) -> None:
        """The gate's sign stays; r_mag multiplies what is scaled already."""
        self.W_enc.mul_(factor)
        self.b_gate.mul_(factor)
        self.b_mag.mul_(factor)

    @classmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """Nothing but its name."""
        return {"architecture": "gated"}
