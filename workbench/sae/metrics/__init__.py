"""What a dictionary is worth: what it rebuilds, how sparsely, and whether its latents are the true ones."""

from workbench.sae.metrics.streaming import (
    Density,
    Directions,
    ExplainedVariance,
    Metric,
    Reading,
    Sparsity,
    measure,
)

__all__ = [
    "Density",
    "Directions",
    "ExplainedVariance",
    "Metric",
    "Reading",
    "Sparsity",
    "measure",
]
