"""Units that hold something unusual at a token: each value beside what that unit holds elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from workbench.activations import ActivationStore

# Numbers of a recording that are held to compare with: 16,384 rows of 512 units.
_HELD = 1 << 23
_MOST_ROWS = 1 << 14
# Of each unit's values, what is told of their spread.
LOW, HIGH = 0.05, 0.95
_UNITS = re.compile(r"blocks\.\d+\.(mlp\.hook_post|(rnn|rnn_reverse)\.hook_\w+)")


def unit_hooks(model: Any) -> list[str]:
    """The hooks whose columns are units of their own: neurons after their nonlinearity, states and gates of cells."""
    return [name for name in model.hook_dict if _UNITS.fullmatch(name)]


@dataclass(frozen=True)
class ElsewhereHeld:
    """What each unit of a hook holds at other tokens.

    Attributes:
        hook: whose.
        values: of each unit, ascending.
        mean: of each unit.
        std: of each unit.
        source: a `recording`, or the tokens of the same `prompt`, its start left out.
        n_all: tokens there are; `values` are of fewer where not all were read, drawn at random.
    """

    hook: str
    values: Float[np.ndarray, "unit n"]
    mean: Float[np.ndarray, " unit"]
    std: Float[np.ndarray, " unit"]
    source: Literal["recording", "prompt"]
    n_all: int

    @classmethod
    def of_recording(cls, store: "ActivationStore", hook: str, *, seed: int = 0) -> "ElsewhereHeld":
        """What was recorded, of a long recording at tokens that are drawn at random. One seed draws the same."""
        store = store.on(store.axis_of(hook))
        n = min(len(store), _MOST_ROWS, max(1, _HELD // store.width(hook)))
        rows = np.sort(np.random.default_rng(seed).choice(len(store), n, replace=False))
        return cls._of(hook, store.read(hook, rows).numpy(), "recording", len(store))

    @classmethod
    def of_prompt(cls, hook: str, held: Mapping[str, Float[Tensor, "pos _"]]) -> "ElsewhereHeld":
        """What stands in a text that was read, its start left out."""
        values = held[hook].numpy()[1:]
        return cls._of(hook, values, "prompt", len(values))

    @classmethod
    def _of(
        cls, hook: str, rows: Float[np.ndarray, "n unit"], source: Literal["recording", "prompt"], n_all: int
    ) -> "ElsewhereHeld":
        wide = rows.astype(np.float64)
        return cls(hook, np.sort(rows, 0).T.copy(), wide.mean(0), wide.std(0), source, n_all)


def unusual_units(here: Float[np.ndarray, " unit"], elsewhere: ElsewhereHeld) -> pd.DataFrame:
    """The units of a hook, those first whose value here is farthest from their own mean, in standard deviations.

    Where a nonlinearity has a floor many units are at their smallest all the time: percentiles alone would name these.

    Args:
        here: what each holds at one token.
        elsewhere: what it holds at others.

    Returns:
        A line a unit: `unit`, `value`; `percentile`, the share of its values elsewhere, in percent, that lie below this
        one (of equal ones half); `low`, `median` and `high`, its 5th, 50th and 95th; `deviations`, how many standard
        deviations it is from its mean, 0 of a unit that never moves.

    Raises:
        ValueError: there is not one value a unit.
    """
    values = elsewhere.values
    if here.shape != (len(values),):
        raise ValueError(f"there are {here.shape} values, but {elsewhere.hook} has {len(values)} units.")
    below, equal = ((found).mean(1) for found in (values < here[:, None], values == here[:, None]))
    share = below + equal / 2
    spread = np.where(elsewhere.std > 0, elsewhere.std, np.inf)
    low, median, high = _quantiles(values, (LOW, 0.5, HIGH))
    table = pd.DataFrame(
        {
            "unit": np.arange(len(values)),
            "value": here,
            "percentile": 100 * share,
            "low": low,
            "median": median,
            "high": high,
            "deviations": (here - elsewhere.mean) / spread,
        }
    )
    return table.sort_values("deviations", key=abs, ascending=False, kind="stable", ignore_index=True)


def _quantiles(ascending: Float[np.ndarray, "unit n"], shares: tuple[float, ...]) -> list[np.ndarray]:
    """Of values that are sorted already, between neighbours by lines."""
    last = ascending.shape[1] - 1
    found = []
    for share in shares:
        at = share * last
        below, above = ascending[:, int(at)], ascending[:, min(int(at) + 1, last)]
        found.append(below + (at - int(at)) * (above - below))
    return found
