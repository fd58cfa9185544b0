"""Recipes of encoders and decoders: a source is copied, reversed or written another way."""

from models.recipes.recipe import Recipe
from models.tasks.copying import Copy
from models.tasks.dates import DateNormalisation
from models.train_config import TrainConfig

RECIPES = [
    Recipe(
        name="copy-lstm",
        summary="an encoder and a decoder of 128 units without attention copy up to 20 symbols of 4 kinds",
        architecture="seq2seq",
        model={"cell": "lstm", "d_model": 128},
        training=TrainConfig(
            n_steps=700,
            batch_size=64,
            lr=5e-3,
            schedule="constant",
            warmup_steps=50,
            weight_decay=0,
            eval_every=20,
            fresh=True,
        ),
        task=Copy(n_symbols=4),
        n_train=2048,
        n_test=512,
        accuracy=0.88,
    ),
    *(
        Recipe(
            name=f"copy-{attention.split('_')[0]}",
            summary=f"an encoder and a decoder of 64 units with {attention} attention copy 10 to 20 symbols",
            architecture="seq2seq",
            model={"cell": "gru", "d_model": 64, "attention": attention},
            training=TrainConfig(n_steps=n_steps, batch_size=64, lr=lr, warmup_steps=50, weight_decay=0, fresh=True),
            task=Copy(min_length=10),
            n_train=2048,
            n_test=512,
            accuracy=0.97,
        )
        for attention, n_steps, lr in (("bahdanau", 800, 8e-3), ("luong_general", 400, 5e-3))
    ),
    *(
        Recipe(
            name=f"dates-{attention.split('_')[0]}",
            summary=f"an encoder and a decoder of 64 units with {attention} attention write dates as ISO 8601 does",
            architecture="seq2seq",
            model={"cell": "gru", "d_model": 64, "attention": attention, "bidirectional_encoder": True},
            training=TrainConfig(n_steps=n_steps, batch_size=64, lr=lr, warmup_steps=50, weight_decay=0),
            task=DateNormalisation(),
            n_train=20_000,
            n_test=512,
            accuracy=0.99,
        )
        for attention, n_steps, lr in (("bahdanau", 700, 8e-3), ("luong_general", 500, 5e-3))
    ),
    Recipe(
        name="reverse-luong",
        summary="an encoder and a decoder of 64 units (lstm) with luong_dot attention say 3 to 10 symbols backward",
        architecture="seq2seq",
        model={"cell": "lstm", "d_model": 64, "attention": "luong_dot"},
        training=TrainConfig(n_steps=600, batch_size=64, lr=5e-3, warmup_steps=50, weight_decay=0, fresh=True),
        task=Copy(min_length=3, max_length=10, reverse=True),
        n_train=2048,
        n_test=512,
        accuracy=0.97,
    ),
    Recipe(
        name="reverse-transformer",
        summary="a transformer's encoder and decoder of one layer each, d 64, on the same",
        architecture="encoder_decoder",
        model={"n_layers": 1, "d_model": 64, "n_heads": 4, "d_mlp": 128},
        training=TrainConfig(n_steps=600, batch_size=64, lr=4e-3, warmup_steps=50, weight_decay=0, fresh=True),
        task=Copy(min_length=3, max_length=10, reverse=True),
        n_train=2048,
        n_test=512,
        accuracy=0.99,
    ),
]
