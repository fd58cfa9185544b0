"""What is known of a population: the Fisher information of its counts, which no decoder of them can beat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from models.dataset import Dataset
from models.tuned import TunedPopulation
from workbench.activations import ActivationStore


@dataclass(frozen=True)
class KnownInformation:
    """Fisher information at every step of a recording.

    Attributes:
        names: of the variables that it is about.
        at: from the numbers of sequences and positions [n] to what a second of spikes says there, [n, d, d].
    """

    names: tuple[str, ...]
    at: Callable[[Int[np.ndarray, " n"], Int[np.ndarray, " n"]], Float[np.ndarray, "n d d"]]

    @classmethod
    def of_cells(cls, cells: TunedPopulation, data: Dataset) -> "KnownInformation":
        """Of simulated cells that were shown `data`."""

        def at(seq: Int[np.ndarray, " n"], pos: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d d"]:
            shown = data.tokens[torch.from_numpy(seq), torch.from_numpy(pos)]
            return cells.fisher_information(shown, 1.0).double().numpy()

        return cls(tuple(cells.variables), at)

    def of(self, store: ActivationStore, rows: Int[np.ndarray, " n"], seconds: float) -> Float[np.ndarray, "n d d"]:
        """Of so many seconds at some rows of a recording."""
        about = store.columns("seq", "pos").take(pa.array(rows))
        seq, pos = (about[name].to_numpy().astype(np.int64) for name in ("seq", "pos"))
        return seconds * self.at(seq, pos)
