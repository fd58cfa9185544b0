"""Resampling: dead latents get new directions where the dictionary does worst (Bricken et al., 2023)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.config import SAETrainConfig

SHARES = (0.25, 0.5, 0.75)
# A new latent's encoder is this much of the living ones': it shall not take over at once.
ENCODER_SHARE = 0.2


def is_due(before: int, after: int, cfg: SAETrainConfig) -> bool:
    """Whether a step from `before` to `after` rows passes one of the moments at which dead latents are replaced."""
    end = (1 - cfg.decay) * cfg.n_tokens
    return any(before < share * end <= after for share in SHARES)


@torch.no_grad()
def resample(
    sae: SAE,
    optimiser: torch.optim.Adam,
    cfg: SAETrainConfig,
    x: Float[Tensor, "n width_in"],
    y: Float[Tensor, "n width_out"],
    dead: Bool[Tensor, " d_sae"],
    generator: torch.Generator,
) -> int:
    """Replace dead latents, and return how many.

    Rows are drawn with the square of their error for a weight. A latent's decoder becomes the row's direction, its
    encoder the same (for a transcoder, that of the row that is read) at a fifth of the living encoders' mean length,
    its bias zero, thresholds as they were at the start, and what Adam remembers of it is forgotten.
    """
    latents = dead.nonzero().squeeze(1)
    if len(latents) == 0 or bool(dead.all()):
        return 0
    error = (y - _rebuilt(sae, x)).square().sum(1)
    rows = torch.multinomial(error.square().cpu().double(), len(latents), replacement=True, generator=generator)
    rows = rows.to(x.device)
    written, read = y[rows] - sae.b_dec, x[rows] - sae.b_in
    length = sae.W_enc[:, ~dead].norm(dim=0).mean()
    sae.W_dec[latents] = torch.nn.functional.normalize(written, dim=1)
    sae.W_enc.T[latents] = torch.nn.functional.normalize(read, dim=1) * length * ENCODER_SHARE
    for parameter in (sae.W_dec, sae.W_enc, *sae.restart_latents(latents, cfg)):
        moments = optimiser.state[parameter]
        for moment in (moments[name] for name in ("exp_avg", "exp_avg_sq") if name in moments):
            by_latent = moment.T if parameter is sae.W_enc else moment
            by_latent[latents] = 0
    return len(latents)


def _rebuilt(sae: SAE, x: Float[Tensor, "n width_in"]) -> Float[Tensor, "n width_out"]:
    codes = sae.encode_rows(x)
    found = sae.decode_rows(codes)
    return found if sae.W_skip is None else found + x @ sae.W_skip.T
