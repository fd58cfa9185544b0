"""Points of three units that each remember one bit: all of them are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.recurrent import Recurrent, RecurrentConfig
from models.tasks.flip_flop import FlipFlop
from workbench.dynamics import find_fixed_points, state_map
from workbench.reproductions.fixed_points import (
    NOWHERE,
    _rows,
    corners_of,
    differences,
    furthest,
    jacobian_gap,
    landscape,
    place_of,
    worst_gap,
)


def three_units(own):
    """Units that each see one line, and keep what they saw if `own` is above 1: tanh(own · h + 10 x)."""
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=3, d_in=3, d_out=3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        kernel = dict(model.blocks[0].rnn.named_parameters())
        for name, value in kernel.items():
            if "ih" in name and value.ndim == 2:
                value.copy_(10 * torch.eye(3))
            if "hh" in name and value.ndim == 2:
                value.copy_(own * torch.eye(3))
        model.unembed.W_U.copy_(torch.eye(3))
    return model


@pytest.fixture(scope="module")
def trials():
    return FlipFlop(n_steps=20).dataset(1, 40, seed=0).split("test")


def test_a_cube_of_memories_has_its_corners_and_edges(trials):
    found = landscape(three_units(2.0), trials, seed=0)
    assert found.measured["stable"] == found.measured["corners"] == 8
    assert found.measured["edges"] == found.measured["edge_saddles"] == 12
    assert found.measured["joined"] == found.measured["held"] == 1
    assert found.measured["apart"] < 1e-9
    # tanh(2a) = a at .9575: so far from 1 on each of three axes.
    assert found.measured["furthest"] == pytest.approx((1 - 0.9575) * 3**0.5, abs=1e-3)
    stable = found.points[found.points["kind"] == "stable"]
    np.testing.assert_allclose(np.abs(stable[["output_0", "output_1", "output_2"]]), 0.9575, atol=1e-3)
    drawn = found.portrait.set_index("what")
    assert drawn.loc["manifold", "path"].nunique() == 24, (
        "two leave each edge, those of faces and the centre are left out"
    )
    assert len(drawn.loc["point"]) == len(found.points)
    assert set(drawn.loc["trajectory", "corner"]) <= set(range(8))


def test_what_forgets_has_one_point_and_no_memory(trials):
    found = landscape(three_units(0.5), trials, seed=0)
    assert found.measured["stable"] == 1
    assert found.measured["edges"] == found.measured["saddles"] == 0
    assert np.isnan(found.measured["joined"])
    assert found.measured["held"] < 0.5
    assert "manifold" not in set(found.portrait["what"])


def test_places_of_read_outs():
    output = torch.tensor([[1.0, -1, 1], [0.1, -1, 1], [-0.1, -1, 1], [0.1, 0.1, 1], [1, 1, -0.2]], dtype=torch.double)
    between, corner = place_of(output)
    assert between.tolist() == [NOWHERE, 0, 0, NOWHERE, 2]
    assert corner.tolist() == [5, 4, 4, 7, 3]
    assert corners_of(0, 4) == [4, 5]
    assert corners_of(2, 3) == [3, 7]
    assert furthest(output[[0]]) == 0
    assert furthest(output[[0, 4]]) == pytest.approx(0.8)


def test_differences_are_the_jacobians_and_tell_wrong_ones():
    model = Recurrent(RecurrentConfig(cell="gru", d_model=5, d_in=3, d_out=3, seed=1))
    starts = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    step = state_map(model)
    torch.testing.assert_close(differences(step, starts, 1e-5), step.jacobians(starts), atol=1e-9, rtol=0)
    found = find_fixed_points(step, starts)
    assert 0 < jacobian_gap(step, found) < 1e-9
    other = state_map(model, [1.0, 0, 0])
    assert jacobian_gap(other, found) > 1e-3


def counted(**changed):
    own = {"stable": 8.0, "corners": 8.0, "furthest": 0.02, "held": 1.0, "edges": 12.0, "saddles": 18.0, "joined": 1.0}
    before = dict.fromkeys(own, np.nan)
    lines = [
        {"seed": seed, "stage": stage, "apart": 1e-10} | facts
        for seed in range(3)
        for stage, facts in (("untrained", before), ("trained", own))
    ]
    lines[-1] |= changed
    return [row.passed for row in _rows("gru", pd.DataFrame(lines))]


@pytest.mark.parametrize(
    ("column", "row"), [("stable", 0), ("corners", 1), ("furthest", 1), ("held", 2), ("edges", 3), ("joined", 4)]
)
def test_a_seed_of_which_a_number_is_missing_does_not_pass(column, row):
    assert counted() == [True] * 6
    expected = [True] * 6
    expected[row] = False
    assert counted(**{column: np.nan}) == expected


def test_stable_points_lie_near_their_corners():
    assert not counted(furthest=1.4)[1]
    assert not counted(joined=0.5)[4]


def test_every_seed_tells_a_gap_of_its_jacobians():
    lines = pd.DataFrame({"seed": [0, 0, 1, 1], "apart": [np.nan, 1e-9, 1e-8, np.nan]})
    assert worst_gap(lines) == 1e-8
    assert np.isnan(worst_gap(lines.iloc[[0, 2, 3]]))
