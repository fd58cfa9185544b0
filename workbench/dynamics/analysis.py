"""All that can be told of a subject's dynamics, made into one folder: what `workbench dynamics` publishes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Shaped

from models.dataset import Dataset
from models.recurrent import Recurrent
from workbench.dynamics.ablation import ablate_units
from workbench.dynamics.attractors import Labelled, line_attractor, ring_attractor
from workbench.dynamics.fixed_points import find_fixed_points
from workbench.dynamics.gates import gate_hooks, gate_statistics, read_gates
from workbench.dynamics.manifolds import unstable_manifolds
from workbench.dynamics.points import ARRAYS, TABLE, FixedPoints
from workbench.dynamics.results import ABLATION, ATTRACTORS, GATES, PORTRAIT, TRAINED, UNITS, UNTRAINED
from workbench.dynamics.step import Input
from workbench.dynamics.trajectories import PrincipalAxes, Trajectories, axis_columns, portrait, run_states, state_hooks
from workbench.dynamics.units import AUROC, read_labels, told_apart, unit_scores

# Sequences that a portrait shows, axes that it has, and Boolean labels whose units are ablated where
# none were named.
SHOWN, AXES, ABLATED = 48, 3, 12


@dataclass(frozen=True)
class Settings:
    """How the search is made, and what is held against what.

    Attributes:
        input: what is read at every step.
        search: further arguments of `find_fixed_points`.
        hook: whose units are held against labels; None for none.
        labels: which; all that can be where None.
        seed: of everything that is drawn.
    """

    input: Input
    search: Mapping[str, Any]
    hook: str | None
    labels: Sequence[str] | None
    seed: int


@dataclass(frozen=True)
class _Reading:
    """A dataset with the labels of the positions that count."""

    data: Dataset
    labels: dict[str, Shaped[np.ndarray, " n"]]
    held_out: Bool[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]

    @classmethod
    def of(cls, data: Dataset, names: Sequence[str] | None) -> "_Reading":
        counted = data.counted
        labels = {}
        if data.labels is not None:
            labels = read_labels(data.labels, np.flatnonzero(counted[data.mask].numpy()), names)
        of_test = torch.zeros(len(data), dtype=torch.bool)
        of_test[data.sequences("test")] = True
        docs = data.docs[:, None].expand_as(counted)[counted].numpy()
        return cls(data, labels, of_test[:, None].expand_as(counted)[counted].numpy(), docs)


def analyse(
    model: Recurrent, untrained: Recurrent | None, data: Dataset, folder: Path, settings: Settings
) -> dict[str, list[float]]:
    """Make every table of `workbench.dynamics.results` in a folder; what is there already is kept.

    Args:
        model: the subject.
        untrained: the same before its training, where that was kept.
        data: of train and test documents: units are chosen on the former, and all else is shown of the latter.
        folder: where.
        settings: see there.

    Returns:
        The share of the variance along each principal axis, by variant.
    """
    subjects = {TRAINED: model} | ({} if untrained is None else {UNTRAINED: untrained})
    reading = _Reading.of(data, settings.labels)
    shown = _Reading.of(data.split("test"), settings.labels)
    points = {name: _points(one, data, _folder(folder, name), settings) for name, one in subjects.items()}
    paths = {name: run_states(one, shown.data) for name, one in subjects.items()}
    axes = {name: PrincipalAxes.of(paths[name].at_real()) for name in subjects}

    def kept(name: str, make: Callable[[], pd.DataFrame]) -> None:
        if not (folder / name).exists():
            part = folder / f"{name}.part"
            make().to_parquet(part, index=False)
            part.replace(folder / name)

    kept(PORTRAIT, lambda: _portraits(subjects, points, paths, axes, shown))
    kept(ATTRACTORS, lambda: _attractors(points, paths, shown, settings.seed))
    if gate_hooks(list(model.hook_dict)):
        gates = {name: read_gates(one, shown.data) for name, one in subjects.items()}
        kept(GATES, lambda: gate_statistics(gates[TRAINED], shown.labels, untrained=gates.get(UNTRAINED)))
    if settings.hook is not None and reading.labels:
        kept(UNITS, lambda: _units(subjects, reading, settings))
        scores = pd.read_parquet(folder / UNITS)
        if len(chosen := _worth_ablating(scores, None if settings.labels else ABLATED)):
            kept(ABLATION, lambda: _ablation(subjects, reading, shown, chosen, settings))
    parts = [one.table().assign(variant=name) for name, one in points.items()]
    pd.concat(parts, ignore_index=True).to_parquet(folder / TABLE, index=False)
    return {name: one.explained.tolist() for name, one in axes.items()}


def _folder(folder: Path, variant: str) -> Path:
    return folder if variant == TRAINED else folder / variant


def _points(model: Recurrent, data: Dataset, folder: Path, settings: Settings) -> FixedPoints:
    if (folder / ARRAYS).exists():
        return FixedPoints.load(folder)
    found = find_fixed_points(model, data, input=settings.input, seed=settings.seed, **settings.search)
    found.save(folder)
    return found


def _portraits(
    subjects: Mapping[str, Recurrent],
    points: Mapping[str, FixedPoints],
    paths: Mapping[str, Trajectories],
    axes: Mapping[str, PrincipalAxes],
    shown: _Reading,
) -> pd.DataFrame:
    """Trajectories, points and manifolds of each subject, in its own axes."""
    tables = []
    for name, model in subjects.items():
        first = PrincipalAxes(axes[name].centre, axes[name].axes[:AXES], axes[name].explained[:AXES])
        seen = portrait(paths[name], first, shown.labels, sequences=range(SHOWN))
        tables.append(seen.rename(columns={"sequence": "path"}).assign(what="trajectory", variant=name))
        found = points[name]
        place = axis_columns(first.project(found.states).numpy())
        about = {"point": np.arange(len(found)), "kind": found.kind, "what": "point", "variant": name}
        tables.append(pd.DataFrame(place | about))
        manifolds = unstable_manifolds(model, found)
        for branch, point in enumerate(manifolds.branches["point"]):
            path = manifolds.paths[branch, : manifolds.length[branch]]
            along = {"step": np.arange(len(path)), "path": branch, "point": point, "what": "manifold", "variant": name}
            tables.append(pd.DataFrame(axis_columns(first.project(path).numpy()) | along))
    found_all = pd.concat([table for table in tables if len(table)], ignore_index=True)
    whole = {name: "Int64" for name in ("path", "step", "point") if name in found_all}
    truths = {name: "boolean" for name, values in shown.labels.items() if values.dtype == bool}
    return found_all.astype(whole | truths)


def _attractors(
    points: Mapping[str, FixedPoints], paths: Mapping[str, Trajectories], shown: _Reading, seed: int
) -> pd.DataFrame:
    """The line test for each label that is a number, and both tests by themselves."""
    tables = []
    untrained = points.get(UNTRAINED)
    numbers = [name for name, values in shown.labels.items() if values.dtype.kind == "f"]
    for label in ("", *numbers):
        labelled = {name: _labelled(one, shown, label) for name, one in paths.items()}
        line = line_attractor(
            points[TRAINED],
            labelled[TRAINED],
            untrained=untrained,
            untrained_labelled=labelled.get(UNTRAINED),
            seed=seed,
        )
        tables.append(line.assign(test="line", label=label))
        if not label:
            ring = ring_attractor(points[TRAINED], untrained=untrained, seed=seed)
            tables.append(ring.assign(test="ring", label=label))
    return pd.concat(tables, ignore_index=True)


def _labelled(paths: Trajectories, shown: _Reading, label: str) -> Labelled | None:
    if not label:
        return None
    values, groups = shown.labels[label], shown.groups
    known = ~np.isnan(values)
    return Labelled(paths.at_real().numpy()[known], values[known], groups[known]) if known.any() else None


def _hook_values(model: Recurrent, data: Dataset, hook: str) -> Float[np.ndarray, "n unit"]:
    """A state's part at the positions that count."""
    width, states = model.cfg.d_model, run_states(model, data).at_real()
    start = state_hooks(model).index(hook) * width
    return states[:, start : start + width].numpy()


def _units(subjects: Mapping[str, Recurrent], reading: _Reading, settings: Settings) -> pd.DataFrame:
    assert settings.hook is not None
    tables = []
    for name, model in subjects.items():
        values = _hook_values(model, reading.data, settings.hook)
        labels = told_apart(reading.labels)
        scores = unit_scores(values, labels, reading.groups, ~reading.held_out, seed=settings.seed)
        tables.append(scores.assign(variant=name, hook=settings.hook))
    return pd.concat(tables, ignore_index=True)


def _worth_ablating(scores: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """The units chosen for the Boolean labels that are told best; for all that were asked for by name."""
    own = scores[scores["chosen"] & (scores["measure"] == AUROC) & (scores["variant"] == TRAINED)]
    apart = (own["held_out"] - 0.5).abs()
    return own.loc[apart.sort_values(ascending=False, kind="stable").index[:most]]


def _ablation(
    subjects: Mapping[str, Recurrent], reading: _Reading, shown: _Reading, chosen: pd.DataFrame, settings: Settings
) -> pd.DataFrame:
    assert settings.hook is not None
    model = subjects[TRAINED]
    means = _hook_values(model, reading.data, settings.hook)[~reading.held_out].mean(0)
    known = told_apart(shown.labels)
    labels = {name: known[name] for name in chosen["label"]}
    units = [int(unit) for unit in chosen["unit"]]
    return ablate_units(model, shown.data, settings.hook, units, labels, means, seed=settings.seed)
