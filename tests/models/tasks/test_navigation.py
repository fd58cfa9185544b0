"""Navigation: adding up what the walker is told leads to where it is."""

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import Navigation

TASKS = [Navigation(), Navigation(side=0.5, speed=0.3, n_steps=300), Navigation(turning=0.0)]
each_task = pytest.mark.parametrize("task", TASKS)


@each_task
def test_dead_reckoning_from_the_inputs_gives_targets_and_labels(task):
    for example in examples_of(task.dataset(10, seed=1)):
        x, y, cos, sin = example.tokens[0][3:]
        heading = np.arctan2(sin, cos)
        assert example.tokens[0][:3] == [0, 1, 0], "it stands still at first"
        for t, (told, target, row) in enumerate(zip(example.tokens, example.targets, example.labels, strict=True)):
            speed, cos_turn, sin_turn = told[:3]
            heading += np.arctan2(sin_turn, cos_turn)
            x += speed * task.dt * np.cos(heading)
            y += speed * task.dt * np.sin(heading)
            assert target == pytest.approx([x, y, np.cos(heading), np.sin(heading)], abs=1e-4)
            assert max(abs(x), abs(y)) <= task.side / 2 + 1e-4
            if t > 0:
                assert told[3:] == [0, 0, 0, 0], "where it is is told at first only"
            assert [row["x"], row["y"]] == pytest.approx(target[:2], abs=1e-6)
            assert [np.cos(row["heading"]), np.sin(row["heading"])] == pytest.approx(target[2:], abs=1e-6)
            assert row["speed"] == pytest.approx(speed, abs=1e-6)
            assert [np.cos(row["turn"]), np.sin(row["turn"])] == pytest.approx([cos_turn, sin_turn], abs=1e-6)


def long_walks(**difficulty):
    return Navigation(n_steps=400, **difficulty).draw(300, np.random.default_rng(0)).truth


def test_speeds_follow_rayleigh_s_law():
    speed = long_walks(speed=0.2)["speed"][:, 1:]
    assert speed.mean() == pytest.approx(0.2 * np.sqrt(np.pi / 2), rel=0.03)
    assert np.mean(speed > 0.4) == pytest.approx(np.exp(-2), rel=0.1)


def test_speed_and_turning_forget_themselves_in_the_times_given():
    truth = long_walks(side=1e6, turning=2.0, turning_time=0.3)
    turn = truth["turn"][:, 1:]
    assert turn.std() == pytest.approx(2.0 * 0.05, rel=0.03)
    for lag in (1, 6):
        correlation = np.corrcoef(turn[:, lag:].ravel(), turn[:, :-lag].ravel())[0, 1]
        assert correlation == pytest.approx(np.exp(-lag * 0.05 / 0.3), abs=0.02)
    # The squared length of a Gaussian vector is correlated as the square of its parts' correlation.
    squared = truth["speed"][:, 1:] ** 2
    correlation = np.corrcoef(squared[:, 5:].ravel(), squared[:, :-5].ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-2 * 5 * 0.05 / 0.7), abs=0.04)


def test_the_whole_box_and_all_directions_are_visited():
    truth = long_walks()
    counts, _, _ = np.histogram2d(truth["x"].ravel(), truth["y"].ravel(), bins=5, range=[[-1.1, 1.1]] * 2)
    assert counts.min() > 0.7 * counts.mean()
    directions = np.histogram(truth["heading"], bins=8, range=(-np.pi, np.pi))[0]
    assert directions.min() > 0.8 * directions.mean()


def test_a_walker_in_free_space_never_turns_without_turning():
    truth = long_walks(side=1e6, turning=0.0)
    assert np.abs(truth["turn"]).max() < 1e-9
    assert np.abs(long_walks(turning=0.0)["turn"]).max() > 0.1, "in the box it is turned by the walls"


def test_a_position_a_twentieth_of_the_side_away_is_still_right():
    task = Navigation()
    batch = task.batch(10, 0)
    for distance, right in ((0.10, 1.0), (0.12, 0.0)):
        output = batch["targets"] + torch.tensor([0, distance, 0, 0])
        assert task.accuracy(output, batch) == right
