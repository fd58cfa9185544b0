"""Recordings: what a subject's hooks held, one row a token, on disk."""

from workbench.activations.harvest import harvest
from workbench.activations.store import ActivationStore

__all__ = ["ActivationStore", "harvest"]
