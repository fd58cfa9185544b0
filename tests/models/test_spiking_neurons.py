"""Cells and synapses: closed forms, published numbers, and integrators that others wrote."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.signal import lfilter

from models.spiking import LIF, HodgkinHuxley, LIFRate, LowPass
from models.spiking.hodgkin_huxley import CURVE, gate_rates


def run(cell, current, dt, start=0.0):
    """Spikes and voltages `[time, neuron]` at currents `[time, neuron]`."""
    current = torch.as_tensor(current, dtype=torch.float64)
    state = cell.begin(torch.full(current.shape[1:], start, dtype=torch.float64), 1)
    spikes, voltages = [], []
    for now in current:
        cell.step(now[None], state, dt)
        spikes.append(state.spikes[0].clone())
        voltages.append(None if state.voltage is None else state.voltage[0].clone())
    return torch.stack(spikes), voltages[0] if voltages[0] is None else torch.stack(voltages)


def test_the_rate_of_a_lif_cell_is_the_closed_form():
    current = torch.tensor([-3.0, 0.99, 1.0, 1.1, 1.5, 2, 5, 10], dtype=torch.float64)
    golden = [0, 0, 0, 20.016852, 41.714907, 63.040002, 154.729995, 243.474262]
    assert LIFRate().rates(current).tolist() == pytest.approx(golden, abs=1e-6)


def test_gains_and_biases_follow_from_maximal_rates_and_intercepts():
    rates, intercepts = torch.tensor([200.0, 300, 400]).double(), torch.tensor([-0.5, 0, 0.5]).double()
    gain, bias = LIF().gain_and_bias(rates, intercepts)
    assert gain.tolist() == pytest.approx([4.11944132, 14.50555514, 79.00416666], abs=1e-7)
    assert bias.tolist() == pytest.approx([3.05972066, 1, -38.50208333], abs=1e-7)


@pytest.mark.parametrize("cell", [LIFRate(), LIF(tau_rc=0.01, tau_ref=0.003), HodgkinHuxley()])
def test_a_cell_is_silent_below_its_intercept_and_fastest_at_its_maximal_rate(cell):
    rates = torch.linspace(*cell.max_rates, 5).double().clamp(max=0.9 * cell.fastest)
    intercepts = torch.linspace(-0.9, 0.9, 5).double()
    gain, bias = cell.gain_and_bias(rates, intercepts)
    torch.testing.assert_close(cell.rates(gain + bias), rates)
    assert (cell.rates(gain * (intercepts - 1e-9) + bias) == 0).all()
    assert (cell.rates(gain * (intercepts + 1e-3) + bias) > 0).all()


@pytest.mark.parametrize("tau_ref", [0.001, 0.002, 0.0037])
def test_a_spiking_cell_fires_at_the_closed_forms_rate(tau_ref):
    cell = LIF(tau_ref=tau_ref)
    current = torch.linspace(0.5, 40, 400).double()
    spikes, _ = run(cell, current.expand(1000, -1), 1e-3, start=0.5)
    rate = LIFRate(tau_ref=tau_ref).rates(current)
    assert set(spikes.unique().tolist()) == {0, 1}
    assert ((spikes.sum(0) - rate).abs() <= 1 + 0.02 * rate).all()
    long, _ = run(cell, current[::40].expand(4000, -1), 1e-3, start=0.5)
    torch.testing.assert_close(long.sum(0) / 4, rate[::40], atol=0.26, rtol=0)


def test_spikes_come_when_an_integrator_of_small_steps_says():
    """Under a current that stands still within a step, ours is exact: membrane and spike times both."""
    rng = np.random.default_rng(0)
    current = rng.uniform(0.5, 6, size=(200, 1))
    spikes, voltage = run(LIF(), current, 1e-3)
    v, free_at, now, found = 0.0, 0.0, 0.0, []
    reached = lambda t, v: v[0] - 1  # noqa: E731
    reached.terminal, reached.direction = True, 1
    for i, (J,) in enumerate(current):
        now, end = i * 1e-3, (i + 1) * 1e-3
        while now < end:
            now = max(now, min(free_at, end))
            if now >= end:
                break
            path = solve_ivp(lambda t, v, J=J: (J - v) / 0.02, (now, end), [v], events=reached, rtol=1e-10, atol=1e-12)
            v, now = path.y[0, -1], path.t[-1]
            if path.t_events[0].size:
                found.append(i)
                v, free_at = 0.0, now + 0.002
        assert voltage[i, 0].item() == pytest.approx(v, abs=1e-6)
    assert len(found) > 10
    assert spikes[:, 0].nonzero()[:, 0].tolist() == found


def test_a_membrane_is_not_driven_below_its_rest():
    _, voltage = run(LIF(), torch.full((100, 1), -50.0), 1e-3, start=0.5)
    assert voltage.min() == 0


@pytest.mark.parametrize("current", [0.0, 1.0, 1.5, 3.0])
def test_a_membrane_put_above_its_current_spikes_once_and_goes_on_as_ever(current):
    cell, told = LIF(), torch.full((1, 1), current, dtype=torch.float64)
    state = cell.begin(torch.tensor([5.0], dtype=torch.float64), 1)
    spikes = []
    for _ in range(500):
        cell.step(told, state, 1e-3)
        spikes.append(state.spikes.item())
        assert 0 <= state.voltage.item() <= 1
    assert spikes[:2] == [1, 0]
    assert sum(spikes[1:]) == pytest.approx(0.5 * LIFRate().rates(told).item(), abs=1)


def squid(t, y, J):
    """The equations of 1952 as they stand in textbooks, shifted to a rest of −65 mV."""
    v, m, h, n = y
    a_m, b_m = 0.1 * (v + 40) / (1 - math.exp(-(v + 40) / 10)), 4 * math.exp(-(v + 65) / 18)
    a_h, b_h = 0.07 * math.exp(-(v + 65) / 20), 1 / (1 + math.exp(-(v + 35) / 10))
    a_n, b_n = 0.01 * (v + 55) / (1 - math.exp(-(v + 55) / 10)), 0.125 * math.exp(-(v + 65) / 80)
    ion = 120 * m**3 * h * (v - 50) + 36 * n**4 * (v + 77) + 0.3 * (v + 54.387)
    return [J - ion, a_m * (1 - m) - b_m * m, a_h * (1 - h) - b_h * h, a_n * (1 - n) - b_n * n]


def test_hodgkin_and_huxleys_cell_rests_at_minus_65_mv():
    _, voltage = run(HodgkinHuxley(), torch.zeros(30, 1), 1e-3)
    assert voltage[-1].item() == pytest.approx(-65, abs=0.02)
    up, down = gate_rates(torch.tensor([-65.0]).double())["m"]
    assert (up / (up + down)).item() == pytest.approx(0.0529, abs=1e-4)


@pytest.mark.usefixtures("as_in_a_script")
def test_hodgkin_and_huxleys_cell_goes_where_scipy_takes_the_equations():
    J, steps = 10.0, 50
    gates = {k: (up / (up + down)).item() for k, (up, down) in gate_rates(torch.tensor([-65.0]).double()).items()}
    start = [-65, gates["m"], gates["h"], gates["n"]]
    path = solve_ivp(squid, (0, steps), start, args=(J,), method="LSODA", rtol=1e-8, atol=1e-8, dense_output=True)
    v = path.sol(np.linspace(0, steps, 1000 * steps + 1))[0]
    crossed = np.flatnonzero((v[:-1] < -20) & (v[1:] >= -20)) / 1000
    spikes, voltage = run(HodgkinHuxley(substep=1e-5), torch.full((steps, 1), J), 1e-3)
    ours = spikes[:, 0].nonzero()[:, 0].numpy()
    assert len(crossed) == len(ours) == 4
    assert np.abs(ours + 0.5 - crossed).max() <= 0.6, "the same milliseconds"
    assert v.max() == pytest.approx(40, abs=3)
    assert voltage.min().item() == pytest.approx(v.min(), abs=1)


@pytest.mark.usefixtures("as_in_a_script")
def test_firing_sets_in_at_once_and_grows_as_the_measured_curve_says():
    current = torch.tensor([2.0, 6.2, 7.0, 10.0, 20.0, 50.0, 90.0])
    spikes, _ = run(HodgkinHuxley(substep=4e-5), current.expand(250, -1), 1e-3)
    times = [column.nonzero()[:, 0] for column in spikes[50:].T]
    rate = torch.tensor([1000 * (len(t) - 1) / int(t[-1] - t[0]) if len(t) > 1 else 0.0 for t in times])
    expected = HodgkinHuxley().rates(current.double())
    assert expected[:2].tolist() == [0, 0]
    assert rate[:2].tolist() == [0, 0]
    assert ((rate - expected).abs() <= 1 + 0.02 * expected).all()
    assert (np.diff(CURVE, axis=0) > 0).all()


@pytest.mark.parametrize("gate", ["m", "n"])
def test_gates_are_smooth_where_their_formula_divides_nothing_by_nothing(gate):
    at = {"m": -40.0, "n": -55.0}[gate]
    near = torch.tensor([at - 1e-6, at, at + 1e-6], dtype=torch.float64)
    up, _ = gate_rates(near)[gate]
    assert up.tolist() == pytest.approx([{"m": 1.0, "n": 0.1}[gate]] * 3, rel=1e-6)
    v = torch.linspace(at - 0.1, at + 0.1, 401, dtype=torch.float64)
    slopes = gate_rates(v)[gate][0].diff()
    assert (slopes.diff().abs() < 1e-4 * slopes.abs().max()).all()


def test_a_synapse_is_a_low_pass_filter_with_zero_order_hold():
    x = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = math.exp(-0.001 / 0.01)
    expected = lfilter([1 - a], [1, -a], x.numpy(), axis=1)
    assert LowPass(0.01).filter(x, 0.001).numpy() == pytest.approx(expected)
    assert torch.equal(LowPass(None).filter(x, 0.001), x)
    step = LowPass(0.02).filter(torch.ones(1, 100, 1).double(), 0.001)[0, :, 0]
    assert step[19].item() == pytest.approx(1 - math.exp(-1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LIF(tau_rc=0), "tau_rc is 0: it must be above 0 seconds"),
        (lambda: LIF(tau_ref=-1), "tau_ref is -1: it must be above 0 seconds"),
        (lambda: HodgkinHuxley(substep=1e-3), "substep is 0.001: it must be above 0 and at most 0.0001 seconds"),
        (lambda: LowPass(0.0), "a synapse of 0.0 s: it must be above 0 seconds, or None"),
        (
            lambda: LIF().gain_and_bias(torch.tensor([600.0]), torch.tensor([0.0])),
            "a lif cell can only be asked for rates above 0 and below 500 Hz",
        ),
        (lambda: LIF().gain_and_bias(torch.tensor([100.0]), torch.tensor([1.0])), "an intercept is 1: a cell must"),
    ],
)
def test_what_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
