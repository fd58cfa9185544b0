"""A dictionary beside its controls: how many columns have a name, and which detects each concept best."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from models.progress import progress
from probes.detection import (
    MIN_LIFT,
    Choice,
    Columns,
    Confusion,
    best_column_for_sets,
    bootstrap_f1_gain,
    conjunctions,
    count_labels,
)
from workbench.features.naming.detectors import DETECTOR_COLUMNS, N_DETECTORS, detectors
from workbench.features.naming.names import FLOOR_F1, MARGIN, ColumnSet, LabelNames, Namer, TokenNames
from workbench.features.naming.rows import NamingRows
from workbench.features.naming.scores import EVIDENCE, SCORES, score_frame

NAMED_F1 = 0.5
NO_CONCEPT = "no concept found"
TRAINED, PCA, RANDOM, NEURONS = "trained", "PCA", "random", "neurons"
_RIVAL_F1 = {NEURONS: "neuron_f1", RANDOM: "random_f1"}
NAME_COLUMNS = (
    *("kind", "concept", "size", "threshold", *SCORES, *EVIDENCE, "fit_f1"),
    *("neuron", "neuron_sign", "neuron_f1"),
)
CONCEPT_COLUMNS = (
    *(
        "concept",
        "kind",
        "positives",
        "base_rate",
        "feature",
        "feature_f1",
        "threshold",
        "neuron",
        "neuron_sign",
        "neuron_f1",
    ),
    *("pca_f1", "random_f1", "gain", "gain_low", "gain_high", "token_f1"),
)


@dataclass(frozen=True)
class Naming:
    """What naming gives.

    Attributes:
        table: one row a feature of the trained dictionary: the name that is shown, its kind and scores.
        names: every concept that was chosen for a feature, best first.
        naming: for each dictionary and kind of concept: live columns, named ones (held-out F1 ≥ .5 and lift ≥ 2),
            their share of the live, median_f1 of the live, median_size (tokens or statements) of the named.
        concepts: for each syntax concept the best column of each dictionary, and the feature's gain over the neuron
            with its 95% interval over documents; where the columns are neurons themselves, over the best random
            direction. `token_f1` is what knowing the token alone gives: where it is near 1, the concept is no more
            than a set of tokens.
        detectors: for each of these concepts the features that detect it best, as `detectors` gives them.
    """

    table: pd.DataFrame
    names: pd.DataFrame
    naming: pd.DataFrame
    concepts: pd.DataFrame
    detectors: pd.DataFrame


def name_features(rows: NamingRows, sets: dict[str, ColumnSet], vocabulary: list[str]) -> Naming:
    """Name the columns of the dictionaries `sets` (trained, PCA, random and, unless they are it, neurons).

    Beside a name stands how well its rival detects the same: the best single neuron (`neuron`, `neuron_sign`,
    `neuron_f1`); without neurons these are −1, 1 and NaN, and the rival is the best random direction (`random_f1`).
    """
    namer = Namer(rows, vocabulary)
    tokens: dict[str, TokenNames] = {}
    labels: dict[str, LabelNames] = {}
    summary = []
    for name in progress(sets, desc="naming", unit="dictionary"):
        fit, held_out = sets[name].fit, sets[name].held_out
        tokens[name] = namer.token_names(fit)
        scores = namer.score_tokens(held_out, tokens[name])
        summary.append(_summary(name, "token", fit, tokens[name].f1, scores, tokens[name].sizes))
        if rows.concepts is not None:
            found = labels[name] = namer.label_names(fit, N_DETECTORS if name == TRAINED else 1)
            scores = namer.held_out(found.pairs).score(held_out, found.choice)
            summary.append(_summary(name, "syntax", fit, found.choice.f1, scores, found.sizes))
    names = [_token_rows(namer, sets, tokens[TRAINED])]
    concepts, found_by = pd.DataFrame(columns=list(CONCEPT_COLUMNS)), pd.DataFrame(columns=list(DETECTOR_COLUMNS))
    if labels:
        concepts, found_by = _compare_concepts(namer, sets, labels)
        names += _label_rows(namer, sets, labels[TRAINED], concepts)
    ranked = _ranked(pd.concat(names, ignore_index=True))
    rival_f1 = _RIVAL_F1[_rival(sets)]
    shown = _displayed(ranked, sets[TRAINED].fit.n_columns, rival_f1)
    return Naming(shown, ranked, pd.DataFrame(summary), concepts, found_by)


def _rival(sets: dict[str, ColumnSet]) -> str:
    """What each feature is held against by itself."""
    return NEURONS if NEURONS in sets else RANDOM


def _against(sets: dict[str, ColumnSet], column: Int[np.ndarray, " n"], f1: Any) -> dict[str, Any]:
    """The rival's columns in a table; where there are no neurons, none of them is named."""
    if _rival(sets) == RANDOM:
        return {"neuron": -1, "neuron_sign": 1, "neuron_f1": np.nan, "random_f1": f1}
    d = sets[NEURONS].fit.n_columns // 2
    return {"neuron": column % d, "neuron_sign": np.where(column < d, 1, -1), "neuron_f1": f1}


def _summary(
    name: str,
    kind: str,
    columns: Columns,
    fit_f1: Float[np.ndarray, " columns"],
    scores: list[Confusion],
    sizes: Int[np.ndarray, " columns"],
) -> dict[str, Any]:
    """How many live columns have a name on held-out documents; a neuron counts once, with its better sign."""
    live = columns.ladder.fired[:, -1] > 0
    kept = np.flatnonzero(live)
    if name == NEURONS:
        d = columns.n_columns // 2
        better = np.arange(d) + d * (fit_f1[d:] > fit_f1[:d])
        kept = better[live[better]]
    f1 = np.array([scores[i].f1 for i in kept])
    named = np.array([scores[i].f1 >= NAMED_F1 and scores[i].lift >= MIN_LIFT for i in kept], bool)
    return {
        "dictionary": name,
        "kind": kind,
        "live": len(kept),
        "named": int(named.sum()),
        "share": named.sum() / max(1, len(kept)),
        "median_f1": float(np.median(f1)) if len(kept) else 0.0,
        "median_size": float(np.median(sizes[kept][named])) if named.any() else 0.0,
    }


def _compare_concepts(
    namer: Namer, sets: dict[str, ColumnSet], labels: dict[str, LabelNames]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For every single concept, and every conjunction that a feature is named for, the best column of each kind.

    And the features that detect it best.
    """
    pairs = labels[TRAINED].pairs
    both = conjunctions(namer.rows.fit_labels, pairs)
    scorer, words = namer.held_out(pairs), namer.concept_names(pairs)
    best: dict[str, Choice] = {}
    scores: dict[str, list[Confusion]] = {}
    for name in progress(sets, desc="comparing concepts", unit="dictionary"):
        ranked = labels[name].best_columns
        if len(pairs):
            n_best = N_DETECTORS if name == TRAINED else 1
            ranked = ranked.then(count_labels(sets[name].fit, both).best_columns(n_best))
        if name == TRAINED:
            found_by = detectors(scorer, sets[name].held_out, ranked, words)
        best[name] = ranked.first_of_each
        scores[name] = scorer.score(sets[name].held_out, best[name])
    f1 = {name: np.array([score.f1 for score in results]) for name, results in scores.items()}
    rival = _rival(sets)
    interval = bootstrap_f1_gain(scores[TRAINED], scores[rival])
    n_single = len(namer.rows.names)
    columns = {
        "concept": words,
        "kind": np.where(np.arange(n_single + len(pairs)) < n_single, "single", "pair"),
        "positives": [int(score.positives.sum()) for score in scores[TRAINED]],
        "base_rate": [score.base_rate for score in scores[TRAINED]],
        "feature": best[TRAINED].column,
        "feature_f1": f1[TRAINED],
        "threshold": best[TRAINED].threshold,
        **_against(sets, best[rival].column, f1[rival]),
        "pca_f1": f1[PCA],
        "random_f1": f1[RANDOM],
        "gain": f1[TRAINED] - f1[rival],
        "gain_low": interval[:, 0],
        "gain_high": interval[:, 1],
        "token_f1": namer.token_f1(pairs),
    }
    return pd.DataFrame(columns)[list(CONCEPT_COLUMNS)], found_by


def _token_rows(namer: Namer, sets: dict[str, ColumnSet], names: TokenNames) -> pd.DataFrame:
    """Each feature's set of tokens, beside its rival that detects the same set best."""
    rivals = sets[_rival(sets)]
    column = np.zeros(len(names.members), np.int64)
    threshold = np.zeros(len(names.members), np.float32)
    for place, values in enumerate(namer.fit_tokens):
        here = np.flatnonzero(names.place == place)
        members = [names.members[i] for i in here]
        column[here], threshold[here], _ = best_column_for_sets(rivals.fit.ladder, values, namer.rows.d_vocab, members)
    rival = TokenNames(names.place, names.members, threshold, names.f1)
    frame = score_frame(namer.score_tokens(sets[TRAINED].held_out, names))
    words = [namer.token_set_name(int(p), m) for p, m in zip(names.place, names.members, strict=True)]
    rival_f1 = [score.f1 for score in namer.score_tokens(rivals.held_out, rival, column)]
    return frame.assign(
        feature=np.arange(len(frame)),
        kind="token",
        concept=words,
        size=names.sizes,
        threshold=names.threshold,
        fit_f1=names.f1,
        **_against(sets, column, rival_f1),
    )


def _label_rows(
    namer: Namer, sets: dict[str, ColumnSet], found: LabelNames, concepts: pd.DataFrame
) -> list[pd.DataFrame]:
    """Each feature's best statement; and its best single one, where a conjunction beat it."""
    trained = sets[TRAINED]
    beside = ["random_f1"] if _rival(sets) == RANDOM else []
    scorer = namer.held_out(found.pairs)
    frames = []
    for choice in (found.choice, found.single):
        rivals = concepts.iloc[choice.label].reset_index(drop=True)
        frame = score_frame(scorer.score(trained.held_out, choice)).assign(
            feature=choice.column,
            kind="syntax",
            concept=rivals["concept"],
            size=np.where(choice.label < len(namer.rows.names), 1, 2),
            threshold=choice.threshold,
            fit_f1=choice.f1,
            **{name: rivals[name] for name in ("neuron", "neuron_sign", "neuron_f1", *beside)},
        )
        frames.append(frame)
    beaten = found.choice.label != found.single.label
    return [frames[0], frames[1][beaten]]


def _ranked(names: pd.DataFrame) -> pd.DataFrame:
    """Best first by F1 where it was chosen; a set of tokens is preferred unless it is beaten by the margin."""
    names = names[names["fit_f1"] > 0]
    standing = names["fit_f1"] + np.where(names["kind"] == "token", MARGIN, 0)
    names = names.assign(standing=standing).sort_values(["feature", "standing"], ascending=[True, False])
    rank = names.groupby("feature").cumcount()
    types = {"feature": "int32", "rank": "int8", "size": "int32", "neuron": "int32", "neuron_sign": "int8"}
    types |= {"support": "int32", "f1_low": "float32"}
    kept = ["feature", "rank", *NAME_COLUMNS, *(["random_f1"] if "random_f1" in names else [])]
    return names.assign(rank=rank)[kept].astype(types).reset_index(drop=True)


def _displayed(names: pd.DataFrame, n_features: int, rival_f1: str) -> pd.DataFrame:
    """The best concept of each feature; where it does not hold up on held-out documents, only the scores."""
    best = names[names["rank"] == 0].set_index("feature").reindex(range(n_features))
    found = (best["f1"] >= FLOOR_F1) & (best["lift"] >= MIN_LIFT)
    measures = ["f1", "f1_low", "precision", "recall", "lift", "threshold", rival_f1]
    numbers = best[measures].fillna(0.0).astype("float32")
    return numbers.assign(
        support=best["support"].fillna(0).astype("int32"),
        neuron_f1=numbers[rival_f1] if rival_f1 == "neuron_f1" else np.float32(np.nan),
        name=best["concept"].where(found, NO_CONCEPT),
        kind=best["kind"].where(found, "none"),
        neuron=best["neuron"].fillna(-1).astype("int32"),
        neuron_sign=best["neuron_sign"].fillna(1).astype("int8"),
    )
