"""Parts of what stands at a hook: one head, position or unit of it, or several, of any subject."""

import operator
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.compiled import Node
from models.dataset import Dataset
from workbench.interventions.pairs import batch_of
from workbench.interventions.positions import Positions, editable
from workbench.interventions.values import values_at

BY = ("position", "head", "unit")
COLUMNS = ("hook", "layer", "head", "position", "unit")


class Part(NamedTuple):
    """A part of what stands at a hook; None is all of them. `models.compiled.Node` says the same of a head.

    A pattern's units are its keys, and its positions the queries. A recurrence's positions are its steps.
    """

    hook: str
    head: int | None = None
    position: int | None = None
    unit: int | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """Where it is, in a table's columns."""
        return {"layer": layer_of(self.hook)} | self._asdict()


def named(node: Node) -> str:
    """A node as tables have it: the hook, with the head in brackets where it is one head's."""
    return node.hook if node.head is None else f"{node.hook}[{node.head}]"


def layer_of(hook: str) -> int | None:
    """The number of the block that a hook is in; None where it is in none."""
    found = re.search(r"blocks\.(\d+)\.", hook)
    return int(found[1]) if found else None


def hook_names(model: Any, hooks: str | Sequence[str]) -> list[str]:
    """Names of hooks, each once, in the order given. `ValueError` for one that there is not, or none at all."""
    names = [hooks] if isinstance(hooks, str) else list(dict.fromkeys(hooks))
    if not names:
        raise ValueError("no hook was named: name at least one, such as blocks.0.attn.hook_z.")
    for name in names:
        model.match_hooks(name)
    return names


@dataclass(frozen=True)
class HookShape:
    """What a hook has at each position, and what of it may be touched.

    Attributes:
        hook: its name.
        rest: the shape of one position's value: `(d,)`, or `(head, d)`.
        where: the positions that may be touched.
        allowed: of a position's values those that may be.
    """

    hook: str
    rest: tuple[int, ...]
    where: Bool[Tensor, "seq hook_pos"]
    allowed: Bool[Tensor, "*rest"]

    @property
    def n_heads(self) -> int | None:
        """None where the hook has no heads."""
        return self.rest[0] if len(self.rest) == 2 else None

    def mask(self, part: Part, seq: Int[Tensor, " chosen"]) -> Bool[Tensor, "chosen hook_pos *rest"]:
        """What a part takes of some sequences."""
        where, of_row = self.where[seq], self.allowed
        if part.position is not None:
            where = where & (torch.arange(where.shape[1]) == part.position)
        if part.head is not None:
            of_row = of_row & (torch.arange(self.rest[0]) == part.head)[:, None]
        if part.unit is not None:
            of_row = of_row & (torch.arange(self.rest[-1]) == part.unit)
        return where.view(*where.shape, *[1] * len(self.rest)) & of_row

    def touches(self, part: Part) -> Bool[Tensor, " seq"]:
        """The sequences in which a part has any position."""
        return self.where.any(1) if part.position is None else self.where[:, part.position]

    def refuse_absent(self, part: Part) -> None:
        """`ValueError` for a part that is not there, or of which nothing may be touched."""
        if part.head is not None:
            self._refuse_heads([part.head])
        if part.unit is not None:
            refuse_outside(self.hook, "unit", self.rest[-1], [part.unit])
        if part.position is not None:
            refuse_outside(self.hook, "position", self.where.shape[1], [part.position])
            if not self.where[:, part.position].any():
                raise ValueError(
                    f"there is nothing to touch at position {part.position} of {self.hook}: it is BOS or padding, or "
                    "was not chosen (bos=True takes BOS too)."
                )

    def restricted(self, heads: Sequence[int] | None, units: Sequence[int] | None) -> "HookShape":
        """With these heads and units alone. `ValueError` where one is not there."""
        allowed = self.allowed
        if heads is not None:
            heads = chosen_numbers(heads, "heads")
            self._refuse_heads(heads)
            allowed = allowed & _among(heads, self.rest[0])[:, None]
        if units is not None:
            units = chosen_numbers(units, "units")
            refuse_outside(self.hook, "unit", self.rest[-1], units)
            allowed = allowed & _among(units, self.rest[-1])
        return HookShape(self.hook, self.rest, self.where, allowed)

    def _refuse_heads(self, heads: Sequence[int]) -> None:
        if self.n_heads is None:
            raise ValueError(f"{self.hook} has no heads: none of them can be chosen.")
        refuse_outside(self.hook, "head", self.n_heads, heads)


def hook_shapes(
    model: Any,
    data: Dataset,
    hooks: Sequence[str],
    *,
    positions: Positions | None = None,
    heads: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    bos: bool = False,
) -> dict[str, HookShape]:
    """What each hook has at a position, seen by running the subject on one sequence.

    Args:
        model: the subject.
        data: the sequences that it will be run on.
        hooks: names.
        positions: those that may be touched, by number or as a mask; all real ones where None.
        heads: of hooks that have some, those that may be touched; all where None.
        units: numbers of the last axis; all where None.
        bos: whether BOS may be touched too.

    Raises:
        ValueError: there is no such position, head or unit, or nothing to touch.
    """
    if not len(data):
        raise ValueError("there are no sequences: give at least one.")
    where = {name: touchable(model, data, name, positions, bos) for name in hooks}
    shapes = {}
    for name, value in values_at(model, batch_of(data, torch.tensor([0])), hooks).items():
        rest = tuple(value.shape[2:])
        if len(rest) not in (1, 2):
            raise ValueError(f"{name} has values of shape {list(rest)} at a position: only [unit] and [head, unit] do.")
        whole = HookShape(name, rest, where[name], torch.ones(rest, dtype=torch.bool))
        shapes[name] = whole.restricted(heads, units)
    return shapes


def touchable(
    model: Any, data: Dataset, hook: str, positions: Positions | None = None, bos: bool = False
) -> Bool[Tensor, "seq hook_pos"]:
    """The positions of a hook that may be touched: those chosen, by number or as a mask, or all real ones where None.

    Raises:
        ValueError: a position is not there, none is chosen, or those that are hold nothing but BOS and padding.
    """
    where = editable(model, data, hook, positions, bos=bos)
    if not where.any():
        raise ValueError("there is nothing but BOS and padding in these sequences (bos=True takes BOS too).")
    return where


def checked_parts(by: str | Collection[str], known: Sequence[str] = BY) -> set[str]:
    """What is told apart; one may be named by itself. `ValueError` for what nothing can be taken apart by."""
    parts = {by} if isinstance(by, str) else set(by)
    if unknown := sorted(parts - set(known)):
        raise ValueError(f"by has {unknown[0]!r}: it may have {', '.join(known)}.")
    return parts


def parts_of(shapes: Mapping[str, HookShape], by: Sequence[str]) -> list[Part]:
    """Every part of some hooks that is touched one at a time; what is not in `by` is touched all at once.

    Raises:
        ValueError: a hook has no heads, or nothing is called that.
    """
    one_at_a_time = checked_parts(by)
    parts = []
    for hook, shape in shapes.items():
        if "head" in one_at_a_time and shape.n_heads is None:
            raise ValueError(f"{hook} has no heads: leave 'head' out of by (by=() takes all of the hook at once).")
        of_row = shape.allowed if shape.n_heads is not None else shape.allowed[None]
        parts += [
            Part(hook, head, position, unit)
            for head in _numbers(of_row.any(1), "head" in one_at_a_time)
            for position in _numbers(shape.where.any(0), "position" in one_at_a_time)
            for unit in _numbers(of_row.any(0), "unit" in one_at_a_time)
        ]
    return parts


def as_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Lines under these columns; numbers of places and seeds may be missing in some."""
    whole = {name: "Int64" for name in (*COLUMNS[1:], "seed", "sequences") if name in columns}
    return pd.DataFrame(list(rows), columns=list(columns)).astype(whole)


def chosen_numbers(some: Iterable[int], name: str) -> tuple[int, ...]:
    """Numbers of heads or units in order, each once. `ValueError` for what is no whole number."""
    try:
        return tuple(sorted({operator.index(number) for number in some}))
    except TypeError:
        raise ValueError(f"{name} are {some!r}: give whole numbers, such as [0, 1].") from None


def refuse_outside(of: str, what: str, n: int, chosen: Sequence[int]) -> None:
    """`ValueError` where numbers are not there, or none is given."""
    if not len(chosen):
        raise ValueError(f"no {what} was chosen: choose at least one, or leave {what}s out for all.")
    for number in chosen:
        if not 0 <= number < n:
            raise ValueError(f"{of} has no {what} {number}: they are numbered 0 to {n - 1}.")


def _among(chosen: Sequence[int], n: int) -> Bool[Tensor, " n"]:
    return torch.isin(torch.arange(n), torch.tensor(list(chosen)))


def _numbers(chosen: Bool[Tensor, " n"], one_at_a_time: bool) -> Sequence[int | None]:
    return chosen.nonzero()[:, 0].tolist() if one_at_a_time else [None]
