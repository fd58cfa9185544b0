# %% [markdown]
# # A recording, its tuning and what it tells
#
# You have spike counts and where the animal was. This notebook asks, in the order in which one would ask: which neurons
# are tuned to place, which to direction, which fire on a grid; how much of that is chance; how well the population as a
# whole tells the position, and how well it could.
#
# Only `probes` and NumPy are needed; pictures are drawn where the rest of the workbench is installed. Run it cell by
# cell, or from top to bottom with `python docs/examples/neuroscientist.py`. Figures go to the folder named by the
# environment variable `FOLDER` (a new temporary one where there is none); `QUICK=1` takes a shorter recording.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np

from probes.population import KalmanFilter, OptimalLinearDecoder, PoissonBayes, WienerFilter, decoding_report
from probes.tuning import (
    cramer_rao,
    curve_slopes,
    direction_tuning,
    grid_score,
    place_fields,
    poisson_information,
    spatial_information,
    tuning_curves,
    tuning_score_null,
)

folder = Path(os.environ.get("FOLDER") or tempfile.mkdtemp())
folder.mkdir(parents=True, exist_ok=True)
quick = bool(os.environ.get("QUICK"))

# %% [markdown]
# ## The recording
#
# There is no animal here, so the first cell makes one up: 20 minutes in a box of one metre, in bins of 100 ms; 40 place
# cells, 10 grid cells, 6 head-direction cells and 4 cells that fire at random. **Skip it if you have your own arrays**:
# everything below needs `counts [bins, neurons]`, `position [bins, 2]` in metres, `heading [bins]` in radians and `dt`.


# %%
def wander(n_bins, dt, rng):
    """A walk of .2 m/s that turns at random and is thrown back by the walls."""
    position, heading = np.empty((n_bins, 2)), np.empty(n_bins)
    place, angle = np.array([0.5, 0.5]), 0.0
    for t, turn in enumerate(rng.normal(0, 2.5 * np.sqrt(dt), n_bins)):
        angle += turn
        place = place + 0.2 * dt * np.array([np.cos(angle), np.sin(angle)])
        if (place < 0).any() or (place > 1).any():
            place = place.clip(0, 1)
            angle = np.arctan2(*(0.5 - place)[::-1]) + rng.normal(0, 0.5)
        position[t], heading[t] = place, angle % (2 * np.pi)
    return position, heading


def fire(position, heading, dt, rng):
    """Poisson counts of place, grid, head-direction and untuned cells."""
    centres = rng.random((40, 2))
    place = 15 * np.exp(-((position[:, None] - centres) ** 2).sum(-1) / (2 * 0.12**2))
    scale, phases = rng.uniform(0.35, 0.5, 10), rng.random((10, 2))
    axes = np.deg2rad([0, 60, 120])[:, None] + np.deg2rad(12)
    waves = np.concatenate([np.cos(axes), np.sin(axes)], 1) * 4 * np.pi / np.sqrt(3)
    along = np.einsum("kd,ngd->ngk", waves, position[:, None] - phases) / scale[:, None]
    grid = 20 * np.exp(np.cos(along).sum(-1) - 3)
    directed = 15 * np.exp(3 * (np.cos(heading[:, None] - rng.uniform(0, 2 * np.pi, 6)) - 1))
    untuned = np.full((len(position), 4), 3.0)
    return rng.poisson(dt * (0.3 + np.concatenate([place, grid, directed, untuned], axis=1)))


rng = np.random.default_rng(1)
dt = 0.1
position, heading = wander(5_000 if quick else 12_000, dt, rng)
np.savez(folder / "session.npz", counts=fire(position, heading, dt, rng), position=position, heading=heading, dt=dt)

# %%
session = np.load(folder / "session.npz")
counts, position, heading, dt = session["counts"], session["position"], session["heading"], float(session["dt"])
n_bins, n_neurons = counts.shape
print(f"{n_neurons} neurons, {n_bins * dt / 60:.0f} minutes, {counts.sum():,} spikes")

# %% [markdown]
# ## Tuning curves
#
# A rate map is spikes over seconds, bin by bin. `tuning_curves` does it in any number of dimensions; give `period` for
# a circular variable. Bins that nobody visited are NaN, not zero: silence and absence are not the same. `smoothing` is
# in metres, and smooths spikes and seconds alike.

# %%
n_side = 16 if quick else 20
box = {"n_bins": n_side, "range": (0, 1), "dt": dt}
maps = tuning_curves(counts, position, smoothing=0.04, **box)
print(f"{maps.visited.mean():.0%} of the bins were visited, the median one for {np.median(maps.occupancy):.1f} s")

# %% [markdown]
# ## Which of it is chance?
#
# Skaggs's information is never negative, and few spikes make it large. So it is held against what it would be if spikes
# knew nothing: the whole recording of spikes is turned round in time against the path, which keeps both as they are and
# breaks only what joins them. `corrected` is the information less the mean of these shuffles.

# %%
n_shuffles = 100 if quick else 200
information = tuning_score_null(spatial_information, counts, position, n_shuffles=n_shuffles, **box)
placed = information.p_value < 0.01
print(f"{placed.sum()} of {n_neurons} neurons tell the place better than their shuffles (p < .01)")
for name, cells in {
    "place": slice(0, 40),
    "grid": slice(40, 50),
    "direction": slice(50, 56),
    "untuned": slice(56, 60),
}.items():
    bits, corrected = information.score[cells].mean(), information.corrected[cells].mean()
    print(f"  {name:<10}{placed[cells].sum():3d} found, {bits:.2f} bits a spike, {corrected:+.2f} beyond chance")

# %% [markdown]
# The untuned cells have bits too, and beyond chance none: that is what the shuffles are for. A head-direction cell may
# pass, because an animal does not face every direction everywhere.
#
# ## Grids
#
# Gridness turns a map's autocorrelogram by 60° and 120°, where a hexagonal grid falls onto itself, and by 30°, 90° and
# 150°, where it does not. The field has two definitions, and both are here; neither is to be judged by zero. At the
# 95th percentile of chance, one in twenty of the other cells is found too.

# %%
gridness = tuning_score_null(grid_score, counts, position, n_shuffles=n_shuffles // 4, smoothing=0.04, **box)
is_grid = gridness.percentile >= 95
print(f"gridness beyond the 95th percentile of the shuffles: neurons {np.flatnonzero(is_grid).tolist()}")
strict = grid_score(maps, definition="extremes")
print(f"grid cells: {gridness.score[40:50].mean():.2f} (mean), {strict[40:50].mean():.2f} (extremes)")
n_rings = np.isfinite(gridness.score[:40]).sum()
print(f"by chance: {np.nanmean(gridness.shuffled):.2f}; {n_rings} of 40 place cells have a ring to be turned at all")

# %% [markdown]
# ## Fields and directions

# %%
fields = place_fields(maps)
of_place = [field for field in fields if field.neuron < 40]
print(f"{len(of_place)} fields in 40 place cells, {1e4 * np.median([f.size for f in of_place]):.0f} cm² the median one")
print(f"{len([f for f in fields if 40 <= f.neuron < 50])} fields in 10 grid cells")

turning = tuning_curves(counts, heading, n_bins=24, period=2 * np.pi, dt=dt)
direction = direction_tuning(turning)
print(f"head-direction cells, mean vector above .4: {np.flatnonzero(direction.is_head_direction()).tolist()}")

# %% [markdown]
# ## What the population tells
#
# Every decoder has the same two calls, `fit(X, y)` and `predict(X, return_std=True)`. `decoding_report` does what a
# reader of the paper would ask for: it holds out *blocks of time* (neighbouring bins are nearly the same, so that bins
# drawn at random would let a decoder remember), leaves a gap beside them, and fits the same decoder to positions that
# were moved against the spikes. A path is slow, and two slow things agree by chance: the shuffled R² says how much.

# %%
decoders = {
    "optimal linear": OptimalLinearDecoder(fit_intercept=True),
    "Wiener filter": WienerFilter(before=3, after=3),
    "Kalman filter": KalmanFilter(),
    "Poisson–Bayes": PoissonBayes(n_side, range=box["range"], dt=dt),
    "Poisson–Bayes, continuous": PoissonBayes(n_side, range=box["range"], dt=dt, continuity="fit"),
}
reports = {}
for name, decoder in decoders.items():
    reports[name] = decoding_report(decoder, counts, position, names=["x", "y"], gap=20, n_shuffles=1 if quick else 10)
    own, shuffled = (reports[name][reports[name]["variant"] == which] for which in ("decoder", "shuffled"))
    print(
        f"{name:<26}R² {own['r2'].mean():.2f} (shuffled {shuffled['r2'].mean():+.2f}), "
        f"error {100 * own['error'].mean():.1f} cm, {own['coverage'].mean():.0%} of positions in the 95% interval"
    )

# %% [markdown]
# Bumps are not linear in the place: the optimal linear decoder makes little of them, and a Wiener filter more, by
# averaging over seven bins. The Kalman filter averages too, but takes its errors for noise that is new in every bin,
# and so believes itself too much: look at its interval. The Bayesian decoder knows the bumps, from one bin alone; with
# continuity it also knows that the animal cannot be elsewhere 100 ms later.
#
# A circular variable needs nothing but its period. Six head-direction cells give the heading, the rest give little:

# %%
circular = decoding_report(
    PoissonBayes(24, period=2 * np.pi, dt=dt), counts, heading, names=["heading"], gap=20, n_shuffles=0
)
line = circular[circular["variant"] == "decoder"].iloc[0]
print(f"heading: circular R² {line['r2']:.2f}, mean absolute error {np.rad2deg(line['error']):.0f}°")

# %% [markdown]
# ## How well could it be read?
#
# The Fisher information of Poisson neurons is J = T Σ ∇f ∇fᵀ/f; no decoder *without a bias* that sees one bin alone has
# an error below J⁻¹ (Cramér and Rao). It speaks of the slopes about the true place, and so of small errors only.


# %%
def information_of(neurons):
    """The information about a position, from smoothed maps, at the bins of some positions."""
    chosen = maps.of(neurons)
    J = poisson_information(chosen.rates, curve_slopes(chosen), dt, floor=0.1).reshape(-1, 2, 2)
    return lambda y: J[maps.bins_of(y)]


errors = []
for n in (15, 30, 60):
    neurons = np.sort(np.random.default_rng(0).permutation(n_neurons)[:n])
    for name in ("Poisson–Bayes", "Poisson–Bayes, continuous"):
        report = decoding_report(
            decoders[name], counts[:, neurons], position, gap=20, n_shuffles=0, bound=information_of(neurons)
        )
        mean = report[report["variant"] == "decoder"].mean(numeric_only=True)
        about = {"n": n, "decoder": name, "error": mean["error"], "low": mean["error_low"], "high": mean["error_high"]}
        errors.append(about | {"bound": mean["bound"]})
        print(f"{n} neurons, {name:<26}error {100 * mean['error']:5.1f} cm, bound {100 * mean['bound']:5.1f} cm")

# %% [markdown]
# More neurons bring both down together, by about N^−½, yet from one bin the decoder stays well above the bound. A dozen
# spikes leave several places open, and now and then the wrong one is taken: of such errors the bound knows nothing. The
# errors that are not of this kind are as small as it says, which the median shows; and the continuous decoder, which
# has the last bins to choose by, goes below it, because it sees more than one.

# %%
cut = n_bins * 4 // 5
told = decoders["Poisson–Bayes"].fit(counts[:cut], position[:cut]).predict(counts[cut:])
missed = np.abs(told - position[cut:])
bound = np.sqrt(cramer_rao(information_of(np.arange(n_neurons))(position[cut:]))[:, [0, 1], [0, 1]])
print(
    f"one bin: {100 * np.sqrt((missed**2).mean()):.1f} cm (root mean square), {100 * np.median(missed):.1f} cm (median)"
)
print(
    f"bound: {100 * np.sqrt(np.nanmean(bound**2)):.1f} cm, of which the median would be "
    f"{67.45 * np.nanmedian(bound):.1f} cm"
)

# %% [markdown]
# ## Pictures
#
# The workbench's figures take tidy tables and give Altair charts, which save themselves as HTML or Vega-Lite's JSON.

# %%
try:
    import pandas as pd

    from workbench.figures import decoding_scores, error_against_bound, maps_table, rate_maps
except ImportError:
    print("no pictures: the workbench is not installed here")
else:
    shown = [int(cell) for cell in np.argsort(-information.corrected)[:6]] + list(range(40, 46))
    titles = [f"neuron {cell}: {information.score[cell]:.1f} bits, grid {gridness.score[cell]:.1f}" for cell in shown]
    rate_maps(maps_table(maps.rates, maps.edges, shown, titles), columns=6).save(folder / "rate_maps.html")
    of_x = pd.concat([report[report["output"] == "x"].assign(decoder=name) for name, report in reports.items()])
    decoding_scores(of_x).save(folder / "decoding_scores.html")
    error_against_bound(pd.DataFrame(errors), y_title="error (m)").save(folder / "error_against_bound.json")
    print(f"figures: {', '.join(sorted(path.name for path in folder.iterdir() if path.suffix != '.npz'))} in {folder}")
