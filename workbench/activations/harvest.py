"""`harvest`: run a subject over a dataset and write what its hooks held."""

import difflib
import hashlib
import inspect
import json
import queue
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor

from models.artifacts import Draft, publishing, tensor_checksums, write_json
from models.dataset import Dataset
from models.evaluation import accepted
from models.progress import progress
from models.saving import fingerprint
from models.step_hooks import StepHookPoint, pos_dim_of
from workbench.activations.store import DTYPES, ActivationStore

STATE = "harvest.json"


def harvest(
    model: Any,
    dataset: Dataset,
    hooks: Sequence[str],
    out: str | Path,
    *,
    dtype: str = "float32",
    batch_size: int = 64,
    shard_rows: int = 65_536,
    inputs: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> ActivationStore:
    """Record `hooks` at every real position of `dataset`, BOS and padding left out, in one pass.

    The rows of an encoder's hooks are the positions of its source; a hook that holds one value a sequence has a row for
    each.

    Memory holds two shards, whatever the length of the dataset. A killed harvest, called again with the same
    arguments, goes on behind its last whole shard.

    Args:
        model: a subject with TransformerLens's protocol (`cfg`, `run_with_hooks`); hooks that fire once a step of a
            recurrence are recorded as if they fired once.
        dataset: what it reads.
        hooks: names of hooks whose value is `[batch, pos, ...]`.
        out: the artifact's folder, `RUN/activations/NAME`.
        dtype: number format on disk: float32, float16 or bfloat16.
        batch_size: sequences a forward pass.
        shard_rows: rows a shard, at most.
        inputs: the manifest's inputs, where `out` lies in a run; named by the model's and dataset's ids otherwise.
        config: more to be noted in the manifest, such as how `dataset` was sampled.

    Raises:
        ValueError: an unknown hook or dtype, no hook at all, hooks whose rows are not of the same positions,
            such as an encoder's and its decoder's, an empty dataset.
        FloatingPointError: an activation is NaN or infinite, with hook, document and position; or it does not fit
            into float16.
    """
    hooks = list(dict.fromkeys(hooks))
    _check(model, dataset, hooks, dtype)
    axis = _axis(model, hooks)
    rows = dataset.on_axis(axis)
    inputs = inputs or {"model": fingerprint(model)} | ({"data": dataset.id} if dataset.id else {})
    config = (config or {}) | {
        "hooks": hooks,
        "dtype": dtype,
        "axis": axis,
        "positions": "real tokens after BOS" if rows.bos is not None else "real positions",
        "n_seq": len(dataset),
        "n_rows": rows.n_tokens,
        "shard_rows": shard_rows,
        "batch_size": batch_size,
    }
    with publishing(out, "activations", inputs=inputs, config=config) as draft:
        _Recorder(model, dataset, rows, hooks, DTYPES[dtype], batch_size, shard_rows, draft).run()
    return ActivationStore.open(out)


@dataclass
class _Recorder:
    """One pass of the subject over the dataset, shard by shard."""

    model: Any
    dataset: Dataset
    rows: Dataset  # the positions that are recorded: the dataset's, or its source's
    hooks: list[str]
    dtype: torch.dtype
    batch_size: int
    shard_rows: int
    draft: Draft

    def run(self) -> None:
        state = _read_state(self.draft)
        rows = _row_table(self.rows)
        self.keep = self.rows.counted
        plan = _plan_shards(self.keep.sum(1).numpy(), self.batch_size, self.shard_rows)
        done = len(state["shards"])
        bar = progress(desc="recording", total=rows.num_rows, unit="tok", initial=sum(state["shards"]))
        with _Writer(self.draft, state) as writer, torch.inference_mode():
            for shard in plan[done:]:
                buffers: dict[str, Tensor] = {}
                filled = 0
                for batch in shard.batches:
                    n = self._record(batch, buffers, filled, shard.n_rows, state["hooks"])
                    filled += n
                    bar.update(n)
                writer.put(buffers, rows.slice(shard.first_row, shard.n_rows))
        bar.close()
        self.draft.results = {"shards": state["shards"], "hooks": state["hooks"]}
        self.draft.checksums = state["checksums"]
        self.draft.scratch = {STATE}

    def _record(
        self, batch: slice, buffers: dict[str, Tensor], filled: int, n_rows: int, shapes: dict[str, list[int]]
    ) -> int:
        """One forward pass: copy each hook's kept rows into the shard's buffer; returns how many."""
        chosen = rearrange(self.keep[batch], "batch pos -> (batch pos)").nonzero()[:, 0]
        n = len(chosen)

        def copy(value: Tensor, hook: Any) -> None:
            value = value.movedim(pos_dim_of(hook), 1)  # a pattern is [head, key] for each query
            flat = rearrange(value, "batch pos ... -> (batch pos) (...)")
            if hook.name not in buffers:
                buffers[hook.name] = torch.empty(n_rows, flat.shape[1], dtype=self.dtype)
                shapes[hook.name] = list(value.shape[2:])
            target = buffers[hook.name][filled : filled + n]
            target.copy_(flat.index_select(0, chosen.to(flat.device)))
            if not torch.isfinite(target).all():
                self._refuse(hook.name, batch, int(chosen[(~torch.isfinite(target)).any(1).nonzero()[0, 0]]))

        device = next(self.model.parameters()).device
        given = {name: value.to(device) for name, value in self.dataset.batch(batch).items()}
        stepwise = [name for name in self.hooks if isinstance(self.model.hook_dict[name], StepHookPoint)]
        whole = [(name, copy) for name in self.hooks if name not in stepwise]
        steps, collect = self._collecting(stepwise)
        self.model.run_with_hooks(
            given.pop("input"),
            fwd_hooks=[*whole, *collect],
            return_type=None,
            **accepted(self.model, given),
            **_stop_behind(self.model, self.hooks),
        )
        for name, value in steps.items():
            copy(value, self.model.hook_dict[name])
        return n

    def _collecting(self, stepwise: list[str]) -> tuple[dict[str, Tensor], list]:
        """Hooks that lay the steps of a recurrence side by side, and the dict they fill."""
        if not stepwise:
            return {}, []
        cache, forward, _ = self.model.get_caching_hooks(stepwise)
        return cache, forward

    def _refuse(self, hook: str, batch: slice, place: int) -> None:
        seq, pos = divmod(place, self.rows.tokens.shape[1])
        doc = self.dataset.doc_table["name"][int(self.dataset.docs[batch.start + seq])].as_py()
        raise FloatingPointError(
            f"{hook} is NaN, infinite or too large for {self.dtype} in document {doc} at position {pos}."
        )


class _Writer:
    """Writes whole shards in a thread of its own, so that the subject computes the next meanwhile."""

    def __init__(self, draft: Draft, state: dict[str, Any]) -> None:
        self.draft, self.state = draft, state
        self.queue: queue.Queue[tuple[dict[str, Tensor], pa.Table] | None] = queue.Queue(maxsize=1)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name="shard-writer")

    def __enter__(self) -> "_Writer":
        self.thread.start()
        return self

    def put(self, tensors: dict[str, Tensor], rows: pa.Table) -> None:
        """Hand over a shard; waits while one is still being written."""
        if self.error is not None:
            raise self.error
        self.queue.put((tensors, rows))

    def __exit__(self, *exception: object) -> None:
        self.queue.put(None)
        self.thread.join()
        if self.error is not None and exception[0] is None:
            raise self.error

    def _work(self) -> None:
        while (item := self.queue.get()) is not None:
            if self.error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # raised again in the thread that asked for the writing
                    self.error = error

    def _write(self, tensors: dict[str, Tensor], rows: pa.Table) -> None:
        number = len(self.state["shards"])
        shard, table = f"shard-{number:05d}.safetensors", f"rows-{number:05d}.parquet"
        part = self.draft.path / "shard.part"
        save_file(tensors, part)
        sums = {f"{shard}#{name}": value for name, value in tensor_checksums(part).items()}
        part.rename(self.draft.path / shard)
        pq.write_table(rows, self.draft.path / table, compression="zstd")
        sums[table] = hashlib.sha256((self.draft.path / table).read_bytes()).hexdigest()
        self.state["checksums"] |= sums
        self.state["shards"].append(rows.num_rows)
        write_json(self.draft.path / STATE, self.state)


@dataclass(frozen=True)
class _Shard:
    batches: list[slice]
    first_row: int
    n_rows: int


def _plan_shards(rows_of_seq: np.ndarray, batch_size: int, shard_rows: int) -> list[_Shard]:
    """Whole batches a shard, so that the same shards come out wherever a killed harvest is taken up."""
    plan: list[_Shard] = []
    batches: list[slice] = []
    first = n = 0
    for start in range(0, len(rows_of_seq), batch_size):
        batch = slice(start, min(start + batch_size, len(rows_of_seq)))
        size = int(rows_of_seq[batch].sum())
        if batches and n + size > shard_rows:
            plan.append(_Shard(batches, first, n))
            batches, first, n = [], first + n, 0
        batches.append(batch)
        n += size
    return [*plan, _Shard(batches, first, n)]


def _row_table(dataset: Dataset) -> pa.Table:
    """One row a recorded position: where it is, what stands there, and its labels."""
    keep = dataset.counted
    seq, pos = (index.numpy() for index in keep.nonzero(as_tuple=True))
    docs = dataset.docs.numpy()[seq]
    split = dataset.doc_table["split"].combine_chunks().cast(pa.string()).dictionary_encode()
    columns = {
        "doc": pa.array(docs.astype(np.int32)),
        "seq": pa.array(seq.astype(np.int32)),
        "pos": pa.array(pos.astype(np.int16)),
        "split": split.take(pa.array(docs)),
    }
    if not dataset.tokens.is_floating_point():
        columns["token"] = pa.array(dataset.tokens[keep].numpy().astype(np.int32))
    table = pa.table(columns)
    if dataset.labels is not None:
        recorded = keep[dataset.mask].numpy()
        for name in dataset.labels.column_names:
            column = dataset.labels[name].combine_chunks()
            table = table.append_column(name, column.filter(pa.array(recorded)))
    return table


def _check(model: Any, dataset: Dataset, hooks: list[str], dtype: str) -> None:
    if not hooks:
        raise ValueError("no hook was named: name at least one, such as blocks.0.mlp.hook_post.")
    known = list(model.hook_dict)
    for name in hooks:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
            raise ValueError(f"the model has no hook {name!r}: did you mean {' or '.join(near)}?")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}: it must be one of {', '.join(DTYPES)}.")
    if dataset.n_tokens < 1:
        raise ValueError("the dataset has no token to record.")
    _axis(model, hooks)


def _axis(model: Any, hooks: list[str]) -> str:
    """What the hooks have rows for: positions of the `target`, as nearly all, of its `source`, or one a `sequence`."""
    if not hasattr(model, "position_axis"):
        return "target"
    axes = {name: model.position_axis(name) for name in hooks}
    if len(set(axes.values())) > 1:
        (first, one), (second, other), *_ = {axis: name for name, axis in axes.items()}.items()
        raise ValueError(f"{one} has rows of the {first} and {other} of the {second}: record them apart.")
    return next(iter(axes.values()))


def _stop_behind(model: Any, hooks: Sequence[str]) -> dict[str, int]:
    """What lies above the highest hook need not be computed."""
    layers = [re.match(r"blocks\.(\d+)\.", name) for name in hooks]
    if "stop_at_layer" not in inspect.signature(model.forward).parameters or not all(layers):
        return {}
    return {"stop_at_layer": 1 + max(int(m[1]) for m in layers if m)}


def _read_state(draft: Draft) -> dict[str, Any]:
    path = draft.path / STATE
    if draft.resumed and path.exists():
        return json.loads(path.read_text("utf8"))
    return {"shards": [], "hooks": {}, "checksums": {}}
