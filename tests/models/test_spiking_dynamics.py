"""Populations that follow differential equations: integrator, oscillator, and one that is not linear."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from models.spiking import SpikingNetwork, dynamical_system, integrator, linear_system, oscillator


@pytest.mark.parametrize("seed", [0, 1])
def test_an_integrator_adds_up_its_input_and_holds_it(seed):
    u = torch.zeros(3, 1500, 1)
    u[:, 100:300] = torch.tensor([4.0, -3.0, 2.0])[:, None, None]
    u[:, 900:1000] = torch.tensor([-6.0, 2.0, 2.0])[:, None, None]
    truth = u.cumsum(1) * 0.001
    assert truth.abs().max().item() == pytest.approx(0.8, abs=1e-3)
    error = integrator(100, seed=seed)(u) - truth
    assert error.square().mean().sqrt() < 0.1


@pytest.mark.usefixtures("as_in_a_script")
def test_an_oscillator_turns_at_its_frequency():
    u = torch.zeros(2, 4000, 2)
    u[0, :100, 0] = u[1, :100, 1] = 10
    out = oscillator(200)(u)[:, 500:]
    angle = np.unwrap(torch.atan2(out[..., 1], out[..., 0]).numpy(), axis=1)
    hertz = -(angle[:, -1] - angle[:, 0]) / (angle.shape[1] - 1) * 1000 / (2 * math.pi)
    assert hertz == pytest.approx([1.592] * 2, rel=0.05)
    assert 0.6 < out.norm(dim=-1).mean() < 1.2


def test_the_recurrent_transform_is_tau_a_plus_one_and_the_inputs_tau_b():
    cfg = linear_system([[0, 10], [-10, 0]], [[2.0], [0.0]], tau=0.1)
    into, again = cfg.connections
    assert again.transform == [[1, 1], [-1, 1]]
    assert into.transform == [[0.2], [0.0]]
    assert into.synapse == again.synapse == 0.1


def test_a_leaky_system_forgets_at_its_own_rate():
    cfg = linear_system([[-5.0]], [[5.0]], n_neurons=300, neuron="lif_rate")
    out = SpikingNetwork(cfg)(torch.full((1, 600, 1), 0.7))[0, :, 0]
    truth = 0.7 * (1 - torch.exp(-5 * torch.arange(600) / 1000))
    assert (out - truth).abs().max() < 0.06


@pytest.mark.usefixtures("as_in_a_script")
def test_any_differential_equation_is_followed():
    """A pendulum with friction that is pushed: scipy's solution beside ours."""

    def f(x, u):
        return torch.stack([6 * x[:, 1], -6 * torch.sin(2 * x[:, 0]) / 2 - 2 * x[:, 1] + 6 * u[:, 0]], 1)

    time = np.arange(1500) / 1000
    push = 0.4 * np.sin(5 * time)
    net = dynamical_system(f, 2, 1, n_neurons=800, neuron="lif_rate", radius=1.2, input_synapse=None)
    out = net(torch.tensor(push, dtype=torch.float32)[None, :, None])[0]

    def truth(t, x):
        u = torch.tensor([[np.interp(t, time, push)]])
        return f(torch.tensor(x)[None], u)[0].numpy()

    path = solve_ivp(truth, (0, time[-1]), [0.0, 0.0], t_eval=time, max_step=0.01).y.T
    assert np.abs(path).max() > 0.3
    assert np.sqrt(np.mean((out[:, :2].numpy() - path) ** 2)) < 0.06
    assert out[:, 2].numpy() == pytest.approx(push, abs=0.1)


def test_a_network_of_given_decoders_keeps_them_when_it_is_drawn_again():
    net = dynamical_system(lambda x, u: -x, 1, 1, n_neurons=50)
    assert net.cfg.connections[-1].function == "given"
    assert net.connections["state_to_state"].decoders.abs().max() > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: linear_system([[0.0, 1.0]], [[1.0]]), "A must be square and B of as many rows"),
        (lambda: linear_system([[0.0]], [[1.0], [1.0]]), "A must be square and B of as many rows"),
        (lambda: dynamical_system(lambda x, u: x[:, :1], 2, 1), r"f makes \[1500, 1\] of states \[1500, 2\]"),
    ],
)
def test_what_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
