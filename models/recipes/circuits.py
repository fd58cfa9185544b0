"""Recipes of subjects whose circuit is known: modular addition, repeated sequences."""

from models.recipes.recipe import Recipe
from models.tasks.modular_addition import ModularAddition
from models.tasks.repeated_sequences import RepeatedSequences
from models.train_config import TrainConfig

RECIPES = [
    Recipe(
        name="modular-addition",
        summary="one layer, d 128, ReLU and no norm, groks addition modulo 59 after some thousand steps",
        model={"n_layers": 1, "d_model": 128, "n_heads": 4, "d_mlp": 512, "act_fn": "relu"}
        | {"normalization_type": None},
        training=TrainConfig(
            n_steps=6000,
            batch_size=1 << 14,  # all pairs, each step
            lr=1e-3,
            warmup_steps=10,
            weight_decay=1.0,
            decayed="all",
            schedule="constant",
            max_grad_norm=None,
            n_eval=512,
            checkpoint_every=100,
        ),
        task=ModularAddition(p=59, train_share=0.5),
        accuracy=0.99,
    ),
    Recipe(
        name="induction-heads",
        summary="two layers of attention alone, two heads each, on repeated random sequences: induction heads",
        model={
            "n_layers": 2,
            "d_model": 64,
            "n_heads": 2,
            "attn_only": True,
            "positional_embedding_type": "rotary",
        },
        training=TrainConfig(n_steps=800, batch_size=64, lr=4e-3, fresh=True),
        task=RepeatedSequences(min_period=5, max_period=14, max_prefix=3, n_ctx=32),
        n_train=64,
        n_test=512,
        accuracy=0.99,
    ),
]
