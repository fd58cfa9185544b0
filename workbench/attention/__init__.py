"""What attention heads look at, what their weights compute, and which of them matter."""

from workbench.attention.head_scores import head_scores

__all__ = ["head_scores"]
