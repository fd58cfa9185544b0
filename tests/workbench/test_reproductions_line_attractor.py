"""Places on a line, and a hand-set network that keeps a total exactly."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.recurrent import Recurrent, RecurrentConfig
from models.tasks.evidence import ClassEvidence, SignedEvidence
from workbench.reproductions.line_attractor import (
    JUDGED,
    _class_rows,
    _signed_rows,
    line_of,
    place_along,
    plane_of,
    told,
)


def adder(keep=1.0):
    """Two ReLU units: the positive part of what came in, and the negative, each kept by a factor."""
    model = Recurrent(RecurrentConfig(cell="rnn", nonlinearity="relu", d_model=2, d_in=1, d_out=1))
    sign = torch.tensor([[1.0], [-1.0]])
    with torch.no_grad():
        for name, value in model.blocks[0].rnn.named_parameters():
            value.zero_()
            if "ih" in name and value.ndim == 2:
                value.copy_(sign)
            if "hh" in name and value.ndim == 2:
                value.copy_(keep * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        model.unembed.W_U.copy_(sign)
        model.unembed.b_U.zero_()
    return model


@pytest.fixture(scope="module")
def trials():
    return SignedEvidence(n_steps=20).dataset(1, 60, seed=0).split("test")


def test_what_adds_exactly_is_a_line_that_tells_the_total(trials):
    found = line_of(adder(), trials, seed=0)
    assert found.measured["first"] == pytest.approx(1, abs=1e-6)
    assert found.measured["second"] == pytest.approx(0, abs=1e-6)
    assert found.measured["n"] > 20
    assert found.measured["told"] > 0.98
    assert found.measured["shuffled"] < 0.5
    assert len(found.points) == found.measured["n"]


def test_what_forgets_is_no_line(trials):
    found = line_of(adder(keep=0.5), trials, seed=0)
    assert found.measured["n"] < 4 or found.measured["first"] < 0.9
    assert found.measured["first"] < 0.6
    assert found.measured["told"] < 0.9


def test_places_along_a_bent_line():
    line = np.array([[0.0, 0], [2, 0], [2, 2]])
    states = np.array([[1.0, 0.3], [2, 0], [2.4, 1], [-1, 0], [2, 5]])
    np.testing.assert_allclose(place_along(line, states), [1, 2, 3, -1, 7])
    assert (place_along(line[:1], states) == 0).all()


def test_totals_are_told_in_other_trials_only_where_the_place_says_them():
    rng = np.random.default_rng(0)
    trial = np.repeat(np.arange(40), 10)
    total = rng.standard_normal(400)
    line = np.array([[0.0, 0], [1, 0]])
    along = np.stack([total, rng.standard_normal(400)], 1)
    assert told(line, along, total**3, trial) > 0.95
    assert told(line, along, -total, trial) > 0.95
    assert told(line, along[:, ::-1], total, trial) < 0.05
    assert told(line[:1], along, total, trial) == 0


def test_differences_of_three_totals_have_two_dimensions():
    """A linear network that keeps the projection of three totals onto their differences."""
    task = ClassEvidence(n_steps=20)
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=3, d_in=3, d_out=3))
    apart = torch.eye(3) - 1 / 3
    with torch.no_grad():
        for name, value in model.blocks[0].rnn.named_parameters():
            value.zero_()
            if "ih" in name and value.ndim == 2:
                value.copy_(1e-4 * apart)  # so small that tanh is straight
            if "hh" in name and value.ndim == 2:
                value.copy_(apart)
    found = plane_of(model, task.dataset(1, 30, seed=0).split("test"), 2, seed=0)
    assert found["explained"] > 1 - 1e-6
    assert found["last_kept"] == pytest.approx(1, abs=1e-3)
    assert found["first_lost"] < 1e-3
    assert found["n_kept"] == 2


@pytest.mark.parametrize(("column", "row"), [("curve", 0), ("first", 1), ("told", 2), ("shuffled", 2)])
def test_a_seed_without_a_line_does_not_pass(column, row):
    own = {"n": 150.0, "curve": 0.99, "first": 0.999, "second": 0.6, "told": 0.98, "shuffled": 0.0}
    before = dict.fromkeys(own, 0.0)
    lines = [
        {"seed": seed, "stage": stage, "apart": 1e-10} | facts
        for seed in range(3)
        for stage, facts in (("untrained", before), ("trained", own))
    ]
    assert [line.passed for line in _signed_rows(pd.DataFrame(lines))] == [True] * 4
    lines[-1] |= {column: np.nan}
    assert [line.passed for line in _signed_rows(pd.DataFrame(lines))] == [k != row for k in range(4)]


def test_a_seed_without_slow_modes_does_not_pass():
    own = {"explained": 0.98, "last_kept": 0.99, "first_lost": 0.9, "n_kept": 2.0, "apart": 1e-10}
    lines = [{"seed": seed, "stage": stage} | own for seed in range(3) for stage in ("untrained", "trained")]
    assert [line.passed for line in _class_rows(JUDGED, pd.DataFrame(lines))] == [True] * 3
    lines[-1] |= {"explained": np.nan, "last_kept": np.nan}
    assert [line.passed for line in _class_rows(JUDGED, pd.DataFrame(lines))] == [False, False, True]
