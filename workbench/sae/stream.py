"""From whatever yields rows to whole batches, with a position from which the same rows follow again."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.config import SAEConfig

READ, WRITTEN = "x", "y"
Named = dict[str, Tensor]


class Position(NamedTuple):
    """Where a `RowStream` stands: whole source batches behind it, and rows used of the next one."""

    batches: int = 0
    rows: int = 0


@runtime_checkable
class BatchStream(Protocol):
    """Whole batches, and where the next one begins."""

    batch_size: int

    @property
    def position(self) -> Position:
        """Where the next batch starts."""

    def next_batch(self) -> Named:
        """Rows, or whatever a trainer makes them of."""


class RowStream:
    """Cuts and joins the batches of a source into batches of equal size, each tensor under its name.

    Args:
        source: any iterable of tensors, or NumPy arrays, whose first axis are rows; of pairs (x, y) for transcoders; of
            mappings from hooks to such tensors; or a store's batches of several hooks. One that has
            `resume(n_batches)`, as a store's batches do, is asked to start there; of any other the first batches are
            read and dropped.
        batch_size: rows of every batch that `next_batch` gives.
        n_tokens: how many rows will be asked for in all, so that a list that is too short is refused at
            once.
        check: called with every batch of the source; raises `ValueError` for one that does not fit.
        start: where an earlier stream over the same source stood.

    Raises:
        ValueError: at construction if a list is too short or the first batch does not fit; from `next_batch` when
            the source ends early.
    """

    def __init__(
        self,
        source: Iterable[Any],
        batch_size: int,
        n_tokens: int,
        check: Callable[[Named], None],
        start: Position = Position(),  # noqa: B008  (immutable)
    ) -> None:
        if isinstance(source, Tensor | np.ndarray):
            raise ValueError("the rows are one array: give batches of them, [rows] or rows.split(4096), say.")
        self.batch_size, self.n_tokens, self.check = batch_size, n_tokens, check
        self._batches, self._used = start
        self._hooks: Sequence[str] = getattr(source, "hooks", ())
        self._source = self._start(source, start.batches)
        self._current: Named | None = self._read()
        if isinstance(source, Sequence):
            self._refuse_short(sum(_rows(named(batch, self._hooks)) for batch in source))

    @property
    def position(self) -> Position:
        """Where the next batch starts."""
        return Position(self._batches, self._used)

    def next_batch(self) -> Named:
        """The next `batch_size` rows, without a copy where the source's batches have that size."""
        parts: list[Named] = []
        missing = self.batch_size
        while missing:
            if self._current is None:
                self._current = self._read()
            if self._current is None:
                raise ValueError(
                    f"the batches ended before the {self.n_tokens:,} rows of n_tokens were read in whole "
                    f"batches of {self.batch_size:,}: give more rows (several epochs of a store, say), or a "
                    "smaller n_tokens or batch_size."
                )
            rows = slice(self._used, self._used + missing)
            part = {name: tensor[rows] for name, tensor in self._current.items()}
            parts.append(part)
            missing -= _rows(part)
            self._used += _rows(part)
            if self._used == _rows(self._current):
                self._batches, self._used, self._current = self._batches + 1, 0, None
        return parts[0] if len(parts) == 1 else joined(parts)

    @staticmethod
    def _start(source: Iterable[Any], n_batches: int) -> Iterator[Any]:
        if n_batches and hasattr(source, "resume"):
            return iter(source.resume(n_batches))
        return islice(source, n_batches, None)

    def _read(self) -> Named | None:
        found = next(self._source, None)
        if found is None:
            return None
        batch = named(found, self._hooks)
        self.check(batch)
        return batch

    def _refuse_short(self, rows: int) -> None:
        if rows < self.n_tokens:
            raise ValueError(
                f"the batches hold {rows:,} rows, fewer than the {self.n_tokens:,} of n_tokens: "
                "give more (several epochs of a store, say) or a smaller n_tokens."
            )


def named(batch: Any, hooks: Sequence[str] = ()) -> Named:
    """A batch of a source as a mapping; `hooks` are the names of those that a store's tuples hold.

    Raises `ValueError` for a tuple that is neither of these hooks nor a pair.
    """
    if isinstance(batch, Mapping):
        return {name: torch.as_tensor(rows) for name, rows in batch.items()}
    if isinstance(batch, tuple | list):
        names = hooks if len(hooks) == len(batch) else (READ, WRITTEN)
        if len(names) != len(batch):
            raise ValueError(
                f"the batches are tuples of {len(batch)} tensors: give pairs (x, y), or mappings from hooks."
            )
        return {name: torch.as_tensor(rows) for name, rows in zip(names, batch, strict=True)}
    return {READ: torch.as_tensor(batch)}


def mappings_of(source: Iterable[Any]) -> Iterator[Named]:
    """The batches of any source, each as a mapping."""
    hooks = getattr(source, "hooks", ())
    return (named(batch, hooks) for batch in source)


def pairs_of(
    cfg: SAEConfig, source: Iterable[Any]
) -> Iterator[tuple[Float[Tensor, "n width_in"], Float[Tensor, "n width_out"]]]:
    """What an SAE reads and what it shall write, batch by batch, of any source that it could be trained on."""
    return (rows_of(cfg, batch) for batch in mappings_of(source))


def rows_of(cfg: SAEConfig, batch: Named) -> tuple[Float[Tensor, "n width_in"], Float[Tensor, "n width_out"]]:
    """What this SAE reads of a batch and what it shall write; the same tensor but for a transcoder.

    Raises `ValueError` where the batch does not hold it, or not in its width.
    """
    if cfg.kind == "transcoder":
        names = (READ, WRITTEN) if WRITTEN in batch else (cfg.hook_name, cfg.hook_name_out)
        read, written = (_tensor(batch, name, "a transcoder is trained on pairs (x, y)") for name in names)
        if len(read) != len(written):
            raise ValueError(f"x has {len(read)} rows and y {len(written)}: they must be the same rows.")
        return _checked(cfg, read, (cfg.d_in,)), _checked(cfg, written, (cfg.width_out,))
    if cfg.kind == "crosscoder" and READ not in batch:
        if len(set(cfg.hook_names)) < len(cfg.hook_names):
            raise ValueError("a crosscoder of several subjects is trained on [n, n_layers, d_in], not on mappings.")
        layers = [_tensor(batch, name, "a crosscoder names its hook_names") for name in cfg.hook_names]
        rows = _checked(cfg, torch.stack(layers, dim=1), (cfg.n_layers or 1, cfg.d_in)).flatten(1)
    elif cfg.kind == "crosscoder":
        rows = _checked(cfg, batch[READ], (cfg.n_layers or 1, cfg.d_in)).flatten(1)
    else:
        name = READ if READ in batch else cfg.hook_name
        rows = _checked(cfg, _tensor(batch, name, "hook_name says which is read"), (cfg.d_in,))
    return rows, rows


def joined(parts: Sequence[Named]) -> Named:
    """One batch of several, one after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _rows(batch: Named) -> int:
    return len(next(iter(batch.values())))


def _tensor(batch: Named, name: str, hint: str) -> Tensor:
    if name not in batch:
        raise ValueError(f"the batches hold {', '.join(batch)}, but not {name or 'what is to be read'!r}: {hint}.")
    return batch[name]


def _checked(cfg: SAEConfig, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(rows.shape[1:]) != shape or rows.ndim == 0:
        wanted = f"rows of width {shape[0]}" if len(shape) == 1 else f"rows of {shape[0]} layers of {shape[1]}"
        raise ValueError(
            f"the batches are of shape {tuple(rows.shape)}, but this SAE needs {wanted}: "
            "set d_in (d_out, n_layers) to the width of the hook."
        )
    return rows
