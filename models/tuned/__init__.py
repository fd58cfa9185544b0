"""Simulated populations whose tuning is known: place, grid, head-direction, linear and conjunctive cells."""

from models.tuned.population import TunedPopulation, TunedPopulationConfig, population_dataset

__all__ = ["TunedPopulation", "TunedPopulationConfig", "population_dataset"]
