"""Edits of activations along directions: add, project out, set, swap, erase.

direction = Subspace.of_probe(probe)
model.run_with_hooks(tokens, fwd_hooks=edit_at(model, tokens, "blocks.0.rnn.hook_h", add(direction, 1.0), at=7))
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes.erasure import Eraser
from workbench.interventions.subspace import Subspace

Coordinates = Float[Tensor, "n k"]


@dataclass(frozen=True)
class Edit:
    """What becomes of a row: its coordinates in a subspace change, and nothing else of it.

    Called on rows [n, d] it gives others, in their precision (half precision is computed with in single); gradients
    flow through.

    Attributes:
        name: what kind of edit it is.
        strength: how much, in the subspace's units; NaN where that is no one number.
        subspace: whose coordinates.
        change: from the rows' coordinates to what is added to them.
        centre: of an edit that takes a subspace out of rows, where nothing is taken out.
        write: what a unit of that change adds to a row: the subspace's own directions, or, of a control, others.
    """

    name: str
    strength: float
    subspace: Subspace
    change: Callable[[Coordinates], Coordinates]
    centre: Float[Tensor, " d"] | None = None
    write: Float[Tensor, "k d"] | None = None

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The rows, edited. `ValueError` where they are not as wide as the directions."""
        x = rows.to(torch.promote_types(rows.dtype, torch.float32))
        write = self.subspace.write if self.write is None else self.write
        return (x + self.change(self.subspace.coordinates(x)) @ write.to(x)).to(rows.dtype)


def add(subspace: Subspace, amount: float | Sequence[float]) -> Edit:
    """Move rows by so much along a direction, in the units of the subspace; of several, by so much along each."""
    by, strength = _amounts("amount", amount, subspace)
    return Edit("add", strength, subspace, lambda c: by.to(c).expand_as(c))


def set_to(subspace: Subspace, value: float | Sequence[float]) -> Edit:
    """Move every row to where its coordinate is `value`, wherever it was."""
    to, strength = _amounts("value", value, subspace)
    return Edit("set_to", strength, subspace, lambda c: to.to(c) - c)


def swap(subspace: Subspace) -> Edit:
    """Reflect rows through where the coordinates are zero, so that each is read as far on the other side.

    Zero is a probe's boundary, or midway between two class means (`Subspace.between`). Twice is not at all.
    """
    return Edit("swap", math.nan, subspace, lambda c: -2 * c)


def project_out(subspace: Subspace, centre: Float[Tensor, " d"] | None = None) -> Edit:
    """Take a subspace out of rows: their part along `write` becomes zero, or that of `centre` (a mean) where given.

    What a probe's intercept adds is none of the row's.
    """
    centre = torch.zeros(subspace.d, dtype=torch.float64) if centre is None else centre
    return _taken_out("project_out", subspace.read, subspace.write, centre)


def erase(eraser: Eraser) -> Edit:
    """What a fitted eraser does (`LEACE(…).fit(X, y).eraser_`). `ValueError` for one that takes nothing out."""
    if not isinstance(eraser, Eraser):
        raise ValueError(f"a {type(eraser).__name__} is no eraser: give what it has fitted, its `eraser_`.")
    if eraser.rank == 0:
        raise ValueError("this eraser takes out no direction: what it was fitted on had nothing to erase.")
    return _taken_out("erase", eraser.right, eraser.left.T, eraser.mean)


def _taken_out(name: str, read: Float[Tensor, "k d"], write: Float[Tensor, "k d"], centre: Float[Tensor, " d"]) -> Edit:
    read, write, centre = (part.detach().double().cpu() for part in (read, write, centre))
    if not torch.isfinite(centre).all():
        raise ValueError("the centre holds NaN or infinite values: it must be of numbers.")
    return Edit(name, math.nan, Subspace(read, write, -read @ centre), lambda c: -c, centre)


def _amounts(name: str, amount: float | Sequence[float], subspace: Subspace) -> tuple[Float[Tensor, " k"], float]:
    """As many numbers as there are directions, and the one that all of them are."""
    numbers = torch.as_tensor(amount, dtype=torch.float64)
    if not torch.isfinite(numbers).all():
        raise ValueError(f"{name} is {amount}: it must be finite.")
    if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) != subspace.k):
        raise ValueError(f"{name} has shape {tuple(numbers.shape)}: give one number, or {subspace.k}, one a direction.")
    alike = numbers.expand(subspace.k)
    return alike, float(alike[0]) if (alike == alike[0]).all() else math.nan
