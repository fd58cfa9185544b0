"""Spiking populations: cells, synapses, what they represent and what they compute (Eliasmith & Anderson 2003)."""

from models.spiking.config import ConnectionConfig, PopulationConfig, SpikingNetworkConfig
from models.spiking.dynamics import dynamical_system, integrator, linear_system, oscillator
from models.spiking.hodgkin_huxley import HodgkinHuxley
from models.spiking.lif import LIF, LIFRate
from models.spiking.network import SpikingNetwork
from models.spiking.population import Population
from models.spiking.synapse import LowPass

__all__ = [
    "LIF",
    "ConnectionConfig",
    "HodgkinHuxley",
    "LIFRate",
    "LowPass",
    "Population",
    "PopulationConfig",
    "SpikingNetwork",
    "SpikingNetworkConfig",
    "dynamical_system",
    "integrator",
    "linear_system",
    "oscillator",
]
