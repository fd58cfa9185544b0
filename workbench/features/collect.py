"""The one pass over a recording: every feature's codes and near misses, and what naming compares them with."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.progress import progress
from workbench.activations import ActivationStore
from workbench.sae import SAE, TopK

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


@dataclass
class CodesWriter:
    """Takes codes row by row and turns them round."""

    n_features: int
    values: list[np.ndarray] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)

    def add(self, values: Float[Tensor, "n k"], features: Int[Tensor, "n k"]) -> None:
        """Append the codes of the next rows. Values are kept in half precision, as they are published."""
        self.values.append(values.clamp(max=torch.finfo(torch.half).max).half().numpy())
        self.features.append(features.numpy().astype(np.int32))

    def finish(self) -> Codes:
        """All codes, feature by feature."""
        values, features = np.concatenate(self.values), np.concatenate(self.features)
        self.values, self.features = [], []
        fires = values > 0
        indptr = np.concatenate([[0], np.cumsum(fires.sum(1))])
        shape = (len(values), self.n_features)
        turned = sp.csr_array((values[fires].astype(np.float32), features[fires], indptr), shape=shape).tocsc()
        return Codes(turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data, len(values))


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
        controls: codes of the controls on the rows that naming uses.
        neurons: the activations themselves on those rows, one column of the hook after the other.
    """

    codes: Codes
    near_misses: NearMisses
    controls: dict[str, Codes]
    neurons: Float[np.ndarray, "d rows"]


@torch.inference_mode()
def collect(
    store: ActivationStore,
    hook: str,
    sae: TopK,
    seq: Int[np.ndarray, " rows"],
    controls: dict[str, TopK],
    naming: Bool[np.ndarray, " rows"],
) -> Collected:
    """Read the recording once. Memory holds the codes, and the rows `naming` in half precision."""
    writer, near = CodesWriter(sae.cfg.d_sae), NearMisses(sae.cfg.d_sae)
    writers = {name: CodesWriter(control.cfg.d_sae) for name, control in controls.items()}
    neurons = np.empty((store.width(hook), int(naming.sum())), np.float16)
    filled = 0
    starts = np.flatnonzero(np.diff(seq, prepend=-1))
    with progress(desc="reading the recording", total=len(store), unit="tok") as bar:
        for batch in _batches(starts, len(store)):
            x = store[hook][batch.start : batch.stop]
            _encode(sae, x, starts, batch, writer, near)
            kept = x[torch.from_numpy(naming[batch])]
            for name, control in controls.items():
                writers[name].add(*control.encode_sparse(kept))
            neurons[:, filled : filled + len(kept)] = kept.half().numpy().T
            filled += len(kept)
            bar.update(len(x))
    return Collected(writer.finish(), near, {name: w.finish() for name, w in writers.items()}, neurons)


def _batches(starts: Int[np.ndarray, " seq"], n_rows: int) -> Iterator[slice]:
    """Whole sequences, of about as many rows as a batch has."""
    first = 0
    while first < n_rows:
        after = starts[starts > first + BATCH_ROWS - 1]
        stop = int(after[0]) if len(after) else n_rows
        yield slice(first, stop)
        first = stop


def _encode(
    sae: TopK, x: Float[Tensor, "n d"], starts: np.ndarray, batch: slice, writer: CodesWriter, near: NearMisses
) -> None:
    """Codes and near misses of whole sequences from one product with the encoder."""
    inside = starts[(starts >= batch.start) & (starts < batch.stop)] - batch.start
    edges = np.append(inside, batch.stop - batch.start)
    centred = x - sae.b_dec
    first = 0
    while first < len(edges) - 1:
        last = first + 1
        while last < len(edges) - 1 and edges[last] - edges[first] < CHUNK_ROWS:
            last += 1
        base = edges[first]
        pre = torch.addmm(sae.b_enc, centred[base : edges[last]], sae.W_enc)
        values, features = pre.topk(int(sae.cfg.k or 0), dim=1, sorted=False)
        writer.add(values.relu(), features)
        pre.scatter_(1, features, values.masked_fill(values > 0, -torch.inf))
        near.add(pre.numpy(), edges[first:last] - base, batch.start + int(base))
        first = last


def check_sae(sae: SAE, store: ActivationStore, hook: str) -> TopK:
    """The dictionary, if an index of this recording can be made of it; `ValueError` in one sentence otherwise."""
    width = store.width(hook)
    if sae.cfg.d_in != width:
        raise ValueError(f"the dictionary reads rows of width {sae.cfg.d_in}, but {hook} is {width} wide.")
    if not isinstance(sae, TopK):
        raise ValueError(f"an index is made of a topk dictionary; this one is of the kind {sae.cfg.architecture}.")
    return sae
