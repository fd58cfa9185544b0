"""What attention heads look at, what their weights compute, and which of them matter."""

from workbench.attention.alignments import alignment_accuracy, alignments
from workbench.attention.head_scores import head_scores
from workbench.attention.importance import head_importance, weighted_scores
from workbench.attention.rollout import rollout, value_weighted

__all__ = [
    "alignment_accuracy",
    "alignments",
    "head_importance",
    "head_scores",
    "rollout",
    "value_weighted",
    "weighted_scores",
]
