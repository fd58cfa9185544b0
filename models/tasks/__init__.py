"""Tasks whose answer is known, one file each: examples, and the truth about every position of them.

The public names are imported when they are first used, as in `models`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.tasks.band_limited import BandLimited
    from models.tasks.base import NOTHING, Drawn, Task
    from models.tasks.copying import Copy
    from models.tasks.dates import DateNormalisation
    from models.tasks.dyck import Dyck
    from models.tasks.evidence import ClassEvidence, SignedEvidence
    from models.tasks.flip_flop import FlipFlop
    from models.tasks.head_direction import HeadDirection
    from models.tasks.minimal_pairs import MinimalPairs, python_minimal_pairs
    from models.tasks.modular_addition import ModularAddition
    from models.tasks.navigation import Navigation
    from models.tasks.planted_features import PlantedFeatures
    from models.tasks.registry import TASKS, task_from_dict
    from models.tasks.repeated_pairs import InductionPairs, induction_pairs
    from models.tasks.repeated_sequences import RepeatedSequences
    from models.tasks.sparse_features import SparseFeatures

_HOME = {
    "BandLimited": "band_limited",
    "ClassEvidence": "evidence",
    "Copy": "copying",
    "DateNormalisation": "dates",
    "Drawn": "base",
    "Dyck": "dyck",
    "FlipFlop": "flip_flop",
    "HeadDirection": "head_direction",
    "InductionPairs": "repeated_pairs",
    "MinimalPairs": "minimal_pairs",
    "ModularAddition": "modular_addition",
    "NOTHING": "base",
    "Navigation": "navigation",
    "PlantedFeatures": "planted_features",
    "RepeatedSequences": "repeated_sequences",
    "SignedEvidence": "evidence",
    "SparseFeatures": "sparse_features",
    "TASKS": "registry",
    "Task": "base",
    "induction_pairs": "repeated_pairs",
    "python_minimal_pairs": "minimal_pairs",
    "task_from_dict": "registry",
}

__all__ = [
    "NOTHING",
    "TASKS",
    "BandLimited",
    "ClassEvidence",
    "Copy",
    "DateNormalisation",
    "Drawn",
    "Dyck",
    "FlipFlop",
    "HeadDirection",
    "InductionPairs",
    "MinimalPairs",
    "ModularAddition",
    "Navigation",
    "PlantedFeatures",
    "RepeatedSequences",
    "SignedEvidence",
    "SparseFeatures",
    "Task",
    "induction_pairs",
    "python_minimal_pairs",
    "task_from_dict",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"models.tasks.{_HOME[name]}"), name)
    raise AttributeError(f"module 'models.tasks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
