"""What is exported: the run, the views it has something for, the features; refused before any work."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from apps.words import words_of
from workbench.cli.export import TOP
from workbench.experiments import circuit_results, lens_results, patching_results, rotation_results, steering_results
from workbench.features import dictionary_id
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.notes.notes import Note, Notes
from workbench.features.query.telling import most_telling
from workbench.runs import Artifact, Run

RUNS, FEATURES, PROBES, POPULATION = "runs", "features", "probes", "population"
DYNAMICS, ATTENTION, INTERVENTIONS, REPRODUCTIONS = "dynamics", "attention", "interventions", "reproductions"
_INTERVENTIONS = (
    patching_results.VERB,
    circuit_results.VERB,
    rotation_results.VERB,
    lens_results.VERB,
    steering_results.VERB,
)


@dataclass(frozen=True)
class View:
    """A view: its heading, its words in the navigation, what of a run it shows, and the verb that makes that."""

    title: str
    shows: Callable[[Run], list[Artifact]]
    made_by: str


@dataclass(frozen=True)
class Chosen:
    """What one site holds.

    Attributes:
        run: the run.
        views: in the order of the navigation.
        index: the feature index; None where no features are shown.
        features: in the order in which J leads through them.
        how: how these were chosen, in words.
        written: what people wrote: of those chosen from a list of theirs all of it, of others the label alone.
    """

    run: Run
    views: tuple[str, ...]
    index: FeatureIndex | None
    features: tuple[int, ...]
    how: str
    written: Mapping[int, Note]

    @property
    def n_pages(self) -> int:
        """The first page, one a view, and one a feature."""
        return 1 + len(self.views) + len(self.features)

    def artifacts(self, view: str) -> list[Artifact]:
        """What a view shows; of features the chosen index alone."""
        found = VIEWS[view].shows(self.run)
        if view == FEATURES and self.index is not None:
            return [artifact for artifact in found if artifact.id == self.index.id]
        return found

    def used(self) -> list[Artifact]:
        """All that the site is made from."""
        found = {artifact.path: artifact for view in self.views for artifact in self.artifacts(view)}
        return list(found.values())

    def left_out(self) -> list[str]:
        """What the run has and the site does not, a sentence each."""
        told = []
        for name, view in VIEWS.items():
            if name not in self.views and view.shows(self.run):
                told.append(f"{view.title}: the run has it, and it was not asked for.")
        if self.index is not None:
            n, of = len(self.features), self.index.n_features
            if n < of:
                told.append(f"{of - n:,} of the {of:,} features of {self.index.path.name}: {self.how}.")
            told += [
                f"The features of {artifact.name}, another index."
                for artifact in VIEWS[FEATURES].shows(self.run)
                if artifact.id != self.index.id
            ]
        shown = {artifact.path for name in VIEWS for artifact in VIEWS[name].shows(self.run)}
        told += [
            f"{artifact.name}: no page of the site shows this analysis."
            for artifact in self.run.artifacts()
            if artifact.kind == "analysis" and artifact.path not in shown
        ]
        told.append("What is worked out on demand: the prompt lab, states of a text, steering, and losses of examples.")
        return told


def chosen(run: Run, args: argparse.Namespace) -> Chosen:
    """What `workbench export` was asked for.

    Raises:
        ValueError: an unknown feature, a view or index that the run does not have, or nothing at all to show.
    """
    views = _views(run, args.views)
    asks_for_features = any(asked is not None for asked in (args.features, args.top, args.list, args.index))
    if FEATURES not in views:
        if asks_for_features:
            raise ValueError("features were chosen, but the view `features` is not among --views: add it.")
        return Chosen(run, views, None, (), "", {})
    index = FeatureIndex.open(run.find("features", args.index).path)
    if args.list is not None:
        written = _on_list(index, args.list)
        features, how = tuple(written), f"the {len(written):,} on the list {args.list!r} are here"
    else:
        written = {}
        features, how = _features(index, args.features, args.top)
    marked = _marked(index)
    own = tuple(feature for feature in marked if feature not in features)
    if own:
        how += f", and {len(own):,} that you bookmarked or labelled"
    labels = {feature: replace(note, note="") for feature, note in marked.items() if note.label}
    return Chosen(run, views, index, features + own, how, labels | written)


def _views(run: Run, asked: Sequence[str] | None) -> tuple[str, ...]:
    there = [name for name, view in VIEWS.items() if view.shows(run)]
    if not there:
        raise ValueError(f"run {run.path} holds nothing to show yet: `workbench train --run {run.path}` begins it.")
    for name in asked or ():
        if name not in there:
            what = VIEWS[name]
            raise ValueError(f"run {run.path} has nothing for the view {name}: `workbench {what.made_by}` makes it.")
    return tuple(name for name in there if asked is None or name in asked)


def _features(index: FeatureIndex, asked: Sequence[int] | None, top: int | None) -> tuple[tuple[int, ...], str]:
    """The features and how they were chosen."""
    if asked is not None:
        for feature in asked:
            if not 0 <= feature < index.n_features:
                raise ValueError(
                    f"there is no feature {feature} in {index.path.name}: "
                    f"they are numbered 0 to {index.n_features - 1}."
                )
        features = tuple(dict.fromkeys(asked))
        return features, f"the {len(features):,} here were named one by one"
    if top is not None and top < 1:
        raise ValueError(f"--top {top} is no number of features: use 1 or more.")
    listed = best(index.table, top or TOP)
    rival = words_of(index.config).rival
    how = f"the {len(listed):,} live ones of each kind of name, in turn, that beat their best {rival} by most are here"
    return listed, how


def best(table: pd.DataFrame, n: int) -> tuple[int, ...]:
    """The n live features that are the most telling, as the explorer's list begins with them."""
    live = table[~table["dead"].astype(bool)]
    turn = most_telling(live)
    return tuple(int(feature) for feature in live.loc[turn.sort_values().index, "feature"].head(n))


def _on_list(index: FeatureIndex, name: str) -> dict[int, Note]:
    """The features of a list, in its order, with what people wrote about them."""
    notes, dictionary = Notes(), dictionary_id(index.manifest)
    there = notes.lists(dictionary)
    if name not in there:
        known = f"there are {', '.join(map(repr, there))}" if there else "the explorer makes one"
        raise ValueError(f"no list {name!r} has a feature of {index.path.name}: {known}.")
    return {feature: notes.of(dictionary, feature) for known, feature in notes.members(name) if known == dictionary}


def _marked(index: FeatureIndex) -> dict[int, Note]:
    """The features that somebody bookmarked or labelled, by number: they come along, whatever was chosen."""
    notes, dictionary = Notes(), dictionary_id(index.manifest)
    found = notes.table(dictionary)
    chosen = found.loc[found["bookmarked"] | (found["label"] != ""), "feature"]
    return {int(feature): notes.of(dictionary, int(feature)) for feature in chosen if feature < index.n_features}


def _of_kind(kind: str) -> Callable[[Run], list[Artifact]]:
    return lambda run: [artifact for artifact in run.artifacts() if artifact.kind == kind]


def _analyses(*verbs: str) -> Callable[[Run], list[Artifact]]:
    """In the order of the verbs; of each the artifacts by name."""
    return lambda run: [
        artifact for verb in verbs for artifact in run.artifacts() if artifact.manifest.config.get("verb") == verb
    ]


def _reproduction(run: Run) -> list[Artifact]:
    """A reproduction's table, and what stands beside it."""
    plain = [a for a in run.artifacts() if a.kind == "analysis" and "verb" not in a.manifest.config]
    return plain if any(a.name == "result" for a in plain) else []


def _trained(run: Run) -> list[Artifact]:
    return [artifact for artifact in run.artifacts() if artifact.kind in ("dataset", "model", "sae")]


VIEWS: Mapping[str, View] = {
    RUNS: View("Training and dictionary", _trained, "train"),
    FEATURES: View("Features", _of_kind("features"), "index"),
    PROBES: View("Probes", _of_kind("probes"), "probe"),
    POPULATION: View("Population", _analyses("decode"), "decode"),
    DYNAMICS: View("Dynamics", _analyses("dynamics"), "dynamics"),
    ATTENTION: View("Attention", _analyses("heads"), "heads"),
    INTERVENTIONS: View("Interventions", _analyses(*_INTERVENTIONS), "patch"),
    REPRODUCTIONS: View("Reproduction", _reproduction, "reproduce"),
}


def folder_of(view: str) -> str:
    """The page of a view."""
    return f"{view}.html"


def site_name(run: Run) -> str:
    """What the site is called: the run's folder, and no path of this machine."""
    return Path(run.path).resolve().name
