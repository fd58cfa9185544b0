"""The instruments: functions and estimators that read anybody's arrays."""

from probes.attention import AttentionProbe
from probes.ccs import CCSProbe
from probes.lda import LDAProbe
from probes.logistic import LogisticProbe
from probes.mass_mean import MassMeanProbe
from probes.mlp import MLPProbe
from probes.ridge import RidgeProbe
from probes.sparse import SparseProbe
from probes.structural import StructuralProbe

__all__ = [
    "AttentionProbe",
    "CCSProbe",
    "LDAProbe",
    "LogisticProbe",
    "MLPProbe",
    "MassMeanProbe",
    "RidgeProbe",
    "SparseProbe",
    "StructuralProbe",
]
