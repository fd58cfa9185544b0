"""All that can be told of a subject's dynamics, made into one folder: what `workbench dynamics` publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Shaped

from models.dataset import Dataset
from models.recurrent import Recurrent
from models.table_files import kept_table
from workbench.dynamics.ablation import ablate_units
from workbench.dynamics.attractors import Labelled, line_attractor, ring_attractor
from workbench.dynamics.fixed_points import find_fixed_points
from workbench.dynamics.gates import gate_hooks, gate_statistics, read_gates
from workbench.dynamics.manifolds import unstable_manifolds
from workbench.dynamics.points import ARRAYS, TABLE, FixedPoints
from workbench.dynamics.portraits import portrait_with_points
from workbench.dynamics.results import ABLATION, ATTRACTORS, GATES, PORTRAIT, TRAINED, UNITS, UNTRAINED
from workbench.dynamics.step import Input
from workbench.dynamics.trajectories import PrincipalAxes, Trajectories, run_states, state_hooks
from workbench.dynamics.units import AUROC, NOT_JUDGED, judgeable, read_labels, told_apart, unit_scores

# Sequences that a portrait shows, axes that it has, and Boolean labels whose units are ablated where
# none were named.
SHOWN, AXES, ABLATED = 48, 3, 12
# The portrait's own columns; a label of such a name is called `step (label)`.
OWN_COLUMNS = {"what", "variant", "path", "sequence", "step", "point", "kind", *(f"pc{k + 1}" for k in range(AXES))}


@dataclass(frozen=True)
class DynamicsSettings:
    """How the search is made, and what is held against what.

    Attributes:
        input: what is read at every step.
        search: further arguments of `find_fixed_points`.
        hook: whose units are held against labels; None for none.
        labels: which; all that can be where None.
        circular: the periods of those labels that are angles.
        seed: of everything that is drawn.
    """

    input: Input
    search: Mapping[str, Any]
    hook: str | None
    labels: Sequence[str] | None
    circular: Mapping[str, float]
    seed: int


@dataclass(frozen=True)
class _Reading:
    """A dataset with the labels of the positions that count, as they are and as units are held against (`told`)."""

    data: Dataset
    labels: dict[str, Shaped[np.ndarray, " n"]]
    told: dict[str, Shaped[np.ndarray, " n"]]
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
        return cls(data, labels, told_apart(labels), of_test[:, None].expand_as(counted)[counted].numpy(), docs)

    def shown(self) -> "_Reading":
        """The held-out part."""
        rows = self.held_out
        labels, told = ({name: values[rows] for name, values in of.items()} for of in (self.labels, self.told))
        return _Reading(self.data.split("test"), labels, told, rows[rows], self.groups[rows])


def analyse(
    model: Recurrent, untrained: Recurrent | None, data: Dataset, folder: Path, settings: DynamicsSettings
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

    Raises:
        ValueError: labels were named, and none can be judged; of all that there are, units are then left out.
    """
    subjects = {TRAINED: model} | ({} if untrained is None else {UNTRAINED: untrained})
    reading = _Reading.of(data, settings.labels)
    has_units = settings.hook is not None and bool(judgeable(reading.told, ~reading.held_out))
    if settings.hook is not None and settings.labels and not has_units:
        raise ValueError(NOT_JUDGED)
    shown = reading.shown()
    points = {name: _points(one, shown.data, _folder(folder, name), settings) for name, one in subjects.items()}
    paths = {name: run_states(one, shown.data) for name, one in subjects.items()}
    axes = {name: PrincipalAxes.of(paths[name].at_real()) for name in subjects}

    kept_table(folder / PORTRAIT, lambda: _portraits(subjects, points, paths, axes, shown))
    kept_table(folder / ATTRACTORS, lambda: _attractors(points, paths, shown, settings))
    if gate_hooks(list(model.hook_dict)):
        gates = {name: read_gates(one, shown.data) for name, one in subjects.items()}
        kept_table(
            folder / GATES, lambda: gate_statistics(gates[TRAINED], shown.labels, untrained=gates.get(UNTRAINED))
        )
    if has_units:
        kept_table(folder / UNITS, lambda: _units(subjects, reading, settings))
        scores = pd.read_parquet(folder / UNITS)
        if len(chosen := _worth_ablating(scores, None if settings.labels else ABLATED)):
            kept_table(folder / ABLATION, lambda: _ablation(subjects, reading, shown, chosen, settings))
    parts = [one.table().assign(variant=name) for name, one in points.items()]
    pd.concat(parts, ignore_index=True).to_parquet(folder / TABLE, index=False)
    return {name: one.explained.tolist() for name, one in axes.items()}


def _folder(folder: Path, variant: str) -> Path:
    return folder if variant == TRAINED else folder / variant


def _points(model: Recurrent, data: Dataset, folder: Path, settings: DynamicsSettings) -> FixedPoints:
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
    labels = {f"{name} (label)" if name in OWN_COLUMNS else name: values for name, values in shown.labels.items()}
    tables = []
    for name, model in subjects.items():
        first = axes[name].first(AXES)
        found, manifolds = points[name], unstable_manifolds(model, points[name])
        drawn = portrait_with_points(paths[name], first, found, manifolds, labels, sequences=range(SHOWN))
        tables.append(drawn.assign(variant=name))
    return pd.concat(tables, ignore_index=True)


def _attractors(
    points: Mapping[str, FixedPoints], paths: Mapping[str, Trajectories], shown: _Reading, settings: DynamicsSettings
) -> pd.DataFrame:
    """Both tests by themselves, the ring's for each label that is an angle, the line's for each other number."""
    tables = []
    angles = [name for name in shown.labels if name in settings.circular]
    numbers = [name for name, values in shown.labels.items() if values.dtype.kind == "f" and name not in angles]
    tests = {"line": (line_attractor, ("", *numbers)), "ring": (ring_attractor, ("", *angles))}
    for name, (test, labels) in tests.items():
        for label in labels:
            turn = 2 * np.pi / settings.circular[label] if label in angles else 1.0
            labelled = {variant: _labelled(one, shown, label, turn) for variant, one in paths.items()}
            found = test(
                points[TRAINED],
                labelled[TRAINED],
                untrained=points.get(UNTRAINED),
                untrained_labelled=labelled.get(UNTRAINED),
                seed=settings.seed,
            )
            tables.append(found.assign(test=name, label=label))
    return pd.concat(tables, ignore_index=True)


def _labelled(paths: Trajectories, shown: _Reading, label: str, turn: float) -> Labelled | None:
    """The states at which a label is known, with it; an angle in radians."""
    if not label:
        return None
    values, groups = shown.labels[label], shown.groups
    known = ~np.isnan(values)
    return Labelled(paths.at_real().numpy()[known], turn * values[known], groups[known]) if known.any() else None


def _hook_values(model: Recurrent, data: Dataset, hook: str) -> Float[np.ndarray, "n unit"]:
    """A state's part at the positions that count."""
    width, states = model.cfg.d_model, run_states(model, data).at_real()
    start = state_hooks(model).index(hook) * width
    return states[:, start : start + width].numpy()


def _units(subjects: Mapping[str, Recurrent], reading: _Reading, settings: DynamicsSettings) -> pd.DataFrame:
    assert settings.hook is not None
    tables = []
    for name, model in subjects.items():
        values = _hook_values(model, reading.data, settings.hook)
        scores = unit_scores(values, reading.told, reading.groups, ~reading.held_out, seed=settings.seed)
        tables.append(scores.assign(variant=name, hook=settings.hook))
    return pd.concat(tables, ignore_index=True)


def _worth_ablating(scores: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """The units chosen for the Boolean labels that are told best; for all that were asked for by name."""
    own = scores[scores["chosen"] & (scores["measure"] == AUROC) & (scores["variant"] == TRAINED)]
    apart = (own["held_out"] - 0.5).abs()
    return own.loc[apart.sort_values(ascending=False, kind="stable").index[:most]]


def _ablation(
    subjects: Mapping[str, Recurrent],
    reading: _Reading,
    shown: _Reading,
    chosen: pd.DataFrame,
    settings: DynamicsSettings,
) -> pd.DataFrame:
    assert settings.hook is not None
    model = subjects[TRAINED]
    means = _hook_values(model, reading.data, settings.hook)[~reading.held_out].mean(0)
    labels = {name: shown.told[name] for name in chosen["label"]}
    units = [int(unit) for unit in chosen["unit"]]
    return ablate_units(model, shown.data, settings.hook, units, labels, means, seed=settings.seed)
