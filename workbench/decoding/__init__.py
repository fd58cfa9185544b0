"""Recordings decoded: the variables that a population of units tells, each score beside its controls."""

from workbench.decoding.decoders import DECODERS
from workbench.decoding.recurrent import RecurrentDecoder
from workbench.decoding.results import Decoding, read_decoding, write_decoding
from workbench.decoding.sweep import decode_sweep
from workbench.decoding.tuning import unit_tuning
from workbench.decoding.variables import Variables, read_variables

__all__ = [
    "DECODERS",
    "Decoding",
    "RecurrentDecoder",
    "Variables",
    "decode_sweep",
    "read_decoding",
    "read_variables",
    "unit_tuning",
    "write_decoding",
]
