"""The one pass over a recording: every feature's codes and near misses, and what naming compares them with."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from models.progress import progress
from workbench.activations import ActivationStore
from workbench.features.columns import Dictionary
from workbench.sae import SAE, CSRCodes, TopKCodes

BATCH_ROWS = 4096
# Pre-activations are made for a few sequences at a time, so that they are still in the cache when they are searched.
CHUNK_ROWS = 512
N_NEAR_MISSES = 8


@dataclass(frozen=True)
class Codes:
    """Sparse codes feature by feature: feature f fires on `rows[indptr[f] : indptr[f + 1]]`, ascending."""

    indptr: Int[np.ndarray, " features_and_one"]
    rows: Int[np.ndarray, " firings"]
    values: Float[np.ndarray, " firings"]
    n_rows: int

    @property
    def n_features(self) -> int:
        """How many features there are, those that never fire included."""
        return len(self.indptr) - 1

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Codes":
        """The codes of some rows (ascending), numbered from 0."""
        place = np.full(self.n_rows, -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        found = place[self.rows]
        kept = found >= 0
        indptr = np.concatenate([[0], np.cumsum(kept)])[self.indptr]
        return Codes(indptr, found[kept], self.values[kept], len(rows))


class Grown:
    """One array to whose end others are added.

    A list of them would do, but for where they lie: many small arrays that stay, made among large ones that go, keep
    the memory of the large ones from being used again.
    """

    def __init__(self, dtype: type) -> None:
        self._room: np.ndarray = np.empty(1 << 16, dtype)
        self._n = 0

    def add(self, values: Shaped[np.ndarray, " more"]) -> None:
        """Add values to the end."""
        n = self._n + len(values)
        if n > len(self._room):
            room = np.empty(max(n, 2 * len(self._room)), self._room.dtype)
            room[: self._n] = self.values
            self._room = room
        self._room[self._n : n] = values
        self._n = n

    @property
    def values(self) -> Shaped[np.ndarray, " all"]:
        """All that was added."""
        return self._room[: self._n]


class CodesWriter:
    """Takes codes row by row and turns them round."""

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.values, self.features, self.counts = Grown(np.float16), Grown(np.int32), Grown(np.int32)

    def add(self, codes: TopKCodes | CSRCodes) -> None:
        """Take the codes of the next rows. Values are kept in half precision, as they are published."""
        values = codes.values.flatten().clamp(max=torch.finfo(torch.half).max).half()
        fires = values > 0
        self.values.add(values[fires].numpy())
        self.features.add(codes.indices.flatten()[fires].numpy())
        passed = torch.nn.functional.pad(fires.cumsum(0), (1, 0))
        self.counts.add(passed[codes.row_starts].diff().numpy())

    def finish(self) -> Codes:
        """All codes, feature by feature."""
        n_rows = len(self.counts.values)
        indptr = np.concatenate([[0], np.cumsum(self.counts.values)])
        entries = (self.values.values.astype(np.float32), self.features.values, indptr)
        turned = sp.csr_array(entries, shape=(n_rows, self.n_features)).tocsc()
        return Codes(turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data, n_rows)


class NearMisses:
    """For each feature the rows where its pre-activation is highest though it does not fire, one a sequence."""

    def __init__(self, n_features: int, n: int = N_NEAR_MISSES) -> None:
        self.values = np.full((n_features, n), -np.inf, np.float32)
        self.rows = np.full((n_features, n), -1)
        self.weakest = np.full(n_features, -np.inf, np.float32)

    def add(self, pre: Float[np.ndarray, "rows feature"], starts: Int[np.ndarray, " seq"], first_row: int) -> None:
        """Look through whole sequences that begin at `starts`; firing places hold −inf."""
        for start, stop in zip(starts, [*starts[1:], len(pre)], strict=True):
            best = pre[start:stop].max(0)
            better = np.flatnonzero(best > self.weakest)
            slot = self.values[better].argmin(1)
            self.values[better, slot] = best[better]
            self.rows[better, slot] = pre[start:stop, better].argmax(0) + start + first_row
            self.weakest[better] = self.values[better].min(1)

    def ranked(self) -> tuple[Int[np.ndarray, "feature n"], Float[np.ndarray, "feature n"]]:
        """Rows and pre-activations, highest first; row −1 where fewer were found."""
        order = np.argsort(-self.values, axis=1, kind="stable")
        return np.take_along_axis(self.rows, order, 1), np.take_along_axis(self.values, order, 1)


@dataclass(frozen=True)
class Collected:
    """What one pass gives.

    Attributes:
        codes: of the dictionary, on all rows.
        near_misses: rows and pre-activations.
        controls: codes of the controls on the rows that naming uses, numbered in reading order.
        neurons: the activations themselves on the rows that naming uses, the fitting rows first; one column of the
            hook after the other. None where they are what is indexed.
    """

    codes: Codes
    near_misses: NearMisses
    controls: dict[str, Codes]
    neurons: Float[np.ndarray, "d used"] | None


@torch.inference_mode()
def collect(
    store: ActivationStore,
    hook: str,
    sae: Dictionary,
    seq: Int[np.ndarray, " rows"],
    controls: dict[str, SAE],
    used: Int[np.ndarray, " used"],
    *,
    with_neurons: bool = True,
) -> Collected:
    """Read the recording once. Memory holds the codes, and the rows that naming uses in half precision."""
    place = np.full(len(store), -1)
    place[used] = np.arange(len(used))
    neurons = np.empty((store.width(hook), len(used)), np.float16) if with_neurons else None
    writer, near = CodesWriter(sae.cfg.d_sae), NearMisses(sae.cfg.d_sae)
    writers = {name: CodesWriter(control.cfg.d_sae) for name, control in controls.items()}
    edges = np.append(np.flatnonzero(np.diff(seq, prepend=-1)), len(seq))
    room = torch.empty(max(CHUNK_ROWS, int(np.diff(edges).max())), sae.cfg.d_sae, dtype=sae.cfg.torch_dtype)
    with progress(desc="reading the recording", total=len(store), unit="tok") as bar:
        for chosen in _runs(edges, BATCH_ROWS):
            batch = slice(edges[chosen.start], edges[chosen.stop])
            x = store[hook][batch]
            _encode(sae, x, edges[chosen.start : chosen.stop + 1] - batch.start, int(batch.start), room, writer, near)
            here = place[batch]
            kept = x[torch.from_numpy(here >= 0)]
            if len(kept):  # naming leaves whole batches out of a long recording
                for name, control in controls.items():
                    writers[name].add(control.encode_sparse(kept))
            if neurons is not None:
                neurons[:, here[here >= 0]] = kept.half().numpy().T
            bar.update(len(x))
    codes = {name: control.finish() for name, control in writers.items()}
    return Collected(writer.finish(), near, codes, neurons)


def _runs(edges: Int[np.ndarray, " edges"], n_rows: int) -> Iterator[slice]:
    """Sequences, by number, that together have at most `n_rows` rows, or a single longer one."""
    first = 0
    while first < len(edges) - 1:
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + n_rows, side="right")) - 1)
        yield slice(first, last)
        first = last


def _encode(
    sae: Dictionary,
    x: Float[Tensor, "n d"],
    edges: Int[np.ndarray, " edges"],
    first_row: int,
    room: Float[Tensor, "chunk feature"],
    writer: CodesWriter,
    near: NearMisses,
) -> None:
    """Codes and near misses of whole sequences, whose edges are given, from one product with the encoder."""
    for chunk in _runs(edges, CHUNK_ROWS):
        base, end = int(edges[chunk.start]), int(edges[chunk.stop])
        pre = sae.pre_activations(x[base:end], out=room[: end - base])
        codes = sae.chosen(pre)
        writer.add(codes)
        fires = codes.values.flatten() > 0
        pre[codes.rows[fires], codes.indices.flatten()[fires]] = -torch.inf
        near.add(pre.numpy(), edges[chunk] - base, first_row + base)


def check_sae(sae: Dictionary, store: ActivationStore, hook: str) -> None:
    """`ValueError` in one sentence where no index of this recording can be made of a dictionary."""
    if sae.cfg.kind == "crosscoder":
        raise ValueError(
            "an index shows what the features of one hook do, and a crosscoder's are of several hooks at once: index a "
            "dictionary of one of them."
        )
    width = store.width(hook)
    if sae.cfg.d_in != width:
        raise ValueError(f"the dictionary reads rows of width {sae.cfg.d_in}, but {hook} is {width} wide.")
