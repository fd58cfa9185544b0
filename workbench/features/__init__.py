"""The feature index: what every feature of a dictionary fires on, and a measured name for it."""

from workbench.features.building.build import build_index
from workbench.features.index.feature_index import Example, FeatureIndex, FeatureRecord
from workbench.features.notes.key import dictionary_id
from workbench.features.notes.notes import Notes
from workbench.features.reading.prompt import PromptReading, read_prompt

__all__ = [
    "Example",
    "FeatureIndex",
    "FeatureRecord",
    "Notes",
    "PromptReading",
    "build_index",
    "dictionary_id",
    "read_prompt",
]
