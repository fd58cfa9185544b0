"""What integrators are told, how turning is measured, and connections that are cut or solved for otherwise."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.spiking import integrator, oscillator
from workbench.reproductions import neural_dynamics as result


def test_the_integral_of_what_is_told_stays_in_range_and_stands_still_half_the_time():
    told, truth = result.movements(0)
    assert told.shape == (result.N_TRIALS, result.N_STEPS, 1)
    torch.testing.assert_close(told[..., 0].cumsum(1) * result.DT, truth, rtol=0, atol=1e-4)
    assert 0.7 < truth.abs().max() <= result.LARGEST + 1e-6
    assert (told == 0).float().mean() == 0.5
    assert truth.std() > 0.3
    assert not torch.equal(truth, result.movements(1)[1])


@pytest.mark.parametrize("hz", [1.592, -0.5])
def test_turning_is_told_with_its_direction(hz):
    angle = -2 * np.pi * hz * np.arange(2000) * result.DT
    found = result.turning(0.8 * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert found == pytest.approx({"hz": hz, "amplitude": 0.8})


def test_what_goes_to_and_fro_does_not_turn():
    angle = np.sin(np.arange(4000) * 0.02)
    assert abs(result.turning(np.stack([np.cos(angle), np.sin(angle)], axis=1))["hz"]) < 0.05


def test_only_the_recurrent_decoders_differ():
    solved, cut, shuffled = (
        result.with_connection(integrator(20, seed=1), recurrent, 1)
        for recurrent in (result.SOLVED, result.CUT, result.OF_SHUFFLED)
    )
    weights = [network.weights("state_to_state") for network in (solved, cut, shuffled)]
    assert weights[0].abs().max() > 0
    assert (weights[1] == 0).all()
    assert weights[2].norm() < 0.5 * weights[0].norm()
    for network in (cut, shuffled):
        assert torch.equal(network.population("state").decoders, solved.population("state").decoders)
        assert torch.equal(network.population("state").encoders, solved.population("state").encoders)


@pytest.mark.usefixtures("as_in_a_script")
def test_an_integrator_holds_a_number_that_a_cut_one_loses():
    told = torch.zeros(1, 600, 1)
    told[:, :100] = 5
    kept, lost = (
        result.with_connection(integrator(100), recurrent, 0)(told)[0, -100:].mean().item()
        for recurrent in (result.SOLVED, result.CUT)
    )
    assert kept == pytest.approx(0.5, abs=0.1)
    assert abs(lost) < 0.1


def test_the_transform_is_the_published_one_and_another_is_seen():
    assert result.transform_row(oscillator(2).cfg.connections[1].transform).passed is True
    assert result.transform_row(oscillator(2, omega=9.0).cfg.connections[1].transform).passed is False


@pytest.mark.parametrize(
    ("rmse", "hz", "passed"), [(0.09, 1.65, [True, True]), (0.11, 1.6, [False, True]), (0.05, 1.7, [True, False])]
)
def test_every_seed_must_reach_the_bars(rmse, hz, passed):
    lines = [
        {"seed": seed, "recurrent": recurrent, "rmse": rmse if seed else 0.05, "worst": 0.1, "amplitude": 0.8}
        | {"hz": hz if seed else 1.59}
        for seed in (0, 1)
        for recurrent in (result.SOLVED, result.CUT, result.OF_SHUFFLED)
    ]
    found = pd.DataFrame(lines)
    assert [row.passed for row in result.rows_of(found, found) if row.bar] == passed
