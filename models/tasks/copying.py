"""Copying a sequence, forward or reversed: the plainest task for an encoder and a decoder."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.tasks.base import Drawn, Task, check_at_least, check_lengths


@dataclass(frozen=True)
class Copy(Task):
    """The source is random symbols; the decoder says them again, `[BOS, …, EOS]`, in order or reversed.

    The true alignment is known: a decoder with attention should look at exactly one source symbol for each that it
    says (Bahdanau et al. 2015, arXiv 1409.0473). Without attention everything passes through one state, and reading
    the source backward helps because it brings the first symbols close to where they are said (Sutskever et al.
    2014, arXiv 1409.3215); for `reverse` it is the other way about.

    Token ids: BOS 0, symbols from 1 on, EOS last; the source has symbols only. Labels, by the convention that a
    decoder position t is the one that reads token t and says token t + 1: `aligned_source`, the source position whose
    symbol is said next, and `n_left`, how many symbols are still to be said. `draw` gives them for BOS too, where the
    first symbol is said. Labels of the source: `index`, counted from the first symbol, and `said_at`, the decoder
    position that says it.

    Attributes:
        n_symbols: how many there are to draw from.
        min_length, max_length: the number of symbols in a source is drawn between these.
        reverse: the target is the source backward.
    """

    name: ClassVar[str] = "copy"
    n_symbols: int = 16
    min_length: int = 5
    max_length: int = 20
    reverse: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, n_symbols=2)
        check_lengths(self, "min_length", "max_length")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_vocab": self.n_symbols + 2, "d_vocab_source": self.n_symbols + 1, "n_ctx": self.max_length + 2}

    @property
    def eos(self) -> int:
        """The token id of EOS."""
        return self.n_symbols + 1

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        length = rng.integers(self.min_length, self.max_length + 1, size=(n, 1))
        index, position = np.arange(self.max_length), np.arange(self.max_length + 2)
        source_mask = index < length
        source = np.where(source_mask, rng.integers(1, self.n_symbols + 1, size=source_mask.shape), 0)
        says = position < length
        aligned = np.where(says, length - 1 - position if self.reverse else position, -1)
        tokens = np.zeros((n, self.max_length + 2), dtype=np.int64)
        said = np.take_along_axis(source, np.maximum(aligned[:, :-1], 0), axis=1)
        tokens[:, 1:] = np.where(says, np.pad(said, ((0, 0), (0, 1))), 0)[:, :-1]
        np.put_along_axis(tokens, length + 1, self.eos, axis=1)
        return Drawn(
            tokens,
            mask=position <= length + 1,
            source=source,
            source_mask=source_mask,
            truth={
                "aligned_source": np.ma.masked_less(aligned, 0),
                "n_left": np.maximum(length - position, 0),
            },
            source_truth={
                "index": np.broadcast_to(index, source.shape),
                "said_at": np.where(source_mask, length - 1 - index if self.reverse else index, 0),
            },
        )
