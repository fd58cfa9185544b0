"""Recipes of subjects of sparse features."""

from models.recipes.recipe import Recipe
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
        n_train=64,
        n_test=512,
    ),
]
