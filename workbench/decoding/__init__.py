"""Recordings decoded: the variables that a population of units tells, each score beside its controls."""

from workbench.decoding.recurrent import RecurrentDecoder

__all__ = ["RecurrentDecoder"]
