"""The feature index: what every feature of a dictionary fires on, and a measured name for it."""

from workbench.features.build import build_index
from workbench.features.index import Example, FeatureIndex, FeatureRecord
from workbench.features.notes import Notes
from workbench.features.notes_key import dictionary_id
from workbench.features.prompt import PromptReading, read_prompt

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
