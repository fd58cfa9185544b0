"""Matryoshka: BatchTopK whose first latents reconstruct by themselves (Bussmann et al., 2025, arXiv:2503.17547)."""

from jaxtyping import Float
from torch import Tensor

from workbench.sae.architectures.batchtopk import BatchTopK
from workbench.sae.codes import Codes, CSRCodes
from workbench.sae.config import SAEConfig
from workbench.sae.reconstruction import ReconstructionError, nested_reconstruction_error

SHARES = (16, 8, 4, 2, 1)


class MatryoshkaBatchTopK(BatchTopK, architecture="matryoshka_batchtopk"):
    """Nested dictionaries: the first 1/16, 1/8, 1/4 and 1/2 of the latents, and all of them, each reconstruct.

    A small one cannot spend a latent on every special case of a feature, so the general feature stays whole: less
    absorption, at some cost in error. The error that is minimised is the mean over the nested ones.
    """

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__(cfg)
        self.widths = nested_widths(cfg)

    @classmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """As BatchTopK; the nested widths must ascend to d_sae."""
        super().check_config(cfg)
        widths = nested_widths(cfg)
        ascending = all(a < b for a, b in zip((0, *widths), widths, strict=False))
        if not ascending or widths[-1] != cfg.d_sae:
            raise ValueError(
                f"matryoshka_widths {list(widths)} must ascend from at least 1 to d_sae, which is {cfg.d_sae}."
            )

    def reconstruct(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], codes: Codes
    ) -> ReconstructionError:
        """The mean error of the nested dictionaries; the residual is that of the whole one."""
        assert isinstance(codes, CSRCodes)  # as `BatchTopK` gives them
        target = y if self.W_skip is None else y - x @ self.W_skip.T
        return nested_reconstruction_error(target, codes, self.W_dec, self.b_dec, self.widths)

    def nested(self, codes: Codes) -> list[Codes]:
        """The codes of the first latents, and of more, and of all."""
        return [codes._replace(values=codes.values * (codes.indices < width)) for width in self.widths]


def nested_widths(cfg: SAEConfig) -> tuple[int, ...]:
    """The widths of the config, or those of the shares above that are whole dictionaries of their own."""
    return tuple(cfg.matryoshka_widths) or tuple(sorted({max(1, cfg.d_sae // share) for share in SHARES}))
