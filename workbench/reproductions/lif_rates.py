"""Leaky integrate-and-fire cells: their rate against published values, their spikes against their rate."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.spiking import LIF, HodgkinHuxley, LIFRate
from models.spiking.neurons import Neuron
from workbench.figures import agreement
from workbench.reproductions.base import Bench, Row, spread

TITLE = "A cell's rate in closed form, and its spikes"
PAPER = (
    "Eliasmith & Anderson 2003, Neural Engineering (MIT Press), chapter 4; Hodgkin & Huxley 1952 (J. Physiol. 117:500)"
)

DT = 0.001
# Currents in units of the threshold, and the rates (Hz) that τ_rc = .02 s and τ_ref = .002 s give.
GOLDENS = {1.1: 20.016852, 1.5: 41.714907, 2.0: 63.040002, 5.0: 154.729995, 10.0: 243.474262}
# Largest rate and intercept, and the gain and bias that follow.
TUNED = {
    (200.0, -0.5): (4.11944132, 3.05972066),
    (300.0, 0.0): (14.50555514, 1.0),
    (400.0, 0.5): (79.00416666, -38.50208333),
}
ROUNDING = 1e-7
SECONDS, N_CELLS, HIGHEST = 1.0, 2000, 30.0
HZ, SHARE = 1.0, 0.02
# µA/cm²: some below the onset of steady firing, at 6.3.
CURRENTS = (4.0, 5.5, 6.0, 6.5, 7.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)
SETTLED = 0.5


def reproduce(bench: Bench) -> list[Row]:
    """Compare the closed form with published values, spikes with the closed form, and read the axon's curve."""
    lines = []
    for seed in range(5 if bench.full else 1):
        rng = np.random.default_rng(seed)
        current = torch.from_numpy(rng.uniform(0, HIGHEST, N_CELLS))
        counted = counted_rates(LIF(), current, torch.from_numpy(rng.uniform(0, 1, N_CELLS)), SECONDS)
        rate = LIFRate().rates(current)
        dealt = rate[torch.from_numpy(rng.permutation(N_CELLS))]
        columns = {"current": current, "counted": counted, "rate": rate, "of_another": dealt}
        lines.append(pd.DataFrame({"seed": seed} | {name: values.numpy() for name, values in columns.items()}))
    found = pd.concat(lines, ignore_index=True)
    first = found[found["seed"] == 0]
    pairs = {"same current": first["rate"], "another cell's current": first["of_another"]}
    drawn = pd.concat([first[["counted"]].assign(told=told, of=of) for of, told in pairs.items()], ignore_index=True)
    figure = agreement(drawn, "told", "counted", x_title="closed form (Hz)", y_title="spikes in a second")
    bench.table("spikes_against_rate", found, figure)
    axon = firing_curve(2.0 if bench.full else 0.5)
    bench.table("hodgkin_huxley", axon)
    return [*closed_form_rows(), *spike_rows(found), axon_row(axon)]


def counted_rates(
    neuron: Neuron,
    current: Float[Tensor, " cell"],
    start: Float[Tensor, " cell"],
    seconds: float,
    settled: float = 0.0,
) -> Float[Tensor, " cell"]:
    """Spikes a second at constant currents, counted in steps of a millisecond once `settled` seconds have passed."""
    state = neuron.begin(start, 1)
    spikes = torch.zeros_like(current)
    skipped, n_steps = round(settled / DT), round((settled + seconds) / DT)
    for t in range(n_steps):
        neuron.step(current[None], state, DT)
        if t >= skipped:
            spikes += state.spikes[0]
    return spikes / seconds


def firing_curve(seconds: float) -> pd.DataFrame:
    """Steady rates of Hodgkin and Huxley's axon, from rest: `current` in µA/cm², `rate` in Hz."""
    current = torch.tensor(CURRENTS, dtype=torch.float64)
    rate = counted_rates(HodgkinHuxley(), current, torch.zeros_like(current), seconds, SETTLED)
    return pd.DataFrame({"current": CURRENTS, "rate": rate.numpy()})


def closed_form_rows() -> list[Row]:
    """Rates, gains and biases against values computed elsewhere."""
    cell = LIFRate()
    rates = cell.rates(torch.tensor(list(GOLDENS), dtype=torch.float64))
    off = float((rates / torch.tensor(list(GOLDENS.values()), dtype=torch.float64) - 1).abs().max())
    largest, intercepts = torch.tensor(list(TUNED), dtype=torch.float64).T
    gain, bias = torch.tensor(list(TUNED.values()), dtype=torch.float64).T
    got = cell.gain_and_bias(largest, intercepts)
    tuned = float(torch.stack([got[0] / gain - 1, got[1] / bias - 1]).abs().max())
    shown = ", ".join(f"{rate:.3f}" for rate in rates)
    return [
        Row(
            f"rate of a LIF cell at {', '.join(f'{j:g}' for j in GOLDENS)} thresholds, Hz",
            ", ".join(f"{rate:.3f}" for rate in GOLDENS.values()),
            f"{shown}; off by {off:.0e} at most",
            f"≤ {ROUNDING:.0e} of it",
            off <= ROUNDING,
        ),
        Row(
            "gains and biases from largest rates and intercepts",
            "closed form",
            f"off by {tuned:.0e} at most",
            f"≤ {ROUNDING:.0e} of it",
            tuned <= ROUNDING,
        ),
    ]


def spike_rows(found: pd.DataFrame) -> list[Row]:
    """Spikes that were counted against the rate; against another cell's rate."""

    def within(column: str) -> list[float]:
        return _close(found, column).groupby(found["seed"]).mean().tolist()

    off = (found["counted"] - found["rate"]).abs().groupby(found["seed"])
    return [
        Row(
            f"spiking against rate over {SECONDS:g} s: cells within {HZ:g} Hz + {SHARE:.0%}; {off.ngroups} seed(s) of "
            f"{N_CELLS:,} cells up to {HIGHEST:g} thresholds",
            "one rate",
            f"{spread(within('rate'))}; of another cell's rate {spread(within('of_another'))}",
            "all in every seed",
            bool(_close(found, "rate").all()),
        ),
        Row(
            "the same: mean and largest difference, Hz",
            "",
            f"{spread(off.mean().tolist(), 2)}, {spread(off.max().tolist(), 2)}",
        ),
    ]


def axon_row(axon: pd.DataFrame) -> Row:
    """Where steady firing sets in, and how it goes on."""
    fires = axon[axon["rate"] > 0]
    silent = axon.loc[axon["rate"] == 0, "current"].max()
    shown = ", ".join(f"{rate:.0f} at {current:g}" for current, rate in fires[["current", "rate"]].to_numpy())
    return Row(
        "Hodgkin and Huxley's axon: steady rate, Hz, at µA/cm²",
        "firing sets in at once, at a rate far from 0",
        f"none to {silent:g}; {shown}",
    )


def _close(found: pd.DataFrame, column: str) -> pd.Series:
    return (found["counted"] - found[column]).abs() <= HZ + SHARE * found[column]
