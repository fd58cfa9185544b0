"""The coefficient of a sparsity term over a training: a ramp, or, where an L0 is asked for, a search for it."""

import math

from workbench.sae.config import SAETrainConfig

# A search sets out from this share of the coefficient: latents that a large one has killed would not come back.
START_SHARE = 0.1
# How far one step may move the coefficient, in logarithms.
GAIN = 0.03


def first_coefficient(usual: float, cfg: SAETrainConfig) -> float:
    """Where the coefficient sets out; `usual` is the architecture's own."""
    asked = cfg.sparsity if cfg.sparsity is not None else usual
    return asked if cfg.target_l0 is None else START_SHARE * asked


def coefficient_at(coefficient: float, tokens: int, cfg: SAETrainConfig) -> float:
    """What counts of it once `tokens` rows have been seen: all in a search, which is a ramp itself."""
    return coefficient if cfg.target_l0 is not None else coefficient * cfg.sparsity_share(tokens)


def steered(coefficient: float, l0: float, cfg: SAETrainConfig) -> float:
    """The next coefficient: larger where more latents were active than asked for, smaller where fewer.

    An integral controller in logarithms: it rests only where L0 is the target, whatever the data.
    """
    if cfg.target_l0 is None:
        return coefficient
    excess = math.log(max(l0, 1e-3) / cfg.target_l0)
    return coefficient * math.exp(GAIN * max(-1.0, min(1.0, excess)))
