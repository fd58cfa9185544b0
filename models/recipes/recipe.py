"""`Recipe`: a subject, what it learns and how, known to work together."""

from dataclasses import dataclass, field, replace
from typing import Any

from models.dataset import Dataset
from models.hooks import HookedModel
from models.saving import build_model
from models.tasks.base import Task
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
        """The same recipe for another length of training or another seed.

        Raises:
            ValueError: it is to take no step, or some although its subject has nothing to learn.
        """
        if n_steps is not None and not self.training.n_steps:
            raise ValueError(f"the subject of {self.name} has nothing to learn: leave the number of steps out.")
        if n_steps is not None and n_steps < 1:
            raise ValueError(f"n_steps is {n_steps}: it must be a whole number of at least 1.")
        training = self.training if n_steps is None else replace(self.training, n_steps=n_steps)
        if seed is not None:
            training = replace(training, seed=seed)
        return replace(self, training=training, seed=self.seed if seed is None else seed)
