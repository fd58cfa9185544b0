# %% [markdown]
# # A population of spiking cells that computes
#
# The Neural Engineering Framework (Eliasmith and Anderson, 2003) in five steps: cells with preferred directions
# represent a number; linear decoders read it; the same decoders, fitted to a function of it, make a connection compute;
# a connection back to itself makes a memory or an oscillator; and what its cells do is recorded like any other
# subject's, so that the decoders of a neuroscientist read it.
#
# Run it cell by cell, or with `python docs/examples/spiking_population.py`. It leaves a run in the folder named by the
# environment variable `FOLDER` (a new temporary one where there is none); `QUICK=1` makes everything smaller.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from models import TrainConfig, train
from models.spiking import (
    ConnectionConfig,
    LIFRate,
    PopulationConfig,
    SpikingNetwork,
    SpikingNetworkConfig,
    integrator,
    oscillator,
)
from models.tasks import BandLimited
from probes.population import KalmanFilter, PoissonBayes, WienerFilter, decoding_report
from workbench.activations import harvest
from workbench.cli.main import main as workbench
from workbench.runs import Run

folder = Path(os.environ.get("FOLDER") or tempfile.mkdtemp()) / "integrator"
quick = bool(os.environ.get("QUICK"))

# %% [markdown]
# ## A cell
#
# A leaky integrate-and-fire cell fires at 1/(τ_ref + τ_rc ln(1 + 1/(J − 1))) for a current J above its threshold of 1.
# A cell with a preferred direction e, a gain and a bias turns what the population is told, x, into
# J = gain·(x·e) + bias.

# %%
currents = torch.tensor([0.9, 1.1, 2.0, 5.0], dtype=torch.float64)
for current, rate in zip(currents.tolist(), LIFRate().rates(currents).tolist(), strict=True):
    print(f"J = {current}: {rate:6.2f} Hz")

# %% [markdown]
# ## What a population represents
#
# Cells are drawn from a seed: directions on the sphere, highest rates and intercepts (where each begins to fire) from
# ranges. Their decoders are those of regularised least squares on the rates at many points. The more cells, the smaller
# what no decoder can undo, the distortion: its mean square falls as 1/N². So it does here, as long as the noise for
# which the decoders are made is small.


# %%
def representing(n, seed):
    """A population of rate cells that represents one number."""
    cells = PopulationConfig(n_neurons=n, neuron="lif_rate", regularisation=1e-3, seed=seed)
    listens = ConnectionConfig(pre="input", post="cells", synapse=None)
    return SpikingNetwork(SpikingNetworkConfig(d_in=1, populations={"cells": cells}, connections=(listens,)))


x = torch.linspace(-1, 1, 501, dtype=torch.float64)[:, None]
for n in (10, 20, 40, 80, 160):
    populations = [representing(n, seed).population("cells") for seed in range(3 if quick else 10)]
    told = torch.stack([cells.activities(x) @ cells.decoders.double() for cells in populations])
    print(f"{n:4d} cells: mean squared distortion {float((told - x).square().mean()):.1e}")

# %% [markdown]
# ## A function on the way
#
# Decoders need not give x. A connection from `a` to `b` whose decoders were solved for x² makes b represent the square
# of what a is told; both spike, and each cell hears the others through a synapse of 5 ms. The weights between all cells
# are the product of decoders and encoders, of rank one: they are kept as the two factors, and the 200 × 200 matrix that
# they stand for is only made when it is asked for.

# %%
squaring = SpikingNetwork(
    SpikingNetworkConfig(
        d_in=1,
        populations={"a": PopulationConfig(n_neurons=200), "b": PopulationConfig(n_neurons=200, synapse=0.02)},
        connections=(
            ConnectionConfig(pre="input", post="a", synapse=None),
            ConnectionConfig(pre="a", post="b", function="square", synapse=0.005),
        ),
    )
)
slow = torch.sin(2 * np.pi * torch.arange(1000) / 1000)[None, :, None]
said = squaring(slow)
late = said[0, 200:, 0] - slow[0, 200 - 25 : -25, 0].square()  # synapses make it 25 ms late
print(f"x² through 400 spiking cells: root mean square error {float(late.square().mean().sqrt()):.3f}")
weights = squaring.weights("a_to_b")
print(f"weights {list(weights.shape)}, rank {int(torch.linalg.matrix_rank(weights))}")

# %% [markdown]
# Any linear regressor of scikit-learn, or `OptimalLinearDecoder`, can take the place of the usual decoders:
# `squaring.connect("a", "b", decoder, function=…)`.
#
# ## A population that talks to itself
#
# A synapse is a low-pass filter with a time constant τ. A population that tells itself τ f(x) + x through it therefore
# follows dx/dt = f(x). With f = 0 it keeps what it was told; with a rotation it oscillates.

# %%
kick = BandLimited(objective="oscillation", d=2)
turning = oscillator(200, omega=10.0)
batch = kick.batch(8, seed=0)
said = turning(batch["input"])
phase = np.unwrap(np.angle(said[..., 0].numpy() + 1j * said[..., 1].numpy()), axis=1)
hertz = -(phase[:, -1] - phase[:, 300]) / (2 * np.pi * (phase.shape[1] - 301) * kick.dt)
print(f"oscillator: {hertz.mean():.3f} Hz, asked for {10 / (2 * np.pi):.3f}")

# %%
task = BandLimited(objective="integral", n_steps=600 if quick else 1000)
memory = integrator(100 if quick else 200)
data = task.dataset(8 if quick else 48, 4 if quick else 16, seed=0)
log = train(memory, data, TrainConfig(n_steps=0), run=folder, task=task)
print(
    f"integrator: held-out error {log['heldout_loss'].iloc[-1] ** 0.5:.3f} (root mean square), "
    f"{log['heldout_accuracy'].iloc[-1]:.0%} of the steps within a tenth"
)

# %% [markdown]
# Nothing was learned: training of no steps writes the subject and its data into a run, and measures it.
#
# ## The recording
#
# `harvest` records any hook of any subject. Here it is the spikes: a row a step of 1 ms, a column a cell, beside the
# truth of that step.

# %%
run = Run.open(folder)
hook = "populations.state.hook_spikes"
store = harvest(
    run.model(),
    run.dataset(),
    hook,
    run.path_of("activations", "spikes"),
    inputs=run.inputs(run.current("dataset"), run.current("model")),
)
about = store.columns("x", "seq").to_pandas()
spikes, truth, sequence = store[hook][:].numpy(), about["x"].to_numpy(), about["seq"].to_numpy()
print(f"{spikes.shape[0]:,} steps of {spikes.shape[1]} cells, {1000 * spikes.mean():.0f} spikes a second and cell")

# %% [markdown]
# ## Read like an animal's
#
# From here on it is a neuroscientist's recording. A bin of 20 ms has a few spikes of each cell; cells that never spike
# are left out (those that only begin to fire beyond what these signals reach). Groups are the
# sequences: no filter looks from one into another, and whole sequences are held out. Integrals start at zero in each of
# them, so that the variable moved within its own sequence still agrees a little with where all of them start:
# `shift="recording"` gives a sequence the variable of another one.

# %%
per_bin = 20
counts = spikes.reshape(-1, per_bin, spikes.shape[1]).sum(1)
counts = counts[:, counts.sum(0) > 10]
x, groups = truth[per_bin - 1 :: per_bin], sequence[::per_bin]
decoders = {
    "Wiener filter": WienerFilter(before=5),
    "Kalman filter": KalmanFilter(shrinkage=0.1),
    "Poisson–Bayes": PoissonBayes(30, dt=per_bin * task.dt),
    "Poisson–Bayes, continuous": PoissonBayes(30, dt=per_bin * task.dt, continuity="fit"),
}
for name, decoder in decoders.items():
    report = decoding_report(
        decoder, counts, x, groups=groups, by_group=True, shift="recording", n_shuffles=1 if quick else 10
    )
    own, shuffled = (report[report["variant"] == which].iloc[0] for which in ("decoder", "shuffled"))
    print(f"{name:<26}R² {own['r2']:.3f} (shuffled {shuffled['r2']:+.2f}), error {own['error']:.3f}")

# %% [markdown]
# A linear filter reads best here, because these cells were made to be read linearly; and they tell so much in 20 ms
# that continuity has nothing to add. The network's own decoders, solved from rates and never from these spikes, have
# read it all along: the hook `populations.state.hook_decoded` is what they say.
#
# ## What the explorer opens
#
# The verb `workbench decode` does the same to every hook of a recording, maps every cell's tuning, and leaves an
# analysis that the explorer's page *Population* shows. In a shell it is
# `workbench decode --run FOLDER --variables x`; a script may call it too.

# %%
workbench(
    ["decode", "--run", str(folder), "--variables", "x", "--decoders", "wiener", "poisson_bayes"]
    + (["--shuffles", "1", "--rows", "4000", "--no-tuning"] if quick else ["--shuffles", "5", "--rows", "20000"])
)
print(f"now open it: workbench explore --run {folder}")
