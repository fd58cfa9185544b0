"""Tuning: what each neuron's rate says of a variable, and how well a population can tell it."""

from probes.tuning.curves import TuningCurves, tuning_curves
from probes.tuning.direction import DirectionTuning, direction_tuning
from probes.tuning.fisher import (
    LinearInformation,
    cramer_rao,
    curve_slopes,
    gaussian_information,
    linear_information,
    poisson_error_bound,
    poisson_information,
)
from probes.tuning.grid import GridGeometry, autocorrelogram, grid_geometry, grid_score
from probes.tuning.mixed import MixedSelectivity, encoding_r2, mixed_selectivity
from probes.tuning.noise import fano_factors, noise_ceiling, noise_correlations, signal_correlations
from probes.tuning.shuffle import TuningNull, tuning_score_null
from probes.tuning.spatial import PlaceField, coherence, place_fields, selectivity, sparsity, spatial_information
from probes.tuning.spikes import spike_counts

__all__ = [
    "DirectionTuning",
    "GridGeometry",
    "LinearInformation",
    "MixedSelectivity",
    "PlaceField",
    "TuningCurves",
    "TuningNull",
    "autocorrelogram",
    "coherence",
    "cramer_rao",
    "curve_slopes",
    "direction_tuning",
    "encoding_r2",
    "fano_factors",
    "gaussian_information",
    "grid_geometry",
    "grid_score",
    "linear_information",
    "mixed_selectivity",
    "noise_ceiling",
    "noise_correlations",
    "place_fields",
    "poisson_error_bound",
    "poisson_information",
    "selectivity",
    "signal_correlations",
    "sparsity",
    "spatial_information",
    "spike_counts",
    "tuning_curves",
    "tuning_score_null",
]
