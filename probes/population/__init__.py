"""Population codes: what many neurons say together, decoded with its uncertainty."""

from probes.population.gaussian_bayes import GaussianBayes
from probes.population.kalman import KalmanFilter
from probes.population.linear_estimator import OptimalLinearEstimator
from probes.population.optimal_linear import OptimalLinearDecoder
from probes.population.poisson_bayes import PoissonBayes
from probes.population.population_vector import PopulationVector
from probes.population.report import decoding_report
from probes.population.template import TemplateDecoder
from probes.population.wiener import WienerCascade, WienerFilter

__all__ = [
    "GaussianBayes",
    "KalmanFilter",
    "OptimalLinearDecoder",
    "OptimalLinearEstimator",
    "PoissonBayes",
    "PopulationVector",
    "TemplateDecoder",
    "WienerCascade",
    "WienerFilter",
    "decoding_report",
]
