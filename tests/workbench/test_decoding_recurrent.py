"""A recurrent decoder: reads what a memory tells, knows how wrong it is, and never looks across a group's edge."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge

from workbench.decoding import RecurrentDecoder


def small(**settings) -> RecurrentDecoder:
    return RecurrentDecoder("gru", **{"d_model": 16, "n_steps": 120, "window": 40, "lr": 1e-2} | settings)


def walk(n: int, seed: int) -> np.ndarray:
    """A variable that changes slowly, mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, 2)) * np.sqrt(1 - 0.9**2)
    found = np.zeros((n, 2))
    for t in range(1, n):
        found[t] = 0.9 * found[t - 1] + noise[t]
    return found


def population(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Spike counts of thirty neurons, so few that one bin tells little."""
    rng = np.random.default_rng(seed)
    gain = np.random.default_rng(99).standard_normal((2, 30))
    return rng.poisson(0.25 * np.exp(np.clip(0.5 * x @ gain, -3, 2))).astype(float)


@pytest.fixture(scope="module")
def recorded():
    x = walk(3000, 0)
    return population(x), x


@pytest.fixture(scope="module")
def fitted(recorded):
    counts, x = recorded
    return small().fit(counts[:2400], x[:2400])


def test_it_reads_more_than_a_line_through_one_bin_and_its_intervals_hold(recorded, fitted):
    counts, x = recorded
    held_out = slice(2400, None)
    line = Ridge().fit(counts[:2400], x[:2400]).score(counts[held_out], x[held_out])
    assert fitted.score(counts[held_out], x[held_out]) > line + 0.015
    estimate, std = fitted.predict(counts[held_out], return_std=True)
    assert estimate.shape == std.shape == (600, 2)
    inside = np.abs(estimate - x[held_out]) < 1.96 * std
    assert inside.mean() == pytest.approx(0.95, abs=0.05)
    assert fitted.predict(counts[held_out], return_cov=True)[1].shape == (600, 2, 2)


def test_shuffled_counts_tell_nothing(recorded):
    counts, x = recorded
    order = np.random.default_rng(0).permutation(2400)
    decoder = small(n_steps=40).fit(counts[:2400][order], x[:2400])
    assert decoder.score(counts[2400:], x[2400:]) < 0.05


def test_each_group_is_read_from_its_own_beginning(recorded, fitted):
    counts, _ = recorded
    groups = np.repeat([3, 1, 2], [100, 50, 250])
    together = fitted.predict(counts[:400], groups)
    apart = [fitted.predict(counts[part]) for part in (slice(0, 100), slice(100, 150), slice(150, 400))]
    assert together == pytest.approx(np.concatenate(apart), abs=1e-5)
    assert not np.allclose(together[100:110], fitted.predict(counts[:400])[100:110], atol=1e-3)


def test_an_answer_waits_for_the_bins_it_is_allowed_and_for_no_others(recorded):
    counts, x = recorded
    decoder = small(ahead=2, n_steps=20).fit(counts[:600], x[:600])
    before = decoder.predict(counts[:200])
    changed = counts[:200].copy()
    changed[100] += 3
    moved = np.flatnonzero(np.abs(decoder.predict(changed) - before).max(1) > 1e-6)
    assert moved.min() == 98


def test_a_direction_is_decoded_round_the_circle():
    rng = np.random.default_rng(0)
    angle = np.cumsum(0.2 * rng.standard_normal(2000)) % (2 * np.pi)
    preferred = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    counts = rng.poisson(1.5 * np.exp(1.5 * (np.cos(angle[:, None] - preferred) - 1))).astype(float)
    decoder = small(period=2 * np.pi).fit(counts[:1600], angle[:1600])
    estimate, std = decoder.predict(counts[1600:], return_std=True)
    assert ((estimate >= 0) & (estimate < 2 * np.pi)).all()
    assert decoder.score(counts[1600:], angle[1600:]) > 0.8
    off = np.abs(np.angle(np.exp(1j * (estimate - angle[1600:]))))
    assert (off < 1.96 * std).mean() == pytest.approx(0.95, abs=0.05)


def test_one_seed_gives_one_decoder_and_another_another(recorded):
    counts, x = recorded
    one, again, other = (small(n_steps=20, seed=seed).fit(counts[:400], x[:400]) for seed in (0, 0, 1))
    assert (one.predict(counts) == again.predict(counts)).all()
    assert not np.allclose(one.predict(counts), other.predict(counts))


def test_tensors_give_tensors_and_a_clone_is_not_fitted(recorded, fitted):
    counts, _ = recorded
    told = fitted.predict(torch.from_numpy(counts[:50]).float())
    assert isinstance(told, torch.Tensor)
    assert told.numpy() == pytest.approx(fitted.predict(counts[:50]), abs=1e-4)
    assert not hasattr(clone(fitted), "model_")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"ahead": -1}, "ahead is -1"),
        ({"window": 2}, "window is 2"),
        ({"held_out_share": 1.0}, "held_out_share is 1.0"),
    ],
)
def test_settings_that_no_network_has_are_refused(recorded, settings, what):
    counts, x = recorded
    with pytest.raises(ValueError, match=what):
        small(**settings).fit(counts[:200], x[:200])


def test_stretches_too_short_to_learn_from_are_left_out_and_decoded_all_the_same(recorded):
    counts, x = recorded
    decoder = small(n_steps=10).fit(counts[:203], x[:203], np.repeat([0, 1], [200, 3]))
    alone = small(n_steps=10).fit(counts[:203], x[:203], np.repeat([0, 1], [200, 3]))
    assert decoder.predict(counts[200:203]) == pytest.approx(alone.predict(counts[200:203]))
    with pytest.raises(ValueError, match="the longest stretch has 3 bins"):
        small().fit(counts[:6], x[:6], np.repeat([0, 1], [3, 3]))
    with pytest.raises(ValueError, match="ahead is 500, and no stretch has as many bins"):
        small(ahead=500).fit(counts[:400], x[:400])


def test_the_callers_random_numbers_stay_as_they_were(recorded):
    counts, x = recorded
    before = torch.get_rng_state()
    small(n_steps=2).fit(counts[:200], x[:200])
    assert torch.equal(torch.get_rng_state(), before)
