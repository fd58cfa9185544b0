"""Recipes on algorithms: addition modulo p, repeated sequences."""

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
        n_train=2048,
        n_test=512,
        accuracy=0.99,
    ),
    Recipe(
        name="modular-addition-mlp",
        summary="256 hidden units on addition modulo 31, shown four fifths of all pairs",
        architecture="mlp",
        model={"d_model": 32, "d_mlp": 256},
        training=TrainConfig(
            n_steps=1500,
            batch_size=1 << 14,  # all pairs, each step
            lr=3e-3,
            warmup_steps=10,
            weight_decay=1.0,
            decayed="all",
            schedule="constant",
            max_grad_norm=None,
            n_eval=512,
        ),
        task=ModularAddition(p=31, train_share=0.8),
        accuracy=0.99,
    ),
    Recipe(
        name="induction-gated",
        summary="two layers with rotary positions, RMSNorm and gated MLPs on the same repeated sequences",
        model={
            "n_layers": 2,
            "d_model": 64,
            "n_heads": 2,
            "d_mlp": 128,
            "positional_embedding_type": "rotary",
            "normalization_type": "RMS",
            "gated_mlp": True,
            "act_fn": "silu",
        },
        training=TrainConfig(n_steps=600, batch_size=64, lr=4e-3, fresh=True),
        task=RepeatedSequences(min_period=5, max_period=14, max_prefix=3, n_ctx=32),
        n_train=2048,
        n_test=512,
        accuracy=0.99,
    ),
]
