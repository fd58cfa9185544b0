"""Spiking populations that follow a differential equation: one that holds a number, one that turns."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.spiking import SpikingNetwork, integrator, oscillator
from models.spiking.dynamics import NAME
from probes.population import OptimalLinearDecoder
from workbench.figures import time_courses
from workbench.reproductions.base import Bench, Row, spread

TITLE = "A differential equation in spikes: an integrator and an oscillator"
PAPER = "Eliasmith & Anderson 2003, Neural Engineering (MIT Press), chapter 8"

DT, TAU = 0.001, 0.1
N_INTEGRATOR, N_OSCILLATOR = 100, 200
# Every so often the integral goes to another value in [−.8, .8], in the first half of the time, and stays there.
N_TRIALS, N_STEPS, EVERY, LARGEST = 16, 4000, 500, 0.8
OMEGA, KICK, KICKED, WATCHED = 10.0, 10.0, 100, 5000
SETTLED = 1000
TRANSFORM = [[1.0, 1.0], [-1.0, 1.0]]
WITHIN, MOST_RMSE = 0.05, 0.1
# The oscillator turns one and a half times a second: a point every so many steps draws it.
SHOWN_EVERY = 10
# The recurrent connection as it was solved for, and what it is held against.
SOLVED, CUT, OF_SHUFFLED = "solved", "cut", "decoders of shuffled points"


def reproduce(bench: Bench) -> list[Row]:
    """Run both networks as they are, without their recurrent connection, and with one that was solved for otherwise."""
    held, turned, traces = [], [], []
    for seed in range(5 if bench.full else 1):
        told, truth = movements(seed)
        kick = torch.zeros(1, KICKED + WATCHED, 2)
        kick[:, :KICKED, 0] = KICK
        for recurrent in (SOLVED, CUT, OF_SHUFFLED):
            about = {"seed": seed, "recurrent": recurrent}
            error = with_connection(integrator(N_INTEGRATOR, tau=TAU, seed=seed), recurrent, seed)(told)[..., 0] - truth
            rmse = error.square().mean(1).sqrt()
            held.append(about | {"rmse": float(error.square().mean().sqrt()), "worst": float(rmse.max())})
            network = with_connection(oscillator(N_OSCILLATOR, omega=OMEGA, tau=TAU, seed=seed), recurrent, seed)
            states = network(kick)[0, KICKED:].double().numpy()
            turned.append(about | turning(states[SETTLED:]))
            if seed == 0:
                time = np.arange(len(states)) * DT
                traces.append(pd.DataFrame(about | {"time": time, "x": states[:, 0], "y": states[:, 1]}))
    integrators, oscillators = pd.DataFrame(held), pd.DataFrame(turned)
    bench.table("integrator", integrators)
    bench.table("oscillator", oscillators)
    turns = pd.concat(traces, ignore_index=True)
    shown = turns.iloc[::SHOWN_EVERY].melt(["recurrent", "time"], ["x", "y"], "of")
    bench.table("turning", turns, time_courses(shown, "recurrent", x_title="time after the kick (s)"))
    transform = oscillator(2, omega=OMEGA, tau=TAU).cfg.connections[1].transform
    return [transform_row(transform), *rows_of(integrators, oscillators)]


def movements(seed: int) -> tuple[Float[Tensor, "trial step 1"], Float[Tensor, "trial step"]]:
    """What integrators are told, and the integral of it up to and with each step."""
    rng = np.random.default_rng(seed)
    goals = rng.uniform(-LARGEST, LARGEST, (N_TRIALS, N_STEPS // EVERY))
    step = np.diff(goals, prepend=0.0, axis=1) / (EVERY // 2)
    moving = np.arange(EVERY) < EVERY // 2
    told = (step[:, :, None] * moving).reshape(N_TRIALS, N_STEPS)
    return torch.from_numpy(told / DT).float()[..., None], torch.from_numpy(told.cumsum(1)).float()


def with_connection(network: SpikingNetwork, recurrent: str, seed: int) -> SpikingNetwork:
    """The network with its recurrent connection as it is, without any, or with decoders of points that were dealt."""
    cfg = next(made for made in network.cfg.connections if made.pre == NAME)
    population = network.population(NAME)
    points = population.points.double()
    rates = population.activities(points).numpy()
    if recurrent == OF_SHUFFLED:
        points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))]
        decoder = OptimalLinearDecoder(population.cfg.regularisation).fit(rates, points.numpy())
        network.connect(NAME, NAME, decoder=decoder, transform=cfg.transform, synapse=cfg.synapse)
    elif recurrent == CUT:
        network.connect(NAME, NAME, transform=np.zeros((len(cfg.transform), len(cfg.transform))), synapse=cfg.synapse)
    return network


def turning(states: Float[np.ndarray, "step 2"]) -> dict[str, float]:
    """How fast two numbers turn (`hz`, clockwise), and how far from the origin they are.

    The speed is the slope of their angle: what changes direction as often as it keeps it has none.
    """
    angle = np.unwrap(np.arctan2(states[:, 1], states[:, 0]))
    slope = np.polyfit(np.arange(len(angle)) * DT, angle, 1)[0]
    return {"hz": float(-slope / (2 * np.pi)), "amplitude": float(np.hypot(*states.T).mean())}


def transform_row(transform: list[list[float]] | None) -> Row:
    """The oscillator's recurrent transform, A′ = τA + I."""
    exact = bool(np.allclose(transform or np.nan, TRANSFORM, rtol=0, atol=1e-12))
    return Row(f"recurrent transform of {OMEGA:g} rad/s at τ = {TAU} s", str(TRANSFORM), str(transform), "equal", exact)


def rows_of(integrators: pd.DataFrame, oscillators: pd.DataFrame) -> list[Row]:
    """How well the integral is held; how fast the oscillator turns."""

    def of(found: pd.DataFrame, column: str, recurrent: str = SOLVED) -> list[float]:
        return found.loc[found["recurrent"] == recurrent, column].tolist()

    def controls(found: pd.DataFrame, column: str, digits: int = 3) -> str:
        return "; ".join(f"{name} {spread(of(found, column, name), digits)}" for name in (CUT, OF_SHUFFLED))

    goal = OMEGA / (2 * np.pi)
    off = np.abs(np.divide(of(oscillators, "hz"), goal) - 1)
    rmse = of(integrators, "rmse")
    return [
        Row(
            f"integrator, {N_INTEGRATOR} spiking cells: RMSE over {N_STEPS * DT:g} s within ±{LARGEST}; "
            f"{len(rmse)} seed(s) of {N_TRIALS} trials",
            "holds what it was told",
            f"{spread(rmse)}; recurrent connection {controls(integrators, 'rmse')}",
            f"< {MOST_RMSE} in every seed",
            bool(np.max(rmse) < MOST_RMSE),
        ),
        Row("the same in the worst trial", "", spread(of(integrators, "worst"))),
        Row(
            f"oscillator, {N_OSCILLATOR} spiking cells: turns a second over {(WATCHED - SETTLED) * DT:g} s",
            f"{goal:.3f}",
            f"{spread(of(oscillators, 'hz'))}; recurrent connection {controls(oscillators, 'hz')}",
            f"± {WITHIN:.0%} in every seed",
            bool(np.max(off) <= WITHIN),
        ),
        Row(
            "its amplitude in these seconds, of a radius of 1",
            "",
            f"{spread(of(oscillators, 'amplitude'), 2)}; recurrent connection {controls(oscillators, 'amplitude', 2)}",
        ),
    ]
