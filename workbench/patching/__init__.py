"""Pairs of prompts and what an intervention on them restores: where a subject holds what two prompts differ in."""

from workbench.patching.experiment import Settings, patch_prompts
from workbench.patching.places import by_place
from workbench.patching.prompts import Prompts, example_prompts, minimal_pair_prompts, typed_prompts
from workbench.patching.results import Patching, read_patching

__all__ = [
    "Patching",
    "Prompts",
    "Settings",
    "by_place",
    "example_prompts",
    "minimal_pair_prompts",
    "patch_prompts",
    "read_patching",
    "typed_prompts",
]
