"""How many steps reading the source backward saves."""

import math

import pytest

from workbench.reproductions.source_reversal import cut, subject


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(400, 100, 0.75), (100, 150, -0.5), (math.inf, 250, 0.5), (250, math.inf, -1.0), (math.inf, math.inf, 0.0)],
)
def test_steps_that_never_came_count_as_the_length_of_training(before, after, expected):
    assert cut(before, after, n_steps=500) == pytest.approx(expected)


def test_subjects_differ_in_what_is_compared_alone():
    plain = subject("copy", "forward", seed=3)
    backward, control = subject("copy", "backward", seed=3), subject("reverse", "forward", seed=3)
    assert backward.model == plain.model | {"reverse_source": True}
    assert (backward.task, backward.training) == (plain.task, plain.training)
    assert control.model == plain.model
    assert control.task.reverse
    assert not plain.task.reverse
    assert plain.model.get("attention", "none") == "none"
    assert (plain.task.min_length, plain.task.max_length) == (5, 20)
