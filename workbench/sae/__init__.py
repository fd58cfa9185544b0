"""Sparse autoencoders: one file an architecture, one trainer, and the numbers that tell what one is worth."""

from workbench.sae.base import SAE, build_sae
from workbench.sae.codes import TopKCodes
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.controls import Moments, neuron_dictionary, pca_dictionary, random_dictionary
from workbench.sae.evaluate import compare_dictionaries, control_dictionaries, evaluate_sae
from workbench.sae.loss_recovered import loss_recovered
from workbench.sae.saving import load_sae, save_sae
from workbench.sae.topk import TopK
from workbench.sae.training import train_sae

__all__ = [
    "SAE",
    "Moments",
    "SAEConfig",
    "SAETrainConfig",
    "TopK",
    "TopKCodes",
    "build_sae",
    "compare_dictionaries",
    "control_dictionaries",
    "evaluate_sae",
    "load_sae",
    "loss_recovered",
    "neuron_dictionary",
    "pca_dictionary",
    "random_dictionary",
    "save_sae",
    "train_sae",
]
