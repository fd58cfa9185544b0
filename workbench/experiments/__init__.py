"""Pairs of prompts and what an intervention on them restores: where a subject holds what two prompts differ in."""

from workbench.experiments.circuit import find_circuit
from workbench.experiments.circuit_results import Circuit, read_circuit
from workbench.experiments.circuit_search import CircuitSettings
from workbench.experiments.patching import Settings, patch_prompts
from workbench.experiments.patching_results import Patching, read_patching
from workbench.experiments.places import by_place
from workbench.experiments.prompts import Prompts, example_prompts, minimal_pair_prompts, typed_prompts

__all__ = [
    "Circuit",
    "CircuitSettings",
    "Patching",
    "Prompts",
    "Settings",
    "by_place",
    "example_prompts",
    "find_circuit",
    "minimal_pair_prompts",
    "patch_prompts",
    "read_circuit",
    "read_patching",
    "typed_prompts",
]
