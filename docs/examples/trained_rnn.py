# %% [markdown]
# # What a trained recurrent network does with its states
#
# A network that keeps three bits: each of three lines brings pulses of −1 and 1, and the line's output must be the sign
# of its last pulse. Nobody tells it how. Sussillo and Barak (2013) looked for the states that a step leaves where they
# are, and found the program: a stable point for each of the eight memories, and saddles between them over which a pulse
# must carry the state. Here the network is trained, taken apart in the same way, and pushed.
#
# Run it cell by cell, or with `python docs/examples/trained_rnn.py`. It leaves a run in the folder named by the
# environment variable `FOLDER` (a new temporary one where there is none); `QUICK=1` trains for a shorter time.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from models import train
from models.recipes import get
from models.tasks import FlipFlop
from workbench.cli.main import main as workbench
from workbench.dynamics import (
    PrincipalAxes,
    find_fixed_points,
    perturb,
    read_dynamics,
    run_states,
    time_constants,
    unstable_manifolds,
)
from workbench.figures import eigenvalue_table, spectrum, state_portrait

folder = Path(os.environ.get("FOLDER") or tempfile.mkdtemp()) / "flip-flop"
quick = bool(os.environ.get("QUICK"))

# %% [markdown]
# ## Training
#
# A recipe pairs a subject, a task and a training that are known to work. `run=` makes a run of it: data, weights,
# checkpoints, losses. The same cell again finds it there and trains nothing.

# %%
recipe = get("flip-flop-rnn").with_changes(n_steps=500 if quick else None)
data = recipe.data()
model = recipe.build(data)
log = train(model, data, recipe.training, run=folder, task=recipe.task)
print(f"{model.cfg.d_model} tanh units, accuracy {log['heldout_accuracy'].iloc[-1]:.3f} on sequences never seen")

held_out = data.split("test")
paths = run_states(model, held_out)
axes = PrincipalAxes.of(paths.at_real())
print(f"three of {model.cfg.d_model} axes hold {axes.explained[:3].sum():.0%} of the states' variance")

# %% [markdown]
# ## Fixed points
#
# From 1,024 states (those it goes through, with noise) a damped Newton method goes down q = ½‖x − F(x)‖², F being a
# step without any pulse. What moves less than the tolerance is a fixed point; the eigenvalues of ∂F/∂x there say what
# becomes of a small push: it fades where all |λ| < 1, and grows along every mode with |λ| > 1.

# %%
points = find_fixed_points(model, held_out, n_starts=512 if quick else 1024)
print(points.table().groupby(["kind", "n_unstable"]).agg(points=("point", "size"), greatest_q=("q", "max")))

with torch.no_grad():
    memories = model.unembed(points.states[points.stable].float()[None])[0].numpy()
print("what the output says at the stable points:")
print(np.unique(memories.round(1), axis=0))

# %% [markdown]
# The eight corners of a cube. How firmly each is held is a matter of its slowest mode: its time constant −1/ln|λ| says
# in how many steps a push along it falls to 1/e. At a saddle one mode grows.

# %%
slowest = time_constants(points.eigenvalues.numpy())[:, 0]
saddles = np.flatnonzero(points.n_unstable == 1)
print(f"stable points: slowest mode {slowest[points.stable].min():.1f} to {slowest[points.stable].max():.1f} steps")
if len(saddles):
    print(f"saddles: the mode that grows does so e-fold in {-slowest[saddles].max():.1f} steps at the slowest")

# %% [markdown]
# ## Who is joined to whom
#
# Beside a saddle the state leaves along the mode that grows, one way or the other. Followed forward, the two ways end
# at two memories. If the network computes what it should, these differ in a single bit: they are the ends of an edge.

# %%
manifolds = unstable_manifolds(model, points)
bits = {int(point): memory > 0 for point, memory in zip(np.flatnonzero(points.stable), memories, strict=True)}
edges = []
for saddle in saddles.tolist():
    ends = sorted({end for point, end in manifolds.joined() if point == saddle and end in bits})
    if len(ends) == 2:
        apart = int((bits[ends[0]] != bits[ends[1]]).sum())
        print(f"saddle {saddle}: joins memories {ends[0]} and {ends[1]}, {apart} bit{'s' * (apart != 1)} apart")
        if apart == 1:
            edges.append(ends)
print(f"{len(edges)} of the cube's 12 edges have their saddle")

# %% [markdown]
# ## Pushed
#
# A claim about dynamics is tested by disturbing them. Sequences with pulses at their first step only are in a memory,
# and stay; at step 20 their state is pushed towards the memory at the other end of an edge, and along random directions
# as far. A push that is too short for the saddle fades, never slower than the memory's slowest mode; one that reaches
# beyond it does not come back: what was remembered is another thing.

# %%
silence = FlipFlop(p=0.0, n_steps=60).dataset(64, 0, seed=1)
here, there = edges[0]
between = points.states[there] - points.states[here]
remembered = silence.select(((silence.targets[:, 0] > 0) == torch.tensor(bits[here])).all(1).nonzero()[:, 0])
print(f"{len(remembered)} sequences in memory {here}; memory {there} is {float(between.norm()):.2f} away")
for share in (0.2, 0.7):
    found = perturb(model, remembered, {"edge": between}, at=20, amount=share * float(between.norm()))
    later = found[found["after"] == 35].groupby("variant")["distance"].mean()
    print(
        f"pushed {share:.0%} of the way: 35 steps later {later['direction']:.2f} from where it would be "
        f"({later['random']:.2f} after random pushes)"
    )
along = {"edge": between, "slowest mode": points.right[here, :, 0].real}
small = perturb(model, remembered, along, at=20, amount=1e-2)
rates = small[small["after"].between(5, 12)].groupby("direction")["growth"].mean()
print(
    f"small pushes fade by e^{rates['slowest mode']:.2f} a step along the slowest mode (its λ says "
    f"e^{-1 / slowest[here]:.2f}), by e^{rates['edge']:.2f} along the edge"
)

# %% [markdown]
# ## The same by a verb, and what the explorer opens
#
# `workbench dynamics` does all of it, holds it against the untrained network, and adds tests for line and ring
# attractors, the units that follow labels, and what the loss is without them. The explorer's page *Dynamics* shows what
# it leaves. In a shell: `workbench dynamics --run FOLDER`.

# %%
workbench(["dynamics", "--run", str(folder)] + (["--starts", "128", "--tokens", "3200", "--no-units"] if quick else []))
result = read_dynamics(folder / "analyses" / "dynamics")
state_portrait(
    result.portrait[result.portrait["variant"] == "trained"],
    result.table[result.table["variant"] == "trained"],
    label="memory",
    explained=result.explained["trained"],
).save(folder.parent / "portrait.html")
trained = eigenvalue_table(points.eigenvalues.numpy(), points.kind)
spectrum(trained).save(folder.parent / "spectrum.json")
print(f"portrait.html and spectrum.json in {folder.parent}; now open it: workbench explore --run {folder}")
