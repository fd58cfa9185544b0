"""Recipes of spiking populations: what they compute is solved for, and nothing is learned."""

from typing import Any

from models.recipes.recipe import Recipe
from models.tasks.band_limited import BandLimited
from models.train_config import TrainConfig


def _recipe(name: str, summary: str, task: BandLimited, n_neurons: int, again: Any, accuracy: float) -> Recipe:
    """One population, `state`, that is told the input and, if `again` is a matrix, what it represents itself."""
    unit = [[float(row == column) for column in range(task.d)] for row in range(task.d)]
    tau = 0.1 if again else 0.005
    into = {"pre": "input", "post": "state", "synapse": tau}
    if again:
        into["transform"] = [[tau * value for value in row] for row in unit]
    itself = {"pre": "state", "post": "state", "synapse": tau, "transform": again}
    return Recipe(
        name=name,
        summary=summary,
        architecture="spiking",
        model={
            "populations": {"state": {"n_neurons": n_neurons, "d": task.d}},
            "connections": [into, itself] if again else [into],
        },
        training=TrainConfig(n_steps=0),
        task=task,
        n_train=48,
        n_test=16,
        accuracy=accuracy,
    )


RECIPES = [
    _recipe(
        "spiking-channel",
        "100 spiking cells say a signal of up to 2 Hz again: within a tenth at each of 1000 steps of 1 ms",
        BandLimited(),
        n_neurons=100,
        again=None,
        accuracy=0.97,
    ),
    _recipe(
        "spiking-integrator",
        "200 spiking cells hold the running integral of their input: within a tenth at each of 1000 steps of 1 ms",
        BandLimited(objective="integral"),
        n_neurons=200,
        again=[[1.0]],
        accuracy=0.99,
    ),
    _recipe(
        "spiking-oscillator",
        "200 spiking cells turn at 10 radians a second once kicked: within 30 degrees and half the amplitude, 1 s long",
        BandLimited(objective="oscillation", d=2),
        n_neurons=200,
        again=[[1.0, 1.0], [-1.0, 1.0]],
        accuracy=0.98,
    ),
]
