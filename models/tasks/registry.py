"""Every task by its name, and tasks from plain JSON."""

from dataclasses import fields
from typing import Any

from models.tasks.band_limited import BandLimited
from models.tasks.base import Task
from models.tasks.copying import Copy
from models.tasks.dates import DateNormalisation
from models.tasks.dyck import Dyck
from models.tasks.evidence import ClassEvidence, SignedEvidence
from models.tasks.flip_flop import FlipFlop
from models.tasks.head_direction import HeadDirection
from models.tasks.modular_addition import ModularAddition
from models.tasks.navigation import Navigation
from models.tasks.planted_features import PlantedFeatures
from models.tasks.repeated_sequences import RepeatedSequences
from models.tasks.sparse_features import SparseFeatures

_CLASSES: list[type[Task]] = [
    *(ModularAddition, RepeatedSequences, Copy, DateNormalisation, Dyck, FlipFlop),
    *(SignedEvidence, ClassEvidence, Navigation, HeadDirection, PlantedFeatures, SparseFeatures),
    BandLimited,
]
TASKS: dict[str, type[Task]] = {task.name: task for task in _CLASSES}


def task_from_dict(values: dict[str, Any]) -> Task:
    """What `Task.to_dict` gave; fields left out have their defaults.

    Raises:
        ValueError: the task or a field is unknown, or a value is not of the field's kind.
    """
    name = values.get("name")
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}: there are {', '.join(TASKS)}.")
    task = TASKS[name]
    given = {field: value for field, value in values.items() if field != "name"}
    default = {field.name: field.default for field in fields(task)}  # type: ignore[arg-type]
    for field, value in given.items():
        if field not in default:
            raise ValueError(f"the task {name} has no field {field}: there are {', '.join(default)}.")
        kind = type(default[field])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{field} of the task {name} is {value!r}: it must be {_KINDS[kind]}.")
    return task(**given)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
