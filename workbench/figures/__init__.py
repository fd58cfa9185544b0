"""One file a figure: a tidy table goes in, an Altair chart comes out. Reports and the explorer call the same ones."""

from workbench.figures.activation_histogram import activation_histogram
from workbench.figures.concept_gain import concept_gain
from workbench.figures.density import density_histogram
from workbench.figures.dictionary_comparison import dictionary_comparison
from workbench.figures.naming_fractions import naming_fractions
from workbench.figures.training_curve import training_curve

__all__ = [
    "activation_histogram",
    "concept_gain",
    "density_histogram",
    "dictionary_comparison",
    "naming_fractions",
    "training_curve",
]
