"""What attention heads look at, what their weights compute, and which of them matter."""

from workbench.attention.alignments import alignment_accuracy, alignments
from workbench.attention.composition import composition_scores
from workbench.attention.copying import copying_scores
from workbench.attention.head_circuits import ov_circuit, qk_circuit
from workbench.attention.head_scores import head_scores
from workbench.attention.head_svd import head_svd, singular_values
from workbench.attention.importance import head_importance, weighted_scores
from workbench.attention.positions import position_pattern, position_profiles, position_spectrum, rotary_frequencies
from workbench.attention.rollout import rollout, value_weighted
from workbench.attention.token_pairs import token_pairs
from workbench.attention.virtual_heads import virtual_heads
from workbench.attention.weights import HeadWeights, weights_of

__all__ = [
    "HeadWeights",
    "alignment_accuracy",
    "alignments",
    "composition_scores",
    "copying_scores",
    "head_importance",
    "head_scores",
    "head_svd",
    "ov_circuit",
    "position_pattern",
    "position_profiles",
    "position_spectrum",
    "qk_circuit",
    "rollout",
    "rotary_frequencies",
    "singular_values",
    "token_pairs",
    "value_weighted",
    "virtual_heads",
    "weighted_scores",
    "weights_of",
]
