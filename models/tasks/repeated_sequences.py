"""Repeated random sequences, the task that induction heads solve."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from models.loss import next_tokens
from models.tasks.base import NOTHING, Drawn, Task, check_at_least, check_lengths


@dataclass(frozen=True)
class RepeatedSequences(Task):
    """BOS, a few random symbols, then random symbols that are repeated to the end; the next token is predicted.

    In the repeat the next token is known: it is the one after the current token's earlier occurrence. A two-layer
    attention-only transformer finds it with an induction head, fed by a head that attends to the previous token; one
    layer cannot (Elhage et al. 2021; Olsson et al. 2022, arXiv 2209.11895). The period differs from example to example,
    so that no fixed offset leads to the answer. No symbol comes twice before the repeat: a token's latest earlier
    occurrence is the one a period ago.

    Token ids: BOS 0, symbols from 1 on. Labels: `in_repeat`, whether the token is part of the repeat, and
    `induction_source`, the position that then holds the answer, t − period + 1, where t is the current one. From the
    third time on, a whole number of periods further back would do as well.

    Attributes:
        n_symbols: how many there are to draw from.
        min_period, max_period: the length of what is repeated is drawn between these.
        max_prefix: the number of symbols before it is drawn between 0 and this.
        n_ctx: the length of a sequence; all are full.
    """

    name: ClassVar[str] = "repeated_sequences"
    n_symbols: int = 64
    min_period: int = 8
    max_period: int = 24
    max_prefix: int = 8
    n_ctx: int = 64

    def __post_init__(self) -> None:
        check_at_least(self, n_symbols=2, max_prefix=0)
        check_lengths(self, "min_period", "max_period", least=2)
        if self.max_prefix + self.max_period > self.n_symbols:
            raise ValueError(
                f"{self.n_symbols} symbols cannot all be different in a prefix of {self.max_prefix} and a period of "
                f"{self.max_period}."
            )
        if self.n_ctx < 1 + self.max_prefix + 2 * self.max_period:
            raise ValueError(
                f"n_ctx is {self.n_ctx}: BOS, a prefix of {self.max_prefix} and a period of {self.max_period} twice "
                f"need {1 + self.max_prefix + 2 * self.max_period}."
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
        first = 1 + rng.integers(self.max_prefix + 1, size=(n, 1))  # of what is repeated
        position = np.arange(self.n_ctx)
        repeats = position >= first + period
        once = np.where(repeats, first + (position - first) % period, position)
        symbols = rng.random((n, self.n_symbols)).argsort(axis=1) + 1
        tokens = np.take_along_axis(symbols, np.maximum(once - 1, 0), axis=1)
        tokens[:, 0] = 0
        source = np.where(repeats, position - period + 1, -1)
        return Drawn(tokens, truth={"in_repeat": repeats, "induction_source": np.ma.masked_less(source, 0)})

    def in_repeat(self, tokens: Int[Tensor, "seq time"]) -> Bool[Tensor, "seq time"]:
        """Where the token is part of the repeat, read off the tokens: it has come before."""
        same = tokens[:, :, None] == tokens[:, None, :]
        return same.tril(-1).any(-1)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """Only the repeat is asked for: what comes before it is random, and so is when it starts."""
        targets = next_tokens(batch["input"])
        return output.argmax(-1) == targets, self.in_repeat(batch["input"]) & (targets != NOTHING)
