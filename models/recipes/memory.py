"""Recipes of recurrent networks on tasks of memory: evidence, flip-flops, brackets, navigation."""

from models.recipes.recipe import Recipe
from models.tasks.dyck import Dyck
from models.tasks.evidence import SignedEvidence
from models.tasks.flip_flop import FlipFlop
from models.train_config import TrainConfig

RECIPES = [
    *(
        Recipe(
            name=f"evidence-{cell}",
            summary=f"one {cell} layer of 32 units on the sign of a hundred steps of noisy evidence",
            architecture="recurrent",
            model={"cell": cell, "d_model": 32},
            training=TrainConfig(n_steps=500, batch_size=64, lr=3e-3, warmup_steps=50, weight_decay=0, fresh=True),
            task=SignedEvidence(n_steps=100, objective="sign"),
            n_train=64,
            n_test=512,
            accuracy=accuracy,
        )
        for cell, accuracy in (("rnn", 0.9), ("lstm", 0.95), ("gru", 0.95))
    ),
    *(
        Recipe(
            name=f"flip-flop-{cell}",
            summary=f"16 units ({cell}) on the three-bit flip-flop, of 64 steps",
            architecture="recurrent",
            model={"cell": cell, "d_model": 16},
            training=TrainConfig(n_steps=1000, batch_size=64, lr=5e-3, warmup_steps=50, weight_decay=0, fresh=True),
            task=FlipFlop(),
            n_train=64,
            n_test=512,
            accuracy=0.99,
        )
        for cell in ("rnn", "gru")
    ),
    *(
        Recipe(
            name=f"dyck-{cell}",
            summary=f"16 units ({cell}) that say where brackets of one kind are all closed, in strings of up to 50",
            architecture="recurrent",
            model={"cell": cell, "d_model": 16, "n_ctx": None},
            training=TrainConfig(n_steps=800, batch_size=64, lr=1e-2, warmup_steps=50, weight_decay=0, fresh=True),
            task=Dyck(max_depth=25),
            n_train=64,
            n_test=512,
            accuracy=0.99,
        )
        for cell in ("lstm", "gru")
    ),
]
