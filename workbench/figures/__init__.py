"""One file a figure: a tidy table goes in, an Altair chart comes out. Reports and the explorer call the same ones."""

from workbench.figures.ablation_effect import ablation_effect
from workbench.figures.activation_histogram import activation_histogram
from workbench.figures.agreement import agreement
from workbench.figures.alignment_map import alignment_map
from workbench.figures.circuit_graph import circuit_graph
from workbench.figures.component_bars import component_bars
from workbench.figures.composition_map import composition_map
from workbench.figures.concept_gain import concept_gain
from workbench.figures.decoded_path import decoded_path, decoded_scatter
from workbench.figures.decoded_trace import decoded_trace
from workbench.figures.decoding_scores import decoding_scores
from workbench.figures.density import density_histogram
from workbench.figures.dictionary_comparison import dictionary_comparison
from workbench.figures.edge_recovery import edge_recovery
from workbench.figures.error_against_bound import error_against_bound
from workbench.figures.faithfulness import faithfulness
from workbench.figures.feature_against_neuron import feature_against_neuron
from workbench.figures.feature_map import feature_map
from workbench.figures.frequency_ablation import frequency_ablation
from workbench.figures.gate_saturation import gate_saturation
from workbench.figures.head_grid import head_grid
from workbench.figures.head_scores import head_scores
from workbench.figures.lens_map import lens_by_layer, lens_map
from workbench.figures.naming_fractions import naming_fractions
from workbench.figures.pareto import pareto
from workbench.figures.patching_map import patching_map
from workbench.figures.patching_profile import patching_profile
from workbench.figures.path_effects import path_effects
from workbench.figures.position_spectrum import position_spectrum
from workbench.figures.probe_by_hook import probe_by_hook
from workbench.figures.probe_heatmap import probe_heatmap
from workbench.figures.rate_maps import maps_table, rate_maps
from workbench.figures.rotary_frequencies import rotary_frequencies
from workbench.figures.rotation_scores import rotation_scores
from workbench.figures.singular_values import singular_values
from workbench.figures.spectrum import eigenvalue_table, spectrum
from workbench.figures.state_heatmap import state_heatmap
from workbench.figures.state_portrait import state_portrait
from workbench.figures.steering_effect import steering_effect
from workbench.figures.time_courses import time_courses
from workbench.figures.token_pairs import token_pairs
from workbench.figures.training_compared import training_compared
from workbench.figures.training_curve import training_curve
from workbench.figures.unit_ablation import unit_ablation
from workbench.figures.unit_scores import unit_scores
from workbench.figures.virtual_heads import virtual_heads

__all__ = [
    "ablation_effect",
    "activation_histogram",
    "agreement",
    "alignment_map",
    "circuit_graph",
    "component_bars",
    "composition_map",
    "concept_gain",
    "decoded_path",
    "decoded_scatter",
    "decoded_trace",
    "decoding_scores",
    "density_histogram",
    "dictionary_comparison",
    "edge_recovery",
    "eigenvalue_table",
    "error_against_bound",
    "faithfulness",
    "feature_against_neuron",
    "feature_map",
    "frequency_ablation",
    "gate_saturation",
    "head_grid",
    "head_scores",
    "lens_by_layer",
    "lens_map",
    "maps_table",
    "naming_fractions",
    "pareto",
    "patching_map",
    "patching_profile",
    "path_effects",
    "position_spectrum",
    "probe_by_hook",
    "probe_heatmap",
    "rate_maps",
    "rotary_frequencies",
    "rotation_scores",
    "singular_values",
    "spectrum",
    "state_heatmap",
    "state_portrait",
    "steering_effect",
    "time_courses",
    "token_pairs",
    "training_compared",
    "training_curve",
    "unit_ablation",
    "unit_scores",
    "virtual_heads",
]
