"""Position and heading decoded from a network that integrates a path, and by the same calls from simulated cells."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from sklearn.base import clone

from models import recipes
from models.dataset import Dataset
from models.hooks import HookedModel
from models.recurrent import Recurrent
from models.tasks.navigation import Navigation
from models.tuned import TunedPopulation, TunedPopulationConfig, population_dataset
from probes.population.scores import r2
from probes.tuning import TuningCurves, cramer_rao, grid_score, spatial_information, tuning_score_null
from workbench.decoding import DECODERS
from workbench.decoding.decoders import OF_ACTIVATIONS, OF_COUNTS
from workbench.dynamics import read_labels, run_states
from workbench.figures import decoding_scores
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.error_curves import scores_over_seeds

TITLE = "Where a walker is, read from the states of a network that integrates its path"
PAPER = (
    "Cueva & Wei 2018 (arXiv 1803.07770); Banino et al. 2018 (Nature 557:429); "
    "Glaser et al. 2020 (eNeuro 7, decoders); Zhang et al. 1998 (J Neurophysiol 79:1017, Bayes)"
)

RECIPE = "navigation-gru"
POSITION, HEADING = "position", "heading"
PERIODS: dict[str, tuple[float | None, ...]] = {POSITION: (None, None), HEADING: (2 * np.pi,)}
MOST_AWAY = 0.10
# Walks that decoders are fitted to and judged by; shuffles of the walks.
N_FIT, N_TEST, N_SHUFFLES = 400, 200, 5
N_MAP_SHUFFLES, N_BINS, SMOOTHING = 100, 20, 0.11
CELLS = {
    "place": TunedPopulationConfig(kind="place", n_neurons=200),
    "grid": TunedPopulationConfig(kind="grid", n_neurons=200, scales=(0.5, 0.8, 1.28)),
    "head direction": TunedPopulationConfig(kind="head_direction", n_neurons=100),
}


class Recording(NamedTuple):
    """What units do along walks, and the truth about each step.

    Attributes:
        values: activity, walk after walk.
        truth: the variables' values, by name.
        walk: of each step.
        held_out: steps of walks that are judged by.
    """

    values: Float[np.ndarray, "n unit"]
    truth: dict[str, Float[np.ndarray, "n d"]]
    walk: Int[np.ndarray, " n"]
    held_out: Bool[np.ndarray, " n"]


def reproduce(bench: Bench) -> list[Row]:
    """Decode the subject, the same before training, and simulated cells on the same walks; score the units' maps."""
    seeds = range(5 if bench.full else 1)
    recipe = recipes.get(RECIPE)
    task = cast(Navigation, recipe.task)
    runs = bench.subjects({f"seed-{seed}": recipe.with_changes(seed=seed) for seed in seeds})
    tables, maps = [], []
    for seed in seeds:
        walks = task.dataset(N_FIT, N_TEST, seed=seed)
        subjects = {"trained": runs[f"seed-{seed}"].model(), "untrained": runs[f"seed-{seed}"].model(step=0)}
        for stage, model in subjects.items():
            bench.tell(f"decoding seed-{seed}, {stage}")
            made = of_subject(cast(Recurrent, model), walks)
            table = decoded(made, OF_ACTIVATIONS, task.dt, seed, n_shuffles=N_SHUFFLES if stage == "trained" else 0)
            tables.append(table.assign(population=stage, seed=seed))
            maps.append(map_scores(made, task, seed).assign(population=stage, seed=seed))
        for kind, cfg in CELLS.items():
            bench.tell(f"decoding seed-{seed}, {kind} cells")
            cells = TunedPopulation(cfg)
            made = of_cells(cells, walks)
            table = decoded(made, OF_COUNTS, task.dt, seed, n_shuffles=0)
            tables.append(table.assign(population=kind, seed=seed, bound=bound_of(cells, made, task.dt)))
    errors, units = pd.concat(tables, ignore_index=True), pd.concat(maps, ignore_index=True)
    errors["share_of_side"] = errors["distance"] / task.side
    bench.table("errors", errors)
    placed = place_errors(errors, task.side)
    bench.table("place_error_by_decoder", placed, decoding_scores(placed, "error", interval="all seeds"))
    bench.table("units", units)
    return [*_subject_rows(errors), *_cell_rows(errors), _unit_row(units)]


def of_subject(model: Recurrent, walks: Dataset) -> Recording:
    """The hidden states of a recurrent subject."""
    return _recording(run_states(model, walks).at_real().numpy(), walks)


def of_cells(cells: HookedModel, walks: Dataset) -> Recording:
    """The spike counts of simulated cells."""
    told = population_dataset(walks)
    with torch.inference_mode():
        counts = cells(**told.batch(slice(None)))
    return _recording(counts[told.counted].double().numpy(), walks)


def _recording(values: Float[np.ndarray, "n unit"], walks: Dataset) -> Recording:
    labels = read_labels(walks.labels, np.arange(len(values)), ["x", "y", "heading"])
    truth = {POSITION: np.stack([labels["x"], labels["y"]], 1), HEADING: labels["heading"][:, None]}
    of_test = np.zeros(len(walks), dtype=bool)
    of_test[np.asarray(walks.sequences("test"))] = True
    walk = walks.counted.nonzero(as_tuple=True)[0].numpy()
    return Recording(values, truth, walk, of_test[walk])


def decoded(made: Recording, names: tuple[str, ...], dt: float, seed: int, *, n_shuffles: int) -> pd.DataFrame:
    """Position and heading by several decoders: one row each, with the variant `decoder`, `shuffled` and `mean`.

    `distance` is the mean distance of places, or the mean angle of headings, `median` the median one, `rms` the root of
    its mean square; `r2` the mean over outputs. Shuffled: fitted to, and judged by, the truth about other walks.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for variable, period in PERIODS.items():
        truth = made.truth[variable]
        for name in names:
            rows.append(_judged(made, name, truth, variable, dt) | {"variant": "decoder"})
            for _ in range(n_shuffles):
                other = other_walks(truth, made.walk, made.held_out, rng)
                rows.append(_judged(made, name, other, variable, dt) | {"variant": "shuffled"})
        fit, rest = truth[~made.held_out], truth[made.held_out]
        mean = fit.mean(0) if period[0] is None else np.angle(np.exp(1j * fit).mean(0))
        rows.append(_scores(rest, np.broadcast_to(mean, rest.shape), variable) | {"decoder": "", "variant": "mean"})
    return pd.DataFrame(rows)


def _judged(
    made: Recording, name: str, truth: Float[np.ndarray, "n d"], variable: str, dt: float
) -> dict[str, float | str]:
    fit, rest = ~made.held_out, made.held_out
    decoder = clone(DECODERS[name]).set_params(period=PERIODS[variable])
    if name == "poisson_bayes":
        decoder.set_params(dt=dt)
    decoder.fit(made.values[fit], truth[fit], made.walk[fit])
    told = decoder.predict(made.values[rest], made.walk[rest])
    return _scores(truth[rest], np.asarray(told).reshape(-1, truth.shape[1]), variable) | {"decoder": name}


def _scores(truth: Float[np.ndarray, "n d"], told: Float[np.ndarray, "n d"], variable: str) -> dict[str, float | str]:
    period = PERIODS[variable]
    away = told - truth
    away = np.linalg.norm(away, axis=1) if period[0] is None else np.abs(np.angle(np.exp(1j * away[:, 0])))
    share = float(r2(truth, told, period).mean())
    found: dict[str, float | str] = {"variable": variable, "r2": share}
    sizes = {"distance": away.mean(), "median": np.median(away), "rms": (away**2).mean() ** 0.5}
    return found | {name: float(size) for name, size in sizes.items()}


def other_walks(
    truth: Float[np.ndarray, "n d"],
    walk: Int[np.ndarray, " n"],
    held_out: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "n d"]:
    """The truth about other walks of the same split, step for step; all walks are equally long."""
    found = truth.copy()
    for rows in (held_out, ~held_out):
        n = len(np.unique(walk[rows]))
        turn = rng.permutation(n)
        source = np.empty(n, dtype=np.int64)
        source[turn] = np.roll(turn, 1)
        found[rows] = truth[rows].reshape(n, -1, truth.shape[1])[source].reshape(-1, truth.shape[1])
    return found


def place_errors(errors: pd.DataFrame, side: float) -> pd.DataFrame:
    """The root mean square of distances as a share of the arena's side, as `figures.decoding_scores` draws it.

    A row a decoder of the subject, with the untrained one's, the shuffled and the mean place's, and of place and grid
    cells, with their Cramér–Rao bound.
    """
    places = errors[errors["variable"] == POSITION].assign(error=errors["rms"] / side, bound=errors["bound"] / side)
    subject = places[places["population"].isin(["trained", "untrained"])]
    untrained = subject["population"] == "untrained"
    own = subject[~untrained & (subject["variant"] != "mean")]
    before = subject[untrained & (subject["variant"] == "decoder")].assign(variant="random subject")
    mean = subject[~untrained & (subject["variant"] == "mean")].drop(columns="decoder")
    means = own[own["variant"] == "decoder"][["decoder"]].drop_duplicates().merge(mean, how="cross")
    cells = places[places["population"].isin(["place", "grid"]) & (places["variant"] == "decoder")]
    named = [
        table.assign(decoder=of + table["decoder"].str.replace("_", " "))
        for of, table in (
            ("states: ", pd.concat([own, before, means])),
            *((f"{kind} cells: ", cells[cells["population"] == kind]) for kind in ("place", "grid")),
        )
    ]
    table = scores_over_seeds(pd.concat(named, ignore_index=True), "error")
    return table.assign(measure="root mean square, share of the side")


def bound_of(cells: TunedPopulation, made: Recording, dt: float) -> float:
    """The least rms error of an unbiased estimate from a single step's spikes, by Cramér and Rao."""
    x = np.concatenate([made.truth[POSITION], np.cos(made.truth[HEADING]), np.sin(made.truth[HEADING])], 1)
    information = cells.fisher_information(torch.from_numpy(x[made.held_out]).float(), dt).double().numpy()
    covariance = cramer_rao(information)
    return float(np.sqrt(np.trace(covariance, axis1=1, axis2=2).mean()))


def map_scores(made: Recording, task: Navigation, seed: int, *, n_shuffles: int = N_MAP_SHUFFLES) -> pd.DataFrame:
    """Spatial information and gridness of each unit's map, with the 95th percentile of those turned round in time.

    A unit's activity counts from its least, which stands for silence.
    """
    half = task.side / 2
    found = pd.DataFrame({"unit": np.arange(made.values.shape[1])})
    scores: dict[str, Callable[[TuningCurves], np.ndarray]] = {
        "information": spatial_information,
        "gridness": grid_score,
    }
    about: dict[str, Any] = {"dt": task.dt, "n_bins": N_BINS, "range": [(-half, half)] * 2, "smoothing": SMOOTHING}
    for name, score in scores.items():
        null = tuning_score_null(
            score,
            made.values - made.values.min(0),
            made.truth[POSITION],
            n_shuffles=n_shuffles,
            seed=seed,
            **about,
        )
        found[name], found[f"{name}_95"] = null.score, np.nanquantile(null.shuffled, 0.95, axis=0)
    return found


def _of(errors: pd.DataFrame, column: str, **which: str) -> list[float]:
    chosen = np.logical_and.reduce([errors[name] == value for name, value in which.items()])
    return errors[chosen].groupby("seed")[column].mean().tolist()


def _subject_rows(errors: pd.DataFrame) -> list[Row]:
    rows = []
    for name in OF_ACTIVATIONS:
        own, other, before = (
            _of(errors, "share_of_side", variable=POSITION, decoder=name, population=stage, variant=variant)
            for stage, variant in (("trained", "decoder"), ("trained", "shuffled"), ("untrained", "decoder"))
        )
        rows.append(
            Row(
                f"{name}: mean distance of the decoded from the true place in held-out walks, in sides of the box",
                "",
                f"{spread(own)}; untrained {spread(before)}; places of other walks {spread(other)}",
                f"≤ {MOST_AWAY:.2f}, untrained and other walks above",
                bool(np.max(own) <= MOST_AWAY < np.min([*other, *before])),
            )
        )
    for name in OF_ACTIVATIONS:
        own, other, before = (
            _of(errors, "r2", variable=HEADING, decoder=name, population=stage, variant=variant)
            for stage, variant in (("trained", "decoder"), ("trained", "shuffled"), ("untrained", "decoder"))
        )
        away = np.degrees(
            _of(errors, "distance", variable=HEADING, decoder=name, population="trained", variant="decoder")
        ).tolist()
        rows.append(
            Row(
                f"{name}: circular R² of the heading in held-out walks; mean error in degrees",
                "",
                f"{spread(own)}; {spread(away, 1)}; untrained {spread(before)}; other walks {spread(other)}",
            )
        )
    return rows


def _cell_rows(errors: pd.DataFrame) -> list[Row]:
    rows = []
    for kind in CELLS:
        variable = HEADING if kind == "head direction" else POSITION
        scale, unit = (180 / np.pi, "degrees") if variable == HEADING else (100.0, "cm")
        about: Mapping[str, str] = {"variable": variable, "population": kind, "variant": "decoder"}

        def shown(column: str, name: str, about: Mapping[str, str] = about, scale: float = scale) -> str:
            return spread([scale * one for one in _of(errors, column, decoder=name, **about)], 1)

        told = "; ".join(f"{name} {shown('rms', name)}, {shown('median', name)}" for name in OF_COUNTS)
        rows.append(
            Row(
                f"{CELLS[kind].n_neurons} simulated {kind} cells: rms, median error of the {variable} a step, {unit}",
                "",
                f"{told}; bound of the rms from one step's spikes {shown('bound', OF_COUNTS[0])}",
            )
        )
    return rows


def _unit_row(units: pd.DataFrame) -> Row:
    def above(score: str, stage: str) -> list[float]:
        own = units[units["population"] == stage]
        return (own[score] > own[f"{score}_95"]).groupby(own["seed"]).sum().astype(float).tolist()

    n = int(units["unit"].max()) + 1
    told = [
        f"{score} {spread(above(score, 'trained'), 0)}; untrained {spread(above(score, 'untrained'), 0)}"
        for score in ("information", "gridness")
    ]
    return Row(
        f"hidden units, of {n}, above the 95th percentile of their shuffles; by chance {0.05 * n:.0f}",
        "grid units in some trainings",
        "; ".join(told),
    )
