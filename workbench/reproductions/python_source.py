"""The subject that several reproductions read: the Python-source transformer, and a recording of its first MLP."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from models import recipes
from models.artifacts import ArtifactError, canonical
from models.corpus.build import build_corpus
from models.dataset import Dataset
from models.training import train, training_settings
from workbench.activations import ActivationStore, harvest
from workbench.activations.batches import Batches
from workbench.reproductions.base import Bench
from workbench.runs import Artifact, Run

RECIPE = "python-transformer"
HOOK = "blocks.0.mlp.hook_post"
RECORDING = "blocks.0.mlp.post"
# As the demo records it, so that a demo that has been run need not be made again.
CORPUS = "the Python standard library"
SAMPLE = {"n_tokens": 600_000, "test_share": 0.25, "seed": 0}
BATCH = 4096
# Held-out tokens through the subject, for the loss that is recovered.
N_LOSS_TOKENS = 30_000


@dataclass(frozen=True)
class PythonSource:
    """A trained subject with its recording.

    Attributes:
        run: where both are.
        store: the recording of `HOOK`, a quarter of it of documents that subject and dictionaries never see.
    """

    run: Run
    store: ActivationStore

    @cached_property
    def model(self) -> Any:
        """The subject."""
        return self.run.model()

    @cached_property
    def documents(self) -> Dataset:
        """Held-out documents for the loss recovered."""
        return self.run.dataset(with_labels=False).sample(N_LOSS_TOKENS, test_share=1.0).split("test")

    def training(self, seed: int) -> Batches:
        """Batches of rows to train on, without end, in an order that follows from the seed."""
        return self.store.batches(HOOK, BATCH, seed=seed, split="train")

    def once(self, split: str) -> Batches:
        """One pass over the rows of a split."""
        return self.store.batches(HOOK, BATCH, split=split, epochs=1)

    def in_order(self, rows: Int[np.ndarray, " n"]) -> Iterator[Float[Tensor, "_ d"]]:
        """These rows, some thousands at a time."""
        for start in range(0, len(rows), BATCH):
            yield self.store.read(HOOK, rows[start : start + BATCH])

    def inputs(self, bench: Bench) -> dict[str, str]:
        """What a manifest of the reproduction's run says of it."""
        return {
            os.path.relpath(artifact.path, bench.path): artifact.id
            for artifact in (self.run.find("activations", RECORDING), self.run.find("model"))
        }


def python_source(bench: Bench) -> PythonSource:
    """The demo's own run where it stands beside the reproductions' folder, or one made by the demo's recipe there.

    All reproductions under one root share it: the first makes it, and the others find it.
    """
    root = bench.path.parents[1]
    for path in (root.parent / "demo", root / "python-source"):
        with suppress(ArtifactError, ValueError):
            run = Run.open(path)
            if _has_recording(run):
                return _opened(run)
    run = Run.create(root / "python-source")
    bench.tell("making the Python-source subject and its recording, which other results share")
    _make(run)
    return _opened(run.refresh())


def _opened(run: Run) -> PythonSource:
    return PythonSource(run, ActivationStore.open(run.find("activations", RECORDING).path))


def _has_recording(run: Run) -> bool:
    """Whether corpus, subject and recording are those of the recipe, none of them stale."""
    recording = run.find("activations", RECORDING)
    ActivationStore.open(recording.path)  # refuses an earlier format
    return _subject_stands(run) and _says(recording, _recorded()) and not recording.stale


def _subject_stands(run: Run) -> bool:
    recipe = recipes.get(RECIPE)
    if not _says(run.find("dataset"), _corpus()):
        return False
    model = run.find("model")
    subject = recipe.build(run.dataset(with_labels=False))
    return _says(model, training_settings(subject, recipe.training)) and not model.stale


def _corpus() -> dict[str, Any]:
    recipe = recipes.get(RECIPE)
    return {"corpus": CORPUS, "vocab_size": recipe.vocab_size, "n_ctx": recipe.n_ctx}


def _recorded() -> dict[str, Any]:
    return {"hooks": [HOOK], "dtype": "float16", "positions": "real", "sample": SAMPLE}


def _says(artifact: Artifact, config: dict[str, Any]) -> bool:
    found = artifact.manifest.config
    return all(found.get(key) == value for key, value in json.loads(canonical(config)).items())


def _make(run: Run) -> None:
    """Corpus, subject and recording: what of them is there already stays."""
    recipe = recipes.get(RECIPE)
    stands = False
    with suppress(ArtifactError):
        stands = _subject_stands(run)
    if not stands:
        dataset, _ = build_corpus(None, n_ctx=recipe.n_ctx, vocab_size=recipe.vocab_size)
        dataset.save(run.path, config=_corpus())
        train(recipe.build(dataset), dataset, recipe.training, run=run.path)
        run = run.refresh()
    sample = run.dataset().sample(SAMPLE["n_tokens"], test_share=SAMPLE["test_share"], seed=SAMPLE["seed"])
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    path: Path = run.path_of("activations", RECORDING)
    harvest(run.model(), sample, [HOOK], path, dtype="float16", inputs=inputs, config={"sample": SAMPLE})
