"""Erasure: rows from which no linear probe can read a concept any more."""

from probes.erasure.eraser import Eraser
from probes.erasure.inlp import INLP
from probes.erasure.leace import LEACE
from probes.erasure.mean_projection import MeanProjection

__all__ = ["INLP", "LEACE", "Eraser", "MeanProjection"]
