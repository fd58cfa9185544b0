"""What our own code raises besides `ValueError`."""


class ArtifactError(ValueError):
    """An artifact is missing, foreign, damaged, or being written by somebody else."""
