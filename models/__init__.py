"""The subjects: hookable networks, the corpora and tasks they learn, how they are trained and saved.

The public names are imported when they are first used: what reads a run's manifests does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models import recipes
    from models.dataset import Dataset
    from models.encoder_decoder import EncoderDecoderTransformer, EncoderDecoderTransformerConfig
    from models.mlp import MLP, MLPConfig
    from models.recurrent import Recurrent, RecurrentConfig
    from models.saving import load_model, save_model
    from models.seq2seq import Seq2Seq, Seq2SeqConfig
    from models.spiking.network import SpikingNetwork, SpikingNetworkConfig
    from models.step_hooks import at_pos, replace_at
    from models.toy import SuperpositionModel, SuperpositionModelConfig
    from models.train_config import TrainConfig
    from models.training import train
    from models.transformer import Transformer, TransformerConfig
    from models.tuned.population import TunedPopulation, TunedPopulationConfig

_HOME = {
    "Dataset": "models.dataset",
    "EncoderDecoderTransformer": "models.encoder_decoder",
    "EncoderDecoderTransformerConfig": "models.encoder_decoder",
    "MLP": "models.mlp",
    "MLPConfig": "models.mlp",
    "Recurrent": "models.recurrent",
    "RecurrentConfig": "models.recurrent",
    "Seq2Seq": "models.seq2seq",
    "Seq2SeqConfig": "models.seq2seq",
    "SpikingNetwork": "models.spiking.network",
    "SpikingNetworkConfig": "models.spiking.network",
    "SuperpositionModel": "models.toy",
    "SuperpositionModelConfig": "models.toy",
    "TrainConfig": "models.train_config",
    "Transformer": "models.transformer",
    "TransformerConfig": "models.transformer",
    "TunedPopulation": "models.tuned.population",
    "TunedPopulationConfig": "models.tuned.population",
    "at_pos": "models.step_hooks",
    "load_model": "models.saving",
    "replace_at": "models.step_hooks",
    "save_model": "models.saving",
    "train": "models.training",
}

__all__ = [
    "MLP",
    "Dataset",
    "EncoderDecoderTransformer",
    "EncoderDecoderTransformerConfig",
    "MLPConfig",
    "Recurrent",
    "RecurrentConfig",
    "Seq2Seq",
    "Seq2SeqConfig",
    "SpikingNetwork",
    "SpikingNetworkConfig",
    "SuperpositionModel",
    "SuperpositionModelConfig",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "TunedPopulation",
    "TunedPopulationConfig",
    "at_pos",
    "load_model",
    "recipes",
    "replace_at",
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
