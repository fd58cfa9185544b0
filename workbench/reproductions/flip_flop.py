"""The three-bit flip-flop in a tanh network and a GRU of 16 units: its accuracy, and the dimension of its states."""

from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models import recipes
from models.hooks import HookedModel
from models.tasks.base import Task
from workbench.reproductions.base import Bench, Row, spread

TITLE = "A memory of three bits held by a recurrent network"
PAPER = "Sussillo & Barak 2013 (Neural Computation 25:626); Golub & Sussillo 2018 (JOSS 3:1003)"

CELLS = ("rnn", "gru")
STATES = "blocks.0.hook_out"
N_COMPONENTS = 3


def reproduce(bench: Bench) -> list[Row]:
    """Train both cells and report their accuracy and principal components, the untrained network beside each."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"{cell}-seed-{seed}": (cell, seed) for cell in CELLS for seed in seeds}
    named = {cell: recipes.get(f"flip-flop-{cell}") for cell in CELLS}
    runs = bench.subjects({name: named[cell].with_changes(seed=seed) for name, (cell, seed) in wanted.items()})
    measured, components = [], []
    for name, (cell, seed) in wanted.items():
        run, task = runs[name], cast(Task, named[cell].task)
        data = run.dataset(with_labels=False)
        trials = data.batch(data.sequences("test"))
        for stage, model in (("untrained", run.model(step=0)), ("trained", run.model())):
            accuracy, states = run_trials(model, task, trials)
            explained = explained_variance(states).cumsum()
            about = {"cell": cell, "seed": seed, "stage": stage}
            measured.append(about | {"accuracy": accuracy, "explained": explained[N_COMPONENTS - 1]})
            n = np.arange(1, len(explained) + 1)
            components.append(pd.DataFrame(about | {"n_components": n, "explained": explained}))
    found = pd.DataFrame(measured)
    bench.table("accuracy_and_dimension", found)
    bench.table("explained_variance", pd.concat(components, ignore_index=True))
    return [row for cell in CELLS for row in _rows(cell, found[found["cell"] == cell])]


def _rows(cell: str, found: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return found.loc[found["stage"] == stage, column].tolist()

    return [
        Row(
            f"{cell}-16: held-out accuracy, all three bits right",
            "solved",
            f"{spread(of('accuracy'))}; untrained {spread(of('accuracy', 'untrained'))}",
            "≥ .99",
            min(of("accuracy")) >= 0.99,
        ),
        Row(
            f"{cell}-16: variance of the states in {N_COMPONENTS} principal components",
            "a cube in three dimensions",
            f"{spread(of('explained'))}; untrained {spread(of('explained', 'untrained'))}",
            "> .90",
            min(of("explained")) > 0.90,
        ),
    ]


def run_trials(model: HookedModel, task: Task, trials: dict[str, Any]) -> tuple[float, Float[Tensor, "state d_model"]]:
    """The accuracy over all steps of the trials, and the hidden states after each step."""
    with torch.inference_mode():
        output, cache = model.run_with_cache(**trials, names_filter=STATES)
    return task.accuracy(output, trials), cache[STATES].flatten(0, 1)


def explained_variance(states: Float[Tensor, "state d"]) -> Float[np.ndarray, " component"]:
    """The share of the states' variance along each principal component, the largest first."""
    centred = states.double() - states.double().mean(0)
    variance = torch.linalg.svdvals(centred).square()
    return (variance / variance.sum()).numpy()
