"""Repeated random sequences, the task that induction heads solve."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.loss import next_tokens
from models.tasks.base import NOTHING, Drawn, Task, check_at_least, check_lengths


@dataclass(frozen=True)
class RepeatedSequences(Task):
    """BOS, random symbols, then the last `period` of them once more; the next token is predicted.

    In the repeat the next token is known: it is the one after the current token's earlier occurrence. A two-layer
    attention-only transformer finds it with an induction head, fed by a head that attends to the previous token; one
    layer cannot (Elhage et al. 2021; Olsson et al. 2022, arXiv 2209.11895). The period differs from example to example,
    and with it how many symbols stand before, so that no fixed offset leads to the answer. Within the symbols that
    stand before, none comes twice in any `n_symbols` on end: the earlier occurrence is the one a period ago, and
    no other is nearer.

    Token ids: BOS 0, symbols from 1 on. Labels: `in_repeat`, whether the token is part of the repeat, and
    `induction_source`, the position that then holds the answer, t − period + 1, where t is the current one.

    Attributes:
        n_symbols: how many there are to draw from.
        min_period, max_period: the length of what is repeated is drawn between these.
        n_ctx: the length of a sequence; all are full.
    """

    name: ClassVar[str] = "repeated_sequences"
    n_symbols: int = 64
    min_period: int = 12
    max_period: int = 31
    n_ctx: int = 64

    def __post_init__(self) -> None:
        check_at_least(self, n_symbols=2)
        check_lengths(self, "min_period", "max_period", least=2)
        if self.max_period > self.n_symbols:
            raise ValueError(f"{self.n_symbols} different symbols cannot fill a period of {self.max_period}.")
        if self.n_ctx < 1 + 2 * self.max_period:
            raise ValueError(
                f"n_ctx is {self.n_ctx}: BOS and {self.max_period} symbols twice need {1 + 2 * self.max_period}."
            )

    @property
    def shape(self) -> dict[str, int]:
        return {"d_vocab": self.n_symbols + 1, "n_ctx": self.n_ctx}

    @property
    def chance_loss(self) -> float:
        """The loss, in nats, of who takes every symbol for equally likely."""
        return log(self.n_symbols)

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        period = rng.integers(self.min_period, self.max_period + 1, size=(n, 1))
        position = np.arange(self.n_ctx)
        repeats = position >= self.n_ctx - period
        # Before the repeat stand shuffled alphabets, read backward from its start.
        longest = self.n_ctx - 1 - self.min_period
        alphabets = -(-longest // self.n_symbols)
        shuffled = rng.random((n, alphabets, self.n_symbols)).argsort(-1).reshape(n, -1) + 1
        back = self.n_ctx - 1 - period - np.where(repeats, position - period, position)
        tokens = np.take_along_axis(shuffled, np.minimum(back, longest - 1), axis=1)
        tokens[:, 0] = 0
        source = np.where(repeats, position - period + 1, -1)
        return Drawn(tokens, truth={"in_repeat": repeats, "induction_source": np.ma.masked_less(source, 0)})

    def period(self, tokens: Int[Tensor, "seq time"]) -> Int[Tensor, " seq"]:
        """The period of each sequence of this task, read off its tokens."""
        found = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        for period in range(self.min_period, self.max_period + 1):
            same = (tokens[:, -period:] == tokens[:, -2 * period : -period]).all(1)
            found = torch.where(same, period, found)
        return found

    def in_repeat(self, tokens: Int[Tensor, "seq time"]) -> Bool[Tensor, "seq time"]:
        """Where the token is part of the repeat, read off the tokens."""
        start = self.n_ctx - self.period(tokens)
        return torch.arange(self.n_ctx, device=tokens.device) >= start[:, None]

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """Only the repeat is asked for: what comes before it is random, and so is when it starts."""
        targets = next_tokens(batch["input"])
        return output.argmax(-1) == targets, self.in_repeat(batch["input"]) & (targets != NOTHING)
