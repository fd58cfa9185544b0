"""`read_states`: one text as a recurrent subject read it, with its states and gates at every step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from workbench.features.reading.text import TextReading, read_text

# What a σ gives, between 0 and 1; the other values of a cell can be negative, or above one.
GATES = ("i", "f", "o", "reset", "update")
_HOOK = re.compile(r"blocks\.(\d+)\.(rnn|rnn_reverse)\.hook_(\w+)")
_BACKWARD = "_backward"

Values = Float[np.ndarray, "pos unit"]


@dataclass(frozen=True)
class StatesReading(TextReading):
    """One text as a recurrent subject read it; position 0 is BOS.

    Attributes:
        layers: for each layer, by name, what its cell held after each step: `h`, then the other values in the order in
            which the cell has them (`c` and the gates); with `_backward` behind the name for the cell that runs from
            the end, where the network is bidirectional.
    """

    layers: list[dict[str, Values]]

    def gates(self, layer: int) -> dict[str, Values]:
        """Those of a layer's values that are gates, between 0 and 1."""
        return {name: value for name, value in self.layers[layer].items() if is_gate(name)}


def is_gate(name: str) -> bool:
    """Whether a value of a cell is a gate, between 0 and 1."""
    return name.removesuffix(_BACKWARD) in GATES


def has_recurrence(model: Any) -> bool:
    """Whether a subject has recurrent layers, be it in an encoder or a decoder."""
    return any(_HOOK.search(name) for name in model.hook_dict)


def read_states(model: Any, text: str, *, n_predictions: int = 5, bos: int | None = None) -> StatesReading:
    """Run a recurrent subject on a text once and read its losses, predictions, states and gates.

    Args:
        model: a subject with recurrent layers and a tokenizer.
        text: the prompt, without BOS.
        n_predictions: how many next tokens are told at each position.
        bos: the id of BOS; the subject's own where None.

    Raises:
        ValueError: the subject has no recurrence or cannot read a text, or the prompt is empty or too long.
    """
    if not has_recurrence(model):
        raise ValueError("this model has no recurrence: nothing in it goes from one step to the next.")
    found = {name: match for name in model.hook_dict if (match := _HOOK.fullmatch(name))}
    reading, cache = read_text(model, text, list(found), n_predictions=n_predictions, bos=bos)
    layers: list[dict[str, Values]] = [{} for _ in range(1 + max(int(match[1]) for match in found.values()))]
    # The hidden state is what is looked at first, and a cell names it last.
    for name in sorted(found, key=lambda name: found[name][3] != "h"):
        layer, direction, value = found[name].groups()
        key = value + (_BACKWARD if direction == "rnn_reverse" else "")
        layers[int(layer)][key] = cache[name][0].float().cpu().numpy()
    return StatesReading(**vars(reading), layers=layers)


def gate_saturation(reading: StatesReading, layer: int, *, low: float = 0.1, high: float = 0.9) -> pd.DataFrame:
    """How often each gate is shut or wide open (Karpathy et al. 2015, arXiv 1506.02078, section 4.1).

    Args:
        reading: a text as it was read.
        layer: whose gates.
        low: below it a gate is left-saturated.
        high: above it a gate is right-saturated.

    Returns:
        One row a gate and unit: `gate`, `unit`, and the share of tokens, BOS left out, at which it is `left`- and
        `right`-saturated; no row where the cell has no gates.
    """
    tables = [
        pd.DataFrame(
            {
                "gate": name,
                "unit": np.arange(value.shape[1]),
                "left": (value[1:] < low).mean(0),
                "right": (value[1:] > high).mean(0),
            }
        )
        for name, value in reading.gates(layer).items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["gate", "unit", "left", "right"])


def most_varying(values: Values, n: int) -> Int[np.ndarray, " chosen"]:
    """The `n` units whose value varies most over the tokens, BOS left out, the most varying first."""
    spread = values[1:].std(0)
    return np.argsort(-spread, kind="stable")[:n]


def states_table(values: Values, units: Int[np.ndarray, " chosen"], words: Sequence[str]) -> pd.DataFrame:
    """Some units over a text, as `figures.state_heatmap` takes them: `position`, `token`, `unit` and `value`.

    Args:
        values: of one layer, as a reading has them.
        units: which.
        words: one a position.
    """
    return pd.DataFrame(
        {
            "position": np.repeat(np.arange(len(values)), len(units)),
            "token": np.repeat(np.array(words, dtype=object), len(units)),
            "unit": np.tile(units, len(values)),
            "value": values[:, units].ravel(),
        }
    )
