"""Recipes on tasks of memory: evidence, flip-flops, brackets, navigation."""

from models.recipes.recipe import Recipe
from models.tasks.dyck import Dyck
from models.tasks.evidence import ClassEvidence, SignedEvidence
from models.tasks.flip_flop import FlipFlop
from models.tasks.head_direction import HeadDirection
from models.tasks.navigation import Navigation
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
            n_train=2048,
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
            n_train=2048,
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
            n_train=2048,
            n_test=512,
            accuracy=0.99,
        )
        for cell in ("lstm", "gru")
    ),
    Recipe(
        name="dyck-bilstm",
        summary="the same by 8 LSTM units each way: they may count what was opened, or what is still to be closed",
        architecture="recurrent",
        model={"cell": "lstm", "d_model": 8, "bidirectional": True, "n_ctx": None},
        training=TrainConfig(n_steps=400, batch_size=64, lr=1e-2, warmup_steps=50, weight_decay=0, fresh=True),
        task=Dyck(max_depth=25),
        n_train=2048,
        n_test=512,
        accuracy=0.99,
    ),
    *(
        Recipe(
            name=f"dyck-3-{name}",
            summary=f"{what} may come next in brackets of three kinds, three deep",
            architecture=architecture,
            model=model,
            training=TrainConfig(n_steps=500, batch_size=64, lr=lr, warmup_steps=50, weight_decay=0, fresh=True),
            task=Dyck(n_types=3, max_depth=3, max_length=30, objective="next"),
            n_train=2048,
            n_test=512,
            accuracy=0.99,
        )
        for name, what, architecture, model, lr in (
            ("lstm", "64 LSTM units say what", "recurrent", {"cell": "lstm", "d_model": 64}, 1e-2),
            (
                "transformer",
                "two layers, d 64, say what",
                "transformer",
                {"n_layers": 2, "d_model": 64, "n_heads": 4, "act_fn": "gelu"},
                3e-3,
            ),
        )
    ),
    Recipe(
        name="evidence-total",
        summary="32 ReLU units (rnn) keep the running total of 50 steps of noisy evidence: its sign at every step",
        architecture="recurrent",
        model={"cell": "rnn", "nonlinearity": "relu", "d_model": 32},
        training=TrainConfig(n_steps=500, batch_size=64, lr=2e-3, warmup_steps=50, weight_decay=0, fresh=True),
        task=SignedEvidence(),
        n_train=2048,
        n_test=512,
        accuracy=0.95,
    ),
    *(
        Recipe(
            name=f"class-evidence-{cell}",
            summary=f"{what} on which of three classes has the most evidence, asked at each of 50 steps",
            architecture="recurrent",
            model={"cell": cell, "d_model": 32} | model,
            training=TrainConfig(n_steps=600, batch_size=64, lr=lr, warmup_steps=50, weight_decay=0, fresh=True),
            task=ClassEvidence(every_step=True),
            n_train=2048,
            n_test=512,
            accuracy=0.92,
        )
        for cell, what, model, lr in (
            ("gru", "32 units (gru of the textbook's convention)", {"gru_convention": "textbook"}, 5e-3),
            ("mingru", "two layers of 32 units (mingru)", {"n_layers": 2}, 1e-2),
        )
    ),
    Recipe(
        name="head-direction-gru",
        summary="64 units (gru) keep a direction through 100 steps of turning, within a twentieth of a turn",
        architecture="recurrent",
        model={"cell": "gru", "d_model": 64},
        training=TrainConfig(n_steps=1000, batch_size=64, lr=5e-3, warmup_steps=50, weight_decay=0, fresh=True),
        task=HeadDirection(),
        n_train=2048,
        n_test=512,
        accuracy=0.99,
    ),
    Recipe(
        name="navigation-gru",
        summary="64 units (gru) know where a walker of 50 steps is, within a twentieth of the box's side",
        architecture="recurrent",
        model={"cell": "gru", "d_model": 64},
        training=TrainConfig(n_steps=1500, batch_size=64, lr=1e-2, warmup_steps=50, weight_decay=0, fresh=True),
        task=Navigation(n_steps=50),
        n_train=2048,
        n_test=512,
        accuracy=0.95,
    ),
]
