"""What the Python-source transformer, trained and as it was before, holds at the same places of the same text."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.artifacts import ArtifactError
from workbench.activations import ActivationStore, harvest
from workbench.probing import probe_labels
from workbench.reproductions.base import Bench
from workbench.reproductions.planted_words import Labelled
from workbench.reproductions.python_source import PythonSource
from workbench.runs import Run

N_TOKENS, FULL_N_TOKENS = 25_000, 100_000
# Classes on fewer of the rows are left out: their first example comes so late that no code of theirs can be short.
LEAST_SHARE = 0.01


class Recordings(NamedTuple):
    """The same rows of two subjects."""

    trained: ActivationStore
    untrained: ActivationStore


def recordings(bench: Bench, source: PythonSource, hooks: Sequence[str]) -> Recordings:
    """Both subjects' recordings of these hooks, kept in the reproduction's run."""
    run = Run.create(bench.path)
    about = (source.run.find("dataset"), source.run.find("model"))
    inputs = {os.path.relpath(artifact.path, bench.path): artifact.id for artifact in about}
    n_tokens = FULL_N_TOKENS if bench.full else N_TOKENS
    sample = None
    found = []
    for subject, step in (("trained", None), ("untrained", 0)):
        path, config = run.path_of("activations", subject), {"subject": subject, "n_tokens": n_tokens}
        store = _standing(path, hooks, inputs, config)
        if store is None:
            bench.tell(f"recording the {subject} subject")
            sample = sample or source.run.dataset().sample(n_tokens)
            model = source.run.model() if step is None else source.run.model(step=step)
            store = harvest(model, sample, hooks, path, dtype="float16", inputs=inputs, config=config)
        found.append(store)
    return Recordings(*found)


def _standing(
    path: Path, hooks: Sequence[str], inputs: dict[str, str], config: dict[str, object]
) -> ActivationStore | None:
    with suppress(ArtifactError):
        store = ActivationStore.open(path)
        manifest = store.manifest
        if manifest.inputs == inputs and manifest.config.items() >= config.items() and store.hooks == list(hooks):
            return store
    return None


def labelled(store: ActivationStore, hook: str, label: str) -> Labelled:
    """The rows of a hook with the numbers of their classes, and the token as the word; test documents come last."""
    rows = np.concatenate([store.rows_of("train"), store.rows_of("test")])
    values = probe_labels(store, rows, [label])[label]
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = (counts >= LEAST_SHARE * len(rows))[codes]
    n_fit = int(kept[: len(store.rows_of("train"))].sum())
    rows, codes = rows[kept], np.unique(codes[kept], return_inverse=True)[1]
    word = store.columns("token")["token"].to_numpy()[rows]
    return Labelled(store.read(hook, rows).float().numpy(), codes, word, n_fit)
