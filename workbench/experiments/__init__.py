"""What the verbs do, step by step: prompts in pairs, what an intervention on them restores, heads, steering, lenses."""

from workbench.experiments.circuit import find_circuit
from workbench.experiments.circuit_results import Circuit, read_circuit
from workbench.experiments.circuit_search import CircuitSettings
from workbench.experiments.heads_results import HeadSurvey, read_heads
from workbench.experiments.lens_results import LensReading, PromptLens, read_lens
from workbench.experiments.patching import PatchingSettings, patch_prompts
from workbench.experiments.patching_results import Patching, read_patching
from workbench.experiments.places import by_place
from workbench.experiments.prompts import Prompts, example_prompts, minimal_pair_prompts, typed_prompts
from workbench.experiments.rotation import Search, rotate_prompts
from workbench.experiments.rotation_results import Rotations, read_rotations
from workbench.experiments.steering_results import Steering, read_steering

__all__ = [
    "Circuit",
    "CircuitSettings",
    "HeadSurvey",
    "LensReading",
    "Patching",
    "PatchingSettings",
    "PromptLens",
    "Prompts",
    "Rotations",
    "Search",
    "Steering",
    "by_place",
    "example_prompts",
    "find_circuit",
    "minimal_pair_prompts",
    "patch_prompts",
    "read_circuit",
    "read_heads",
    "read_lens",
    "read_patching",
    "read_rotations",
    "read_steering",
    "rotate_prompts",
    "typed_prompts",
]
