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
from probes.tuning.shuffle import TuningNull, tuning_score_null
from probes.tuning.spatial import PlaceField, coherence, place_fields, selectivity, sparsity, spatial_information

__all__ = [
    "DirectionTuning",
    "GridGeometry",
    "LinearInformation",
    "PlaceField",
    "TuningCurves",
    "TuningNull",
    "autocorrelogram",
    "coherence",
    "cramer_rao",
    "curve_slopes",
    "direction_tuning",
    "gaussian_information",
    "grid_geometry",
    "grid_score",
    "linear_information",
    "place_fields",
    "poisson_error_bound",
    "poisson_information",
    "selectivity",
    "sparsity",
    "spatial_information",
    "tuning_curves",
    "tuning_score_null",
]
