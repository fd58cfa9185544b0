"""Accuracy against length, with attention and without: one state is not enough for a long sentence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from models import recipes
from models.recipes import Recipe
from models.seq2seq import Seq2Seq
from models.tasks.copying import Copy
from workbench.reproductions.base import Bench, Row, spread

TITLE = "Long sentences need attention"
PAPER = "Bahdanau, Cho & Bengio 2015 (arXiv 1409.0473), figure 2"

# The paper's two: both trained on the same sentences, up to a length.
MODELS = {
    "RNNsearch": {"attention": "bahdanau", "bidirectional_encoder": True},
    "RNNenc": {"attention": "none", "bidirectional_encoder": False},
}
RECIPE = "copy-bahdanau"
N_SYMBOLS = 8
SHORTEST = 2
BINS = ((2, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30))
BINS_OF_THE_BAR = ((2, 5), (16, 20))
N_EXAMPLES = 200


def reproduce(bench: Bench) -> list[Row]:
    """Train both on copying up to 20 symbols (full: also up to 10), and test them at every length up to 30."""
    seeds = range(5 if bench.full else 1)
    limits = (10, 20) if bench.full else (20,)
    wanted = {
        f"{model}-{limit}-seed-{seed}": (model, limit, seed) for limit in limits for model in MODELS for seed in seeds
    }
    runs = bench.subjects({name: subject(*about) for name, about in wanted.items()})
    curves = []
    for name, (model, limit, seed) in wanted.items():
        about = {"model": model, "trained_up_to": limit, "seed": seed}
        for stage, network in (("untrained", runs[name].model(step=0)), ("trained", runs[name].model())):
            task = cast(Copy, subject(model, limit, seed).task)
            curve = accuracy_by_length(network, task, range(SHORTEST, BINS[-1][1] + 1), N_EXAMPLES, seed)
            curves.append(curve.assign(stage=stage, **about))
    found = pd.concat(curves, ignore_index=True)
    bench.table("accuracy_by_length", found)
    return [row for limit in limits for row in _rows(limit, found[found["trained_up_to"] == limit])]


def subject(model: str, limit: int, seed: int) -> Recipe:
    """The recipe of one subject, which learns to copy up to `limit` symbols and takes any number."""
    recipe = recipes.get(RECIPE).with_changes(seed=seed)
    task = replace(cast(Copy, recipe.task), n_symbols=N_SYMBOLS, min_length=SHORTEST, max_length=limit)
    return replace(recipe, model=recipe.model | MODELS[model] | {"n_ctx": None}, task=task)


def accuracy_by_length(model: Seq2Seq, task: Copy, lengths: Sequence[int], n: int, seed: int) -> pd.DataFrame:
    """The share of tokens right in `n` examples of each length, the true ones fed back: `length`, `accuracy`."""
    rows = []
    for length in lengths:
        at_length = replace(task, min_length=length, max_length=length)
        drawn = at_length.draw(n, np.random.default_rng([seed, length]))
        batch: dict[str, Any] = drawn.dataset().batch(slice(None))
        with torch.inference_mode():
            rows.append({"length": length, "accuracy": at_length.accuracy(model(**batch), batch)})
    return pd.DataFrame(rows)


def by_bin(curve: pd.DataFrame, bins: Sequence[tuple[int, int]] = BINS) -> list[float]:
    """The mean accuracy over the lengths of each bin, ends included."""
    return [float(curve.loc[curve["length"].between(*ends), "accuracy"].mean()) for ends in bins]


def _rows(limit: int, found: pd.DataFrame) -> list[Row]:
    rows, falls = [], {}
    short, long = BINS_OF_THE_BAR
    for model in MODELS:
        of_model = found[found["model"] == model]
        seeds = [[by_bin(c) for _, c in g.groupby("seed")] for _, g in of_model.groupby("stage", sort=False)]
        untrained, trained = (np.array(values) for values in seeds)
        falls[model] = (trained[:, BINS.index(short)] - trained[:, BINS.index(long)]).tolist()
        rows += [
            Row(
                f"{model}-{limit}: tokens right at lengths {start}–{end}{'' if end <= limit else ', never seen'}",
                "",
                f"{spread(trained[:, i].tolist())}; untrained {spread(untrained[:, i].tolist())}",
            )
            for i, (start, end) in enumerate(BINS)
        ]
    if limit != long[1]:  # the bar is on lengths that were all trained on, and as far apart as there are
        return rows
    span = f"from lengths {short[0]}–{short[1]} to {long[0]}–{long[1]}"
    with_it, without = falls["RNNsearch"], falls["RNNenc"]
    return [
        *rows,
        Row(f"RNNsearch-{limit}: fall {span}", "robust", spread(with_it), "≤ .05", max(with_it) <= 0.05),
        Row(f"RNNenc-{limit}: fall {span}", "falls dramatically", spread(without), "≥ .20", min(without) >= 0.20),
    ]
