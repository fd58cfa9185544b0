"""What is decoded: labels of a recording as numbers, alone or together, linear or circular."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from workbench.activations import ActivationStore

# Two labels of these names are one place.
PLACE = ("x", "y")


@dataclass(frozen=True)
class Variables:
    """Labels that are decoded together.

    Attributes:
        names: of the labels.
        period: of each, None where it is linear.
    """

    names: tuple[str, ...]
    period: tuple[float | None, ...]

    @property
    def title(self) -> str:
        """Their names, as results and pages have them."""
        return ", ".join(self.names)

    @property
    def periods(self) -> dict[str, float | None]:
        """The period of each, by name."""
        return dict(zip(self.names, self.period, strict=True))

    def values(self, store: ActivationStore, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Their values at some rows, NaN where a label is missing."""
        table = store.columns(*self.names).take(pa.array(rows))
        return np.stack([_numbers(table[name]) for name in self.names], axis=1)


def read_variables(
    store: ActivationStore, asked: Sequence[str] | None = None, circular: Mapping[str, float] | None = None
) -> list[Variables]:
    """What is to be decoded of a recording.

    Args:
        store: a recording with labels.
        asked: labels, each by itself, or several with commas between them (`x,y`) together. All labels of
            floating-point numbers where None, `x` and `y` together.
        circular: the periods of labels that are angles, by name.

    Raises:
        ValueError: a label that there is not, is no number or is asked for twice; a period that is no length; nothing
            to decode.
    """
    numeric = [name for name in store.labels if _is_number(store, name)]
    if asked is None:
        floating = [name for name in numeric if pa.types.is_floating(_type(store, name))]
        together: list[tuple[str, ...]] = [PLACE] if set(PLACE) <= set(floating) else []
        groups = together + [(name,) for name in floating if not together or name not in PLACE]
        if not groups:
            raise ValueError(
                f"{store.path} has no label of real numbers: name what is to be decoded, of the labels "
                f"{', '.join(numeric) or '(none is a number)'}."
            )
    else:
        groups = [tuple(name.strip() for name in text.split(",")) for text in asked]
    circular = dict(circular or {})
    named = [name for group in groups for name in group]
    for name in [*named, *circular]:
        if name not in store.labels:
            raise ValueError(f"{store.path} has no label {name!r}: there are {', '.join(store.labels)}.")
        if name not in numeric:
            raise ValueError(
                f"{name} is no number: decoders read {', '.join(numeric)}; `workbench probe` reads classes."
            )
    if twice := [name for name in named if named.count(name) > 1]:
        raise ValueError(f"{twice[0]} is asked for twice: each label once, alone or with others.")
    for name, period in circular.items():
        if not (np.isfinite(period) and period > 0):
            raise ValueError(f"the period of {name} is {period}: it must be above zero, such as 6.2832 for radians.")
    return [Variables(group, tuple(circular.get(name) for name in group)) for group in groups]


def stretches_of(store: ActivationStore, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each row the number of its stretch: rows of one sequence whose positions follow one another."""
    about = store.columns("seq", "pos").take(pa.array(rows))
    seq, pos = (about[name].to_numpy() for name in ("seq", "pos"))
    new = (seq[1:] != seq[:-1]) | (pos[1:] != pos[:-1] + 1)
    return np.concatenate([[0], np.cumsum(new)])


def _type(store: ActivationStore, name: str) -> pa.DataType:
    return next(store.shard_columns(name, shards=[0])).schema.field(name).type


def _is_number(store: ActivationStore, name: str) -> bool:
    kind = _type(store, name)
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _numbers(column: pa.ChunkedArray) -> Float[np.ndarray, " n"]:
    return column.cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
