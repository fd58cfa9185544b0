"""How far a subject got, read from its training's log."""

import math

import pandas as pd
import pytest

from models.recipes import Recipe
from models.tasks.flip_flop import FlipFlop
from models.train_config import TrainConfig
from workbench.reproductions.base import Bench
from workbench.reproductions.learning import accuracy_by_step, heldout_accuracy, steps_to


def curve(**points):
    return pd.DataFrame({"step": [int(k[1:]) for k in points], "accuracy": list(points.values())})


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({"_0": 0.0, "_100": 0.8, "_200": 1.0}, 150),
        ({"_0": 0.0, "_100": 0.9, "_200": 0.5, "_300": 1.0}, 100),
        ({"_0": 0.95, "_100": 1.0}, 0),
        ({"_0": 0.0, "_100": 0.89}, math.inf),
    ],
)
def test_steps_to_an_accuracy(points, expected):
    assert steps_to(0.9, curve(**points)) == pytest.approx(expected)


def test_a_trained_subject_s_curve_ends_at_its_accuracy(tmp_path):
    recipe = Recipe(
        name="tiny",
        summary="",
        architecture="recurrent",
        model={"cell": "gru", "d_model": 8},
        training=TrainConfig(n_steps=6, batch_size=4, eval_every=2, log_every=1, warmup_steps=1, fresh=True, n_eval=8),
        task=FlipFlop(n_bits=1, n_steps=5),
        n_train=4,
        n_test=8,
    )
    run = Bench(tmp_path / "bench", full=False, tell=lambda _: None).subjects({"tiny": recipe})["tiny"]
    found = accuracy_by_step(run)
    assert found["step"].tolist() == [0, 2, 4, 6]
    assert found["accuracy"].iloc[-1] == pytest.approx(heldout_accuracy(run))
