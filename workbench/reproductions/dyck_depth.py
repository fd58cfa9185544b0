"""Counting brackets: networks trained on short strings, tested on long ones, and the unit that holds the depth."""

from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float

from models import recipes
from models.dataset import Dataset
from models.hooks import HookedModel
from models.tasks.dyck import Dyck
from workbench.reproductions.base import Bench, Row, spread

TITLE = "A cell that counts open brackets"
PAPER = "Weiss, Goldberg & Yahav 2018 (arXiv 1805.04908); Suzgun et al. 2019 (arXiv 1906.03648)"

# What can hold the count: the LSTM's cell, which grows without bound; a GRU has only its hidden state.
COUNTER = {"lstm": "blocks.0.rnn.hook_c", "gru": "blocks.0.rnn.hook_h"}
LENGTHS = (100, 200)
N_STRINGS = 400


class Counter(NamedTuple):
    """The unit that follows a count best.

    Attributes:
        unit: the one with the largest |r| on the rows it was chosen on.
        r: its correlation with the count on the other rows.
    """

    unit: int
    r: float


def reproduce(bench: Bench) -> list[Row]:
    """Train on strings of up to 50 brackets; measure accuracy and the best unit's correlation on strings of 100–200."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"{cell}-seed-{seed}": (cell, seed) for cell in COUNTER for seed in seeds}
    named = {cell: recipes.get(f"dyck-{cell}") for cell in COUNTER}
    runs = bench.subjects({name: named[cell].with_changes(seed=seed) for name, (cell, seed) in wanted.items()})
    measured, units = [], []
    for name, (cell, seed) in wanted.items():
        task = longer(cast(Dyck, named[cell].task), *LENGTHS)
        strings = task.dataset(N_STRINGS, seed=seed)
        for stage, model in (("untrained", runs[name].model(step=0)), ("trained", runs[name].model())):
            about = {"cell": cell, "seed": seed, "stage": stage}
            facts, by_unit = _measure(model, task, strings, COUNTER[cell], seed)
            measured.append(about | facts)
            units.append(pd.DataFrame(about | {"unit": np.arange(len(by_unit)), "r": by_unit}))
    found = pd.DataFrame(measured)
    bench.table("counting", found)
    bench.table("correlation_by_unit", pd.concat(units, ignore_index=True))
    return [row for cell in COUNTER for row in _rows(cell, found[found["cell"] == cell])]


def _measure(
    model: HookedModel, task: Dyck, strings: Dataset, hook_name: str, seed: int
) -> tuple[dict[str, float], Float[np.ndarray, " unit"]]:
    """What a subject gets right, how well one of its units follows the depth, and each unit's correlation with it."""
    batch: dict[str, Any] = strings.batch(slice(None))
    with torch.inference_mode():
        output, cache = model.run_with_cache(**batch, names_filter=hook_name)
    real, labels = strings.counted, cast(pa.Table, strings.labels)
    values, depth = cache[hook_name][real].double().numpy(), labels["depth"].drop_null().to_numpy()
    # Whole strings on either side, so that no string chooses the unit and judges it too.
    chosen_on = (torch.arange(len(strings)) < len(strings) // 2)[:, None].expand_as(real)[real].numpy()
    shuffled = np.random.default_rng(seed).permutation(depth)
    counter = best_counter(values, depth, chosen_on)
    facts = {
        "accuracy": task.accuracy(output, batch),
        "whole_strings": task.exact_match(output, batch),
        "never": float(np.mean(depth != 0)),
        "deepest": float(depth.max()),
        "unit": counter.unit,
        "r": abs(counter.r),
        "r_shuffled": abs(best_counter(values, shuffled, chosen_on).r),
    }
    return facts, correlations(values, depth)


def _rows(cell: str, found: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return found.loc[found["stage"] == stage, column].tolist()

    has_bar = cell == "lstm"
    where = f"{cell}, trained on up to 50 brackets, tested on {LENGTHS[0]} to {LENGTHS[1]}"
    accuracy, r = of("accuracy"), of("r")
    return [
        Row(
            f"{where}: accuracy at every bracket",
            "an LSTM generalises to any length" if has_bar else "a GRU counts less far",
            f"{spread(accuracy)}; untrained {spread(of('accuracy', 'untrained'))}; always 'open' {spread(of('never'))}",
            "≥ .99" if has_bar else "",
            min(accuracy) >= 0.99 if has_bar else None,
        ),
        Row(f"{where}: whole strings without a mistake", "", spread(of("whole_strings"))),
        Row(
            f"{cell}: |r| of depth and one {'cell' if has_bar else 'unit'}, chosen on other strings",
            "a cell that counts" if has_bar else "none that counts",
            f"{spread(r)}; untrained {spread(of('r', 'untrained'))}; shuffled {spread(of('r_shuffled'))}",
            "≥ .95" if has_bar else "",
            min(r) >= 0.95 if has_bar else None,
        ),
    ]


def longer(task: Dyck, min_length: int, max_length: int) -> Dyck:
    """The same brackets in strings of other lengths, nested as deep as those allow."""
    return replace(task, min_length=min_length, max_length=max_length, max_depth=max_length // 2)


def correlations(values: Float[np.ndarray, "row unit"], count: np.ndarray) -> Float[np.ndarray, " unit"]:
    """Pearson's r of each unit with a count; 0 for a unit that never changes."""
    centred, count = values - values.mean(0), count - count.mean()
    scale = np.sqrt((centred**2).sum(0) * (count**2).sum())
    return np.divide(centred.T @ count, scale, out=np.zeros_like(scale), where=scale > 0)


def best_counter(
    values: Float[np.ndarray, "row unit"], count: np.ndarray, chosen_on: Bool[np.ndarray, " row"]
) -> Counter:
    """The unit whose |r| with `count` is largest on some rows, and its r on the others."""
    unit = int(np.abs(correlations(values[chosen_on], count[chosen_on])).argmax())
    return Counter(unit, float(correlations(values[~chosen_on][:, [unit]], count[~chosen_on])[0]))
