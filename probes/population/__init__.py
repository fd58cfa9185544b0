"""Population codes: what many neurons say together, decoded with its uncertainty."""

from probes.population.kalman import KalmanFilter
from probes.population.optimal_linear import OptimalLinearDecoder

__all__ = ["KalmanFilter", "OptimalLinearDecoder"]
