"""One file a figure: a tidy table goes in, an Altair chart comes out. Reports and the explorer call the same ones."""

from workbench.figures.activation_histogram import activation_histogram
from workbench.figures.concept_gain import concept_gain
from workbench.figures.density import density_histogram
from workbench.figures.dictionary_comparison import dictionary_comparison
from workbench.figures.gate_saturation import gate_saturation
from workbench.figures.naming_fractions import naming_fractions
from workbench.figures.pareto import pareto
from workbench.figures.probe_by_hook import probe_by_hook
from workbench.figures.probe_heatmap import probe_heatmap
from workbench.figures.state_heatmap import state_heatmap
from workbench.figures.training_curve import training_curve

__all__ = [
    "activation_histogram",
    "concept_gain",
    "density_histogram",
    "dictionary_comparison",
    "gate_saturation",
    "naming_fractions",
    "pareto",
    "probe_by_hook",
    "probe_heatmap",
    "state_heatmap",
    "training_curve",
]
