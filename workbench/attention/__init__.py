"""What attention heads look at, what their weights compute, and which of them matter."""
