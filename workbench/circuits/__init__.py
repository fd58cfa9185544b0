"""Circuits: a subject as a graph, and which of its edges, or of its dictionaries' latents, a behaviour goes through."""

from workbench.circuits.acdc import acdc, falls_at
from workbench.circuits.edge_ablation import EdgeAblation
from workbench.circuits.edge_attribution import edge_attribution
from workbench.circuits.exhaustive import every_subset, smallest
from workbench.circuits.faithfulness import faithfulness
from workbench.circuits.feature_circuit import feature_circuit
from workbench.circuits.feature_edges import feature_edges
from workbench.circuits.feature_faithfulness import feature_faithfulness
from workbench.circuits.feature_nodes import Neurons
from workbench.circuits.graph import Graph
from workbench.circuits.recovery import edge_recovery

__all__ = [
    "EdgeAblation",
    "Graph",
    "Neurons",
    "acdc",
    "edge_attribution",
    "edge_recovery",
    "every_subset",
    "faithfulness",
    "falls_at",
    "feature_circuit",
    "feature_edges",
    "feature_faithfulness",
    "smallest",
]
