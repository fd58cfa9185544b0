"""Keys and values of the positions that a transformer has read, kept for those to come."""

import torch
from jaxtyping import Float
from torch import Tensor

New = Float[Tensor, "batch new head d_head"]
All = Float[Tensor, "batch all head d_head"]


class KeyValues:
    """One layer's keys and values so far; adding to them is cheap, for the room they have doubles when it is full.

    Attributes:
        length: positions that are in.
    """

    def __init__(self) -> None:
        self.length = 0
        self._room = [torch.empty(0, 0), torch.empty(0, 0)]

    @classmethod
    def of(cls, k: All, v: All) -> "KeyValues":
        """Those of positions that have been read elsewhere."""
        found = cls()
        found.length, found._room = k.shape[1], [k, v]
        return found

    def append(self, k: New, v: New) -> tuple[All, All]:
        """Take in the keys and values of new positions and return those of all."""
        start, self.length = self.length, self.length + k.shape[1]
        if start == 0 or self._room[0].shape[1] < self.length:
            self._room = [self._grown(new, old[:, :start]) for new, old in zip((k, v), self._room, strict=True)]
        for room, new in zip(self._room, (k, v), strict=True):
            room[:, start : self.length] = new
        return self._room[0][:, : self.length], self._room[1][:, : self.length]

    def _grown(self, new: New, old: Tensor) -> Tensor:
        room = new.new_empty(len(new), 2 * self.length, *new.shape[2:])
        if self.length > new.shape[1]:
            room[:, : old.shape[1]] = old
        return room


class KeyValueCache:
    """The keys and values of every layer: what a transformer goes on from."""

    def __init__(self, n_layers: int) -> None:
        self.layers = [KeyValues() for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """Positions that have been read."""
        return self.layers[0].length
