"""How open the gates of a recurrent subject are, over sequences or a recording, by unit and by label."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped

from models.dataset import Dataset
from models.evaluation import accepted, as_evaluated
from workbench.activations import ActivationStore
from workbench.activations.recorder import axis_of
from workbench.dynamics.states import GATES

LOW, HIGH = 0.1, 0.9
ALL = "all"
BATCH = 256
_GATE = re.compile(rf"blocks\.\d+\.rnn(_reverse)?\.hook_({'|'.join(GATES)})")
# A label of more values is none that gates are told apart by.
MOST_VALUES = 12


def gate_hooks(hooks: Sequence[str]) -> list[str]:
    """Those of some hooks that are gates, between 0 and 1."""
    return [name for name in hooks if _GATE.search(name)]


def read_gates(source: Any, data: Dataset | Int[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "n unit"]]:
    """The gates of a subject at the positions that count of some sequences; or those of a recording's rows.

    Of a subject with an encoder its gates are those at the positions that count of the source.

    Args:
        source: a subject; or a recording, of whatever gates it has.
        data: the sequences; or the rows, by number.

    Raises:
        ValueError: there are no gates.
    """
    of = source.hooks if isinstance(source, ActivationStore) else list(source.hook_dict)
    if not (names := gate_hooks(of)):
        raise ValueError("there are no gates here: an rnn has none, and a recording those that were asked for.")
    if isinstance(source, ActivationStore):
        return {name: source.read(name, np.asarray(data)).numpy() for name in names}
    if not isinstance(data, Dataset):
        raise ValueError("give the sequences that the subject is to read: rows by number are those of a recording.")
    counted = {name: data.on_axis(axis_of(source, name)).counted for name in names}
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with as_evaluated(source), torch.inference_mode():
        for rows in torch.arange(len(data)).split(BATCH):
            given = accepted(source, data.batch(rows))
            _, cache = source.run_with_cache(**given, names_filter=names, return_cache_object=False)
            for name in names:
                found[name].append(cache[name][counted[name][rows]].float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def gate_statistics(
    gates: Mapping[str, Float[np.ndarray, "n unit"]],
    labels: Mapping[str, Shaped[np.ndarray, " n"]] | None = None,
    *,
    untrained: Mapping[str, Float[np.ndarray, "n unit"]] | None = None,
    low: float = LOW,
    high: float = HIGH,
) -> pd.DataFrame:
    """How often each gate is shut or wide open (Karpathy et al. 2015, arXiv 1506.02078, section 4.1), and its mean.

    Args:
        gates: by the name of their hook (`read_gates`).
        labels: of the same rows; statistics are given for each value too of those that have at most a
            dozen; a missing value is NaN.
        untrained: the gates of the subject before its training, on the same rows.
        low: below it a gate is left-saturated.
        high: above it a gate is right-saturated.

    Returns:
        One row a variant (`trained`, `untrained`), `hook`, `unit`, `label` ("all" for all rows) and `value`: `n` rows,
        `mean`, `std`, and the shares that are `left`- and `right`-saturated.

    Raises:
        ValueError: there are no gates, the bounds are no bounds within 0 and 1, or labels have other rows.
    """
    if not gates:
        raise ValueError("there are no gates: give those of at least one hook, as read_gates does.")
    if not 0 <= low < high <= 1:
        raise ValueError(f"low is {low} and high {high}: they must rise, within 0 and 1.")
    tables = []
    for variant, source in (("trained", gates), ("untrained", untrained or {})):
        for hook, values in source.items():
            for label, value, rows in _parts(labels or {}, len(values)):
                part = values[rows]
                facts = {
                    "unit": np.arange(values.shape[1]),
                    "n": len(part),
                    "mean": part.mean(0),
                    "std": part.std(0),
                    "left": (part < low).mean(0),
                    "right": (part > high).mean(0),
                }
                about = {"variant": variant, "hook": hook, "label": label, "value": value}
                tables.append(pd.DataFrame(about | facts))
    return pd.concat(tables, ignore_index=True)


def _parts(labels: Mapping[str, np.ndarray], n: int) -> list[tuple[str, str, np.ndarray]]:
    """All rows, and those of each value of each label."""
    found = [(ALL, ALL, np.ones(n, bool))]
    for name, values in labels.items():
        if len(values) != n:
            raise ValueError(
                f"{name} has {len(values)} values, but there are {n} rows of gates: one is needed for each."
            )
        text = np.array(["" if value != value else f"{value}".removesuffix(".0") for value in values.tolist()])
        known = np.unique(text[text != ""])
        if 2 <= len(known) <= MOST_VALUES:
            found += [(name, str(value), text == value) for value in known]
    return found
