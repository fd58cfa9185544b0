"""Population codes: what many neurons say together, decoded with its uncertainty."""

from probes.population.gaussian_bayes import GaussianBayes
from probes.population.kalman import KalmanFilter
from probes.population.optimal_linear import OptimalLinearDecoder
from probes.population.poisson_bayes import PoissonBayes
from probes.population.template import TemplateDecoder
from probes.population.wiener import WienerCascade, WienerFilter

__all__ = [
    "GaussianBayes",
    "KalmanFilter",
    "OptimalLinearDecoder",
    "PoissonBayes",
    "TemplateDecoder",
    "WienerCascade",
    "WienerFilter",
]
