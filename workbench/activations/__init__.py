"""Recordings: what a subject's hooks held, one row a token, on disk."""

from workbench.activations.harvest import harvest
from workbench.activations.store import ActivationStore
from workbench.activations.stream import ActivationStream

__all__ = ["ActivationStore", "ActivationStream", "harvest"]
