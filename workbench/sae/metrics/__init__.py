"""What a dictionary is worth: what it rebuilds, how sparsely, and whether its latents are the true ones."""

from workbench.sae.metrics.absorption import absorption, absorption_by_pair
from workbench.sae.metrics.dark_matter import dark_matter
from workbench.sae.metrics.ground_truth import MatchedScores, ground_truth, living, match_and_score
from workbench.sae.metrics.model_diffing import relative_norm
from workbench.sae.metrics.similarity import Matching, match_directions, mcc, mmcs, seed_stability
from workbench.sae.metrics.sparse_probing import sparse_probing
from workbench.sae.metrics.splitting import splitting, splitting_summary
from workbench.sae.metrics.streaming import (
    Density,
    Directions,
    ExplainedVariance,
    Metric,
    Reading,
    Sparsity,
    measure,
)
from workbench.sae.metrics.targeted_ablation import spurious_correlation_removal, targeted_probe_perturbation

__all__ = [
    "Density",
    "Directions",
    "ExplainedVariance",
    "MatchedScores",
    "Matching",
    "Metric",
    "Reading",
    "Sparsity",
    "absorption",
    "absorption_by_pair",
    "dark_matter",
    "ground_truth",
    "living",
    "match_and_score",
    "match_directions",
    "mcc",
    "measure",
    "mmcs",
    "relative_norm",
    "seed_stability",
    "sparse_probing",
    "splitting",
    "splitting_summary",
    "spurious_correlation_removal",
    "targeted_probe_perturbation",
]
