"""Head direction: adding up the turns leads to the direction."""

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import HeadDirection

TASKS = [HeadDirection(), HeadDirection(turning=6.0, n_steps=300), HeadDirection(turning=0.0)]


@pytest.mark.parametrize("task", TASKS)
def test_the_turns_add_up_to_targets_and_labels(task):
    for example in examples_of(task.dataset(10, seed=1)):
        turn, cos, sin = example.tokens[0]
        assert turn == 0, "nothing turns at first"
        heading = np.arctan2(sin, cos)
        for t, (told, target, row) in enumerate(zip(example.tokens, example.targets, example.labels, strict=True)):
            heading += told[0]
            assert target == pytest.approx([np.cos(heading), np.sin(heading)], abs=1e-4)
            assert -np.pi <= row["heading"] <= np.pi
            assert [np.cos(row["heading"]), np.sin(row["heading"])] == pytest.approx(target, abs=1e-6)
            assert row["turn"] == pytest.approx(told[0], abs=1e-6)
            if t > 0:
                assert told[1:] == [0, 0], "the direction is told at first only"


def test_the_angular_velocity_has_the_size_and_the_memory_that_were_asked_for():
    turn = HeadDirection(n_steps=400, turning=3.0, turning_time=0.4).draw(300, np.random.default_rng(0)).truth["turn"]
    turn = turn[:, 1:]
    assert turn.std() == pytest.approx(3.0 * 0.05, rel=0.03)
    for lag in (1, 8):
        correlation = np.corrcoef(turn[:, lag:].ravel(), turn[:, :-lag].ravel())[0, 1]
        assert correlation == pytest.approx(np.exp(-lag * 0.05 / 0.4), abs=0.02)


def test_a_twentieth_of_a_turn_away_is_still_right_whatever_the_length():
    task = HeadDirection()
    batch = task.batch(10, 0)
    x, y = batch["targets"].unbind(-1)
    for degrees, right in ((17.9, 1.0), (-17.9, 1.0), (18.1, 0.0), (180, 0.0)):
        angle = torch.tensor(np.radians(degrees))
        turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], -1)
        assert task.accuracy(0.3 * turned, batch) == right
    assert task.accuracy(torch.zeros_like(batch["targets"]), batch) == 0, "no output points nowhere"
