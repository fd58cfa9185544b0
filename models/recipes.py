"""Named pairings of subject, data and training that are known to work."""

from dataclasses import dataclass, field, replace
from typing import Any

from models.dataset import Dataset
from models.hooks import HookedModel
from models.saving import build_model
from models.tasks.base import Task
from models.tasks.copying import Copy
from models.tasks.dates import DateNormalisation
from models.tasks.dyck import Dyck
from models.tasks.evidence import SignedEvidence
from models.tasks.flip_flop import FlipFlop
from models.tasks.modular_addition import ModularAddition
from models.tasks.repeated_sequences import RepeatedSequences
from models.tasks.sparse_features import SparseFeatures
from models.train_config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A subject that is known to learn what it is given.

    Attributes:
        name: what `workbench train --recipe` calls it.
        summary: one line for people.
        model: the subject's config, without what the data decides.
        training: how it is trained.
        architecture: the name of the subject's architecture.
        task: what it learns; None where it learns a corpus.
        n_train, n_test: examples drawn from the task; None for the task's own number.
        accuracy: what it is known to reach on the held-out examples of its task.
        vocab_size: pieces of the tokenizer trained on the corpus.
        n_ctx: the length of a corpus's sequences, BOS included.
        seed: of the weights and of the data.
    """

    name: str
    summary: str
    model: dict[str, Any]
    training: TrainConfig
    architecture: str = "transformer"
    task: Task | None = None
    n_train: int | None = None
    n_test: int | None = None
    accuracy: float | None = None
    vocab_size: int = 2048
    n_ctx: int = 128
    seed: int = field(default=0)

    def data_config(self) -> dict[str, Any]:
        """What a manifest says of the examples. `ValueError` if the recipe learns a corpus."""
        if self.task is None:
            raise ValueError(f"the recipe {self.name} learns a corpus, not a task.")
        return {"task": self.task.to_dict(), "n_train": self.n_train, "n_test": self.n_test, "seed": self.seed}

    def data(self) -> Dataset:
        """The examples of the recipe's task. `ValueError` if it learns a corpus, which is read by `build_corpus`."""
        if self.task is None:
            raise ValueError(f"the recipe {self.name} learns a corpus, not a task.")
        counts = {"n_train": self.n_train, "n_test": self.n_test}
        return self.task.dataset(**{k: v for k, v in counts.items() if v is not None}, seed=self.seed)

    def build(self, dataset: Dataset) -> HookedModel:
        """A fresh subject for a dataset."""
        shape = {"d_vocab": dataset.d_vocab} if self.task is None else self.task.shape
        model = build_model({"architecture": self.architecture, "seed": self.seed} | shape | self.model)
        model.tokenizer = dataset.tokenizer
        return model

    def with_changes(self, *, n_steps: int | None = None, seed: int | None = None) -> "Recipe":
        """The same recipe for another length of training or another seed."""
        training = self.training if n_steps is None else replace(self.training, n_steps=n_steps)
        if seed is not None:
            training = replace(training, seed=seed)
        return replace(self, training=training, seed=self.seed if seed is None else seed)


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            name="python-transformer",
            summary="two layers, d 128, on Python source (or any text): held-out loss near 3.4 nats in 150 s",
            model={"n_layers": 2, "d_model": 128, "n_heads": 4, "d_mlp": 512, "n_ctx": 128, "act_fn": "gelu"},
            training=TrainConfig(n_steps=900),
        ),
        Recipe(
            name="python-gru",
            summary="one GRU layer of 256 units on the same text: held-out loss near 4.2 nats in 45 s",
            architecture="recurrent",
            model={"cell": "gru", "d_model": 256},
            training=TrainConfig(n_steps=160, lr=4e-3, warmup_steps=20, weight_decay=0.01, eval_every=40),
        ),
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
            n_train=64,
            n_test=512,
            accuracy=0.88,
        ),
        *(
            Recipe(
                name=f"copy-{attention.split('_')[0]}",
                summary=f"an encoder and a decoder of 64 units with {attention} attention copy 10 to 20 symbols",
                architecture="seq2seq",
                model={"cell": "gru", "d_model": 64, "attention": attention},
                training=TrainConfig(
                    n_steps=n_steps, batch_size=64, lr=lr, warmup_steps=50, weight_decay=0, fresh=True
                ),
                task=Copy(min_length=10),
                n_train=64,
                n_test=512,
                accuracy=0.97,
            )
            for attention, n_steps, lr in (("bahdanau", 800, 8e-3), ("luong_general", 400, 5e-3))
        ),
        *(
            Recipe(
                name=f"dates-{attention.split('_')[0]}",
                summary=f"the same with {attention} attention write dates as the ISO standard has them",
                architecture="seq2seq",
                model={"cell": "gru", "d_model": 64, "attention": attention, "bidirectional_encoder": True},
                training=TrainConfig(n_steps=500, batch_size=64, lr=5e-3, warmup_steps=50, weight_decay=0),
                task=DateNormalisation(),
                n_train=20_000,
                n_test=512,
                accuracy=0.99,
            )
            for attention in ("bahdanau", "luong_general")
        ),
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
}


def get(name: str) -> Recipe:
    """The recipe of a name. Raises `ValueError`, naming those there are, for another."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}: there are {', '.join(RECIPES)}.")
    return RECIPES[name]
