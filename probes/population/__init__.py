"""Population codes: what many neurons say together, decoded with its uncertainty."""

from probes.population.optimal_linear import OptimalLinearDecoder

__all__ = ["OptimalLinearDecoder"]
