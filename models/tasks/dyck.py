"""Well-nested brackets: counting with one type, a stack with several."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.loss import next_tokens
from models.tasks.base import NOTHING, Drawn, Task, check_among, check_at_least, check_lengths, check_share

OBJECTIVES = ("depth_zero", "next")


@dataclass(frozen=True)
class Dyck(Task):
    """Strings of Dyck-n: brackets of n types, each closed by its own, nested to a depth.

    Dyck-1 needs a counter, which an LSTM keeps in a cell (Weiss et al. 2018, arXiv 1805.04908; Suzgun et al. 2019,
    arXiv 1906.03648); Dyck-n a stack; for a depth of at most m, O(m log n) hidden units are enough (Hewitt et al.
    2020, arXiv 2010.07515). To see whether a subject counts, test it on longer strings:
    `replace(task, min_length=100, max_length=200)`.

    Token ids: BOS 0, opening brackets 1 to n, their closing ones n + 1 to 2n, EOS 2n + 1 where the next token is asked.
    Labels: `depth`, how many brackets are open after this one; `is_open`, whether it opens; `bracket_type`, from 0;
    `matching_bracket`, the position of its partner; `innermost`, the position of the bracket that would be closed next.

    Attributes:
        n_types: of brackets.
        max_depth: never more are open at once.
        min_length, max_length: brackets in a string; even numbers between these are drawn alike.
        p_open: the probability of opening, where opening and closing are both possible.
        objective: `depth_zero`: at every bracket, class 1 if all are closed after it, else 0. `next`: the next token;
            any that may follow is right: an opening bracket below the largest depth, the innermost one's partner, EOS
            at depth 0.
    """

    name: ClassVar[str] = "dyck"
    n_types: int = 1
    max_depth: int = 10
    min_length: int = 2
    max_length: int = 50
    p_open: float = 0.5
    objective: str = "depth_zero"

    def __post_init__(self) -> None:
        check_among(self, "objective", OBJECTIVES)
        check_at_least(self, n_types=1, max_depth=1)
        check_lengths(self, "min_length", "max_length", least=2)
        check_share(self, "p_open")
        if self._most < self.min_length:
            raise ValueError(
                f"all lengths from {self.min_length} to {self.max_length} are odd: brackets come in pairs."
            )

    @property
    def shape(self) -> dict[str, int]:
        if self.objective == "next":
            return {"d_vocab": 2 * self.n_types + 2, "n_ctx": self._most + 2}
        return {"d_vocab": 2 * self.n_types + 1, "n_ctx": self._most + 1, "d_out": 2}

    @property
    def eos(self) -> int:
        """The token id of EOS, which ends strings where the next token is asked."""
        return 2 * self.n_types + 1

    @property
    def _most(self) -> int:
        return 2 * (self.max_length // 2)

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        length = 2 * rng.integers((self.min_length + 1) // 2, self.max_length // 2 + 1, size=n)
        steps = np.zeros((n, self.shape["n_ctx"]), dtype=np.int16)
        steps[:, 1 : self._most + 1] = self._walk(length, rng)
        depth, partner = steps.cumsum(1, dtype=np.int16), _partners(steps)
        position = np.arange(steps.shape[1])
        opener = np.where(steps > 0, position, np.maximum(partner, 0))
        kind = np.take_along_axis(rng.integers(self.n_types, size=steps.shape), opener, axis=1)
        tokens = np.where(steps == 0, 0, kind + np.where(steps > 0, 1, 1 + self.n_types))
        mask = position <= length[:, None]
        targets = None
        if self.objective == "next":
            np.put_along_axis(tokens, length[:, None] + 1, self.eos, axis=1)
            mask = position <= length[:, None] + 1
        else:
            targets = np.where(steps == 0, NOTHING, depth == 0)
        no_bracket = steps == 0
        truth = {
            "depth": depth,
            "is_open": np.ma.masked_array(steps > 0, mask=no_bracket),
            "bracket_type": np.ma.masked_array(kind, mask=no_bracket),
            "matching_bracket": np.ma.masked_less(partner, 0),
            "innermost": np.ma.masked_less(_innermost(steps, depth), 0),
        }
        return Drawn(tokens, mask=mask, targets=targets, truth=truth)

    def _walk(self, length: Int[np.ndarray, " seq"], rng: np.random.Generator) -> Int[np.ndarray, "seq time"]:
        """+1 for opening, −1 for closing, 0 past the end: a random walk from 0 to 0, never below and never too high."""
        left = length - np.arange(self._most)[:, None]
        coin, bound = rng.random(left.shape) < self.p_open, np.minimum(left, self.max_depth)
        opens, depth = np.empty(left.shape, dtype=bool), np.zeros_like(length)
        for t in range(self._most):
            opens[t] = (coin[t] | (depth == 0)) & (depth < bound[t])
            depth += np.where(opens[t], 1, -1)
        return np.where(left > 0, np.where(opens, 1, -1), 0).T.astype(np.int16)

    def legal(self, tokens: Int[Tensor, "seq time"]) -> Bool[Tensor, "seq time d_vocab"]:
        """Which tokens may come next after each of these strings of the task; none after EOS and padding.

        May come: in a string of any length. That one must end within `max_length` is not counted.
        """
        ids = tokens.numpy()
        opens = (ids >= 1) & (ids <= self.n_types)
        steps = np.where(opens, 1, np.where((ids > self.n_types) & (ids < self.eos), -1, 0)).astype(np.int16)
        depth = steps.cumsum(1, dtype=np.int16)
        inner = np.take_along_axis(ids, np.maximum(_innermost(steps, depth), 0), axis=1)
        legal = np.zeros((*ids.shape, 2 * self.n_types + 2), dtype=bool)
        np.put_along_axis(legal, (inner + self.n_types)[..., None], (depth > 0)[..., None], axis=2)
        legal[..., 1 : self.n_types + 1] = (depth < self.max_depth)[..., None]
        legal[..., self.eos] = depth == 0
        legal[:, 1:] &= (steps[:, 1:] != 0)[..., None]
        return torch.from_numpy(legal)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """`depth_zero`: the class is right. `next`: the likeliest token may come next."""
        if self.objective == "depth_zero":
            return super().hits(output, batch)
        asked = next_tokens(batch["input"], batch["mask"]) != NOTHING
        legal = self.legal(batch["input"])
        return legal.gather(2, output.argmax(-1, keepdim=True))[..., 0], asked


def _partners(steps: Int[np.ndarray, "seq time"]) -> Int[np.ndarray, "seq time"]:
    """The position of each bracket's partner; −1 where there is no bracket.

    The brackets of one depth open and close by turns: in the order of depth, then position, partners are neighbours.
    """
    level = np.where(steps == 0, np.iinfo(np.int16).max, steps.cumsum(1) - (steps > 0)).astype(np.int16)
    order = level.argsort(axis=1, kind="stable")
    n_pairs = (steps.shape[1] - 1) // 2
    first, second = order[:, 0 : 2 * n_pairs : 2], order[:, 1 : 2 * n_pairs : 2]
    partner = np.full(steps.shape, -1)
    np.put_along_axis(partner, first, second, axis=1)
    np.put_along_axis(partner, second, first, axis=1)
    return np.where(steps == 0, -1, partner)


def _innermost(steps: Int[np.ndarray, "seq time"], depth: Int[np.ndarray, "seq time"]) -> Int[np.ndarray, "seq time"]:
    """The position of the last bracket that is open after each position; −1 where none is.

    It is the last to have opened to the depth that there is: in the order of depth, then position, the last before.
    A depth is first reached by opening, so that the search never runs into another depth.
    """
    order = depth.argsort(axis=1, kind="stable")
    opens = np.take_along_axis(steps > 0, order, axis=1)
    last = np.maximum.accumulate(np.where(opens, np.arange(steps.shape[1]), 0), axis=1)
    found = np.empty(steps.shape, dtype=np.int64)
    np.put_along_axis(found, order, np.take_along_axis(order, last, axis=1), axis=1)
    return np.where(depth == 0, -1, found)
