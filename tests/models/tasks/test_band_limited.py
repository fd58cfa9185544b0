"""Band-limited signals: nothing above the cutoff, and integrals and oscillations that are what they are said to be."""

import numpy as np
import pytest
import torch
from labelled_examples import examples_of
from scipy.integrate import solve_ivp

from models.tasks import BandLimited


def drawn(n=50, **difficulty):
    return BandLimited(**difficulty).draw(n, np.random.default_rng(0))


def test_a_signal_has_no_part_above_the_cutoff_and_much_just_below():
    x = drawn(200, cutoff=4.0, n_steps=2000, d=2).tokens
    power = (np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(axis=(0, 2))
    hertz = np.fft.rfftfreq(2000, 0.001)
    assert power[hertz > 4.01].max() < 1e-9 * power.max()
    inside = power[(hertz > 0) & (hertz <= 4)]
    assert inside.min() > 0.5 * inside.mean()


@pytest.mark.parametrize("objective", ["signal", "integral"])
def test_signals_reach_far_and_stay_within_their_amplitude(objective):
    x = drawn(200, objective=objective, amplitude=0.7).targets
    reach = np.abs(x).max(axis=1)
    assert 0.35 <= reach.min() < 0.4
    assert 0.65 < reach.max() <= 0.7 + 1e-6
    assert abs(x.mean()) < 0.05


def test_the_signal_itself_is_to_be_given_back():
    found = drawn()
    assert np.array_equal(found.tokens, found.targets)
    assert not np.shares_memory(found.tokens, found.targets)


def test_the_running_sum_of_the_input_is_the_integral():
    for example in examples_of(BandLimited(objective="integral", d=2, n_steps=500).dataset(5, seed=1)):
        total = np.cumsum(example.tokens, axis=0) * 0.001
        assert total == pytest.approx(np.array(example.targets), abs=1e-5)
        assert [[row["x_0"], row["x_1"]] for row in example.labels] == [
            pytest.approx(target, abs=1e-6) for target in example.targets
        ]
        assert example.labels[7]["input_1"] == pytest.approx(example.tokens[7][1])


def test_an_oscillation_solves_its_equation_and_turns_at_its_frequency():
    task = BandLimited(objective="oscillation", d=2, n_steps=800, omega=10.0, amplitude=0.8)
    found = task.draw(3, np.random.default_rng(0))
    for told, x, phase in zip(found.tokens, found.targets, found.truth["phase"], strict=True):
        last = np.flatnonzero(told.any(axis=1))[-1]
        assert last + 1 == 105, "a sixth of a turn"

        def change(t, x, u=told, last=last):
            push = u[0] if t < (last + 1) * 0.001 else np.zeros(2)
            return [10 * x[1] + push[0], -10 * x[0] + push[1]]

        path = solve_ivp(change, (0, 0.8), [0, 0], t_eval=np.arange(1, 801) / 1000, max_step=0.001, rtol=1e-8).y.T
        assert x == pytest.approx(path, abs=2e-3)
        assert np.hypot(*x[last:].T) == pytest.approx(0.8, abs=1e-5)
        assert np.diff(np.unwrap(phase))[last + 1 :] == pytest.approx(-0.01)
        assert [np.cos(phase[-1]), np.sin(phase[-1])] == pytest.approx(x[-1] / 0.8, abs=1e-6)


def test_what_is_a_tenth_away_or_thirty_degrees_off_and_half_as_strong_is_still_right():
    task = BandLimited()
    batch = task.batch(5, 0)
    assert [task.accuracy(batch["targets"] + off, batch) for off in (0.099, -0.101)] == [1, 0]
    task = BandLimited(objective="oscillation", d=2)
    batch = task.batch(5, 0)
    for degrees, right in ((29.0, 1), (-29.0, 1), (31.0, 0)):
        turn = torch.tensor(np.radians(degrees))
        turned = batch["targets"].double() @ torch.tensor([[turn.cos(), turn.sin()], [-turn.sin(), turn.cos()]])
        for strength, strong in ((1.0, 1), (0.51, 1), (1.49, 1), (0.49, 0), (1.51, 0), (0.0, 0)):
            assert task.accuracy(strength * turned, batch) == right * strong


@pytest.mark.parametrize(
    ("difficulty", "sentence"),
    [
        ({"objective": "square"}, "objective 'square' is unknown: there are signal and integral and oscillation"),
        ({"d": 0}, "d is 0: it must be at least 1"),
        ({"dt": 0.0}, "dt is 0.0: it must be above 0"),
        ({"cutoff": 0.5}, "cutoff is 0.5 Hz: 1000 steps of 0.001 s hold frequencies from 1 to 500 Hz"),
        ({"cutoff": 600.0}, "cutoff is 600 Hz"),
        ({"objective": "oscillation"}, "d is 1, but an oscillation is of 2 numbers"),
        ({"objective": "oscillation", "d": 2, "n_steps": 100}, "n_steps is 100, but the kick alone takes 105 steps"),
    ],
)
def test_what_makes_no_sense_is_refused(difficulty, sentence):
    with pytest.raises(ValueError, match=sentence):
        BandLimited(**difficulty)
