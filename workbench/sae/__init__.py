"""Sparse autoencoders: one file an architecture, one trainer, and the numbers that tell what one is worth."""

from workbench.sae.architectures import BatchTopK, Gated, JumpReLU, MatryoshkaBatchTopK, Standard, TopK
from workbench.sae.base import SAE, build_sae
from workbench.sae.codes import CSRCodes, TopKCodes
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.controls import Moments, linear_dictionary, neuron_dictionary, pca_dictionary, random_dictionary
from workbench.sae.end_to_end import train_sae_end_to_end
from workbench.sae.evaluate import compare_dictionaries, control_dictionaries, evaluate_sae
from workbench.sae.loss_recovered import loss_recovered
from workbench.sae.saving import load_sae, save_sae
from workbench.sae.splice import Splice, ablate_latents, clamp_latents, splice, steer
from workbench.sae.training import train_sae, train_saes

__all__ = [
    "SAE",
    "BatchTopK",
    "CSRCodes",
    "Gated",
    "JumpReLU",
    "MatryoshkaBatchTopK",
    "Moments",
    "SAEConfig",
    "SAETrainConfig",
    "Splice",
    "Standard",
    "TopK",
    "TopKCodes",
    "ablate_latents",
    "build_sae",
    "clamp_latents",
    "compare_dictionaries",
    "control_dictionaries",
    "evaluate_sae",
    "linear_dictionary",
    "load_sae",
    "loss_recovered",
    "neuron_dictionary",
    "pca_dictionary",
    "random_dictionary",
    "save_sae",
    "splice",
    "steer",
    "train_sae",
    "train_sae_end_to_end",
    "train_saes",
]
