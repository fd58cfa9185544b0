"""The flip-flop: every output is the last pulse of its line."""

import numpy as np
import pytest
from labelled_examples import examples_of

from models.tasks import FlipFlop


@pytest.mark.parametrize("task", [FlipFlop(), FlipFlop(n_bits=1, n_steps=10, p=0.1), FlipFlop(n_bits=5, p=0.9)])
def test_each_output_is_the_sign_of_its_line_s_last_pulse(task):
    for example in examples_of(task.dataset(20, seed=1)):
        held = [0.0] * task.n_bits
        for pulses, target, row in zip(example.tokens, example.targets, example.labels, strict=True):
            held = [pulse or old for pulse, old in zip(pulses, held, strict=True)]
            assert set(pulses) <= {-1, 0, 1}
            assert target == held
            assert [row[f"bit_{i}"] for i in range(task.n_bits)] == [value > 0 for value in held]
            assert row["memory"] == sum(2**i for i, value in enumerate(held) if value > 0)
        assert 0 not in example.tokens[0], "the first step sets every line"


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_p_is_how_often_a_pulse_comes_and_both_signs_come_alike(p):
    tokens = FlipFlop(p=p).draw(500, np.random.default_rng(0)).tokens[:, 1:]
    assert (tokens != 0).mean() == pytest.approx(p, abs=0.01)
    if p > 0:
        assert tokens[tokens != 0].mean() == pytest.approx(0, abs=0.03)


def test_a_step_with_one_wrong_bit_is_wrong():
    task = FlipFlop()
    batch = task.batch(10, 0)
    output = batch["targets"] * 0.1
    output[:, :32, 1] *= -1
    assert task.accuracy(output, batch) == 0.5
    assert task.exact_match(output, batch) == 0
