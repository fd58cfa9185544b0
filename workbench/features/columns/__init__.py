"""What is indexed as the latents of a dictionary are: units and gates, attention heads, probe directions."""

from workbench.features.columns.base import HEADS, LATENTS, PROBES, UNITS, Columns, Dictionary, kind_of, one_of
from workbench.features.columns.head_norms import HeadNorms
from workbench.features.columns.heads import head_columns
from workbench.features.columns.probes import ProbeDirection, probe_columns
from workbench.features.columns.stored import read_dictionary, write_columns
from workbench.features.columns.units import unit_columns

__all__ = [
    "HEADS",
    "LATENTS",
    "PROBES",
    "UNITS",
    "Columns",
    "Dictionary",
    "HeadNorms",
    "ProbeDirection",
    "head_columns",
    "kind_of",
    "one_of",
    "probe_columns",
    "read_dictionary",
    "unit_columns",
    "write_columns",
]
