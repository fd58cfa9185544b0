"""A hand-set network that turns a vector by what it is told, and what is measured on rings that are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.dynamics import PrincipalAxes, find_fixed_points
from workbench.reproductions.ring_attractor import (
    PARTS,
    WATCHED,
    Compass,
    _rows,
    along_ring,
    angle_in,
    drift,
    near,
    on_ring,
    told,
    waves,
)


def ring(n, lift=0.0):
    """States round a circle in four dimensions, and their angles."""
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, n)
    flat = np.stack([np.cos(angle), np.sin(angle), lift * np.cos(2 * angle), np.zeros(n)], 1)
    return torch.from_numpy(flat), angle


def to_the_ring(states):
    r = states[:, :2].norm(dim=1, keepdim=True)
    return torch.cat([states[:, :2] / r * (1 + 0.5 * (r - 1)), 0.3 * states[:, 2:]], 1)


def test_a_compass_tells_a_heading_that_goes_round_unevenly_and_backwards():
    states, angle = ring(2000, lift=0.2)
    axes = PrincipalAxes.of(states, 2)
    heading = np.angle(np.exp(1j * (2.0 - angle + 0.3 * np.sin(angle))))
    read = Compass.of(axes, states, heading).read(states)
    assert np.cos(read - heading).mean() > 0.99
    trial = np.arange(2000) // 20
    assert told(axes, states, heading, trial) > 0.99
    other = np.random.default_rng(1).permutation(heading)
    assert abs(told(axes, states, other, trial)) < 0.05
    np.testing.assert_allclose(np.cos(angle_in(axes, states)[:, None] - angle_in(axes, states)[None]).diagonal(), 1)
    assert waves(angle).shape == (2000, 7)


def test_points_on_a_ring_and_their_slowest_mode():
    states, _ = ring(150)
    starts = near(states, 0.05, seed=0)
    assert starts.shape == states.shape
    assert 0.05 < float((torch.cdist(starts, states).min(1).values).mean()) < 0.2
    found = find_fixed_points(to_the_ring, starts, apart=0.05)
    assert on_ring(found, states).all()
    assert not on_ring(found, 3 * states).any()
    assert along_ring(found) > 0.99
    assert np.isnan(along_ring(found.select(np.arange(3))))
    turned = found.right.roll(1, dims=2)  # a mode across the ring in the first place
    assert along_ring(type(found)(**{**vars(found), "right": turned})) < 0.1


def test_drift_is_counted_by_where_it_leads():
    states, _ = ring(6000)
    axes = PrincipalAxes.of(states, 2)
    angle = angle_in(axes, states)
    compass = Compass.of(axes, states, angle)

    def moved(n_rests, degrees):
        away = angle - np.radians(degrees) * WATCHED * np.sin(n_rests * angle)
        flat = torch.from_numpy(np.stack([np.cos(away), np.sin(away)], 1))
        return axes.centre + flat @ axes.axes

    for n_rests in (1, 3, 5):
        found = drift(compass, states, moved(n_rests, 0.1))
        assert found["rests"] == n_rests
        assert found["most_drift"] == pytest.approx(0.1, rel=0.02)
        assert found["drift"] == pytest.approx(0.1 / 2**0.5, rel=0.05)
    assert PARTS > 2 * 5
    still = drift(compass, states, states)
    assert still["drift"] == still["most_drift"] == still["rests"] == 0


@pytest.mark.parametrize(
    ("column", "row"),
    [("curve", 0), ("largest_angle", 0), ("told", 1), ("first", 2), ("second", 2), ("along", 3), ("gain", 4)],
)
def test_a_seed_without_a_ring_does_not_pass(column, row):
    own = {"n": 60.0, "curve": 0.98, "largest_angle": 0.3, "told": 0.98, "shuffled": 0.0, "first": 1.0, "second": 0.9}
    own |= {"third": 0.8, "across": 0.9, "along": 0.98, "gain": 1.0, "rests": 5.0, "stable": 5.0, "saddles": 5.0}
    own |= {"slow": 50.0, "drift": 0.01, "most_drift": 0.1}
    before = dict.fromkeys(own, 0.0)
    lines = [
        {"seed": seed, "stage": stage, "apart": 1e-10} | facts
        for seed in range(3)
        for stage, facts in (("untrained", before), ("trained", own))
    ]
    judged = [row.passed for row in _rows(pd.DataFrame(lines)) if row.passed is not None]
    assert judged == [True] * 6
    lines[-1] |= {column: np.nan}
    missing = [row.passed for row in _rows(pd.DataFrame(lines)) if row.passed is not None]
    assert missing == [True] * row + [False] + [True] * (5 - row)
