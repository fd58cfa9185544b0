"""The subjects: hookable networks, the corpora and tasks they learn, how they are trained and saved.

The public names are imported when they are first used: what reads a run's manifests does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models import recipes
    from models.dataset import Dataset
    from models.saving import load_model, save_model
    from models.training import TrainConfig, train
    from models.transformer import Transformer, TransformerConfig

_HOME = {
    "Dataset": "models.dataset",
    "TrainConfig": "models.training",
    "Transformer": "models.transformer",
    "TransformerConfig": "models.transformer",
    "load_model": "models.saving",
    "save_model": "models.saving",
    "train": "models.training",
}

__all__ = [
    "Dataset",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "load_model",
    "recipes",
    "save_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return importlib.import_module("models.recipes")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
