"""Recipes on sparse features, given back or read off."""

from models.recipes.recipe import Recipe
from models.tasks.planted_features import PlantedFeatures
from models.tasks.sparse_features import SparseFeatures
from models.train_config import TrainConfig

RECIPES = [
    Recipe(
        name="superposition",
        summary="five sparse features in two dimensions: a pentagon",
        architecture="superposition",
        model={"d_model": 2},
        training=TrainConfig(
            n_steps=3000, batch_size=256, lr=1e-2, weight_decay=0, eval_every=1000, n_eval=256, fresh=True
        ),
        task=SparseFeatures(n_features=5, sparsity=0.94),
        n_train=2048,
        n_test=512,
    ),
    Recipe(
        name="superposition-pairs",
        summary="four sparse features in two dimensions: two antipodal pairs, of which both are seldom on",
        architecture="superposition",
        model={"d_model": 2},
        training=TrainConfig(n_steps=1500, batch_size=256, lr=1e-2, weight_decay=0, n_eval=256, fresh=True),
        task=SparseFeatures(n_features=4, sparsity=0.9, n_labelled=4),
        n_train=2048,
        n_test=512,
        accuracy=0.9,
    ),
    Recipe(
        name="planted-features-mlp",
        summary="two hidden layers of 256 units read the codes of 64 planted features off 32 dimensions",
        architecture="mlp",
        model={"n_layers": 2, "d_mlp": 256},
        training=TrainConfig(n_steps=3000, batch_size=256, lr=3e-3, weight_decay=0, n_eval=256, fresh=True),
        task=PlantedFeatures(n_features=64, d_in=32, n_active=2.0),
        n_train=2048,
        n_test=512,
        accuracy=0.94,
    ),
]
