"""`harvest`: run a subject over a dataset and write what its hooks held."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from models import ranks
from models.artifacts import ArtifactError, Draft
from models.dataset import Dataset
from models.progress import progress
from models.saving import fingerprint
from workbench.activations.plan import ShardPlan, plan_shards
from workbench.activations.recorder import Recorder
from workbench.activations.row_table import RowTables
from workbench.activations.shard_files import ShardWriter, mark_name, read_mark
from workbench.activations.store import ActivationStore


def harvest(
    model: Any,
    dataset: Dataset,
    hooks: str | Sequence[str],
    out: str | Path,
    *,
    dtype: str = "float32",
    positions: str = "real",
    n_rows: int | None = None,
    batch_size: int = 64,
    shard_rows: int = 65_536,
    inputs: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> ActivationStore:
    """Record `hooks` at the positions of `dataset`, padding left out, in one pass.

    The rows of an encoder's hooks are the positions of its source; a hook that holds one value a sequence has a row for
    each.

    Memory holds three shards (one being filled, one waiting, one being written), whatever the length of the dataset. A
    killed harvest, called again with the same arguments, goes on behind its whole shards and ends in the same bits.
    Under `torchrun` the processes share the shards out among themselves: which sequences make a shard, and a forward
    pass, does not depend on how many there are.

    Args:
        model: a subject with TransformerLens's protocol (`cfg`, `hook_dict`, `run_with_hooks`); hooks that fire once a
            step of a recurrence are recorded as if they fired once.
        dataset: what it reads.
        hooks: names of hooks whose value is `[batch, pos, ...]`, or one.
        out: the artifact's folder, `RUN/activations/NAME`.
        dtype: number format on disk: float32, float16 or bfloat16.
        positions: `real` (all but BOS and padding), `last` (of each sequence), or `bos` (all but padding).
        n_rows: a budget: the first sequences that give as many rows; every sequence for None.
        batch_size: sequences a forward pass.
        shard_rows: rows a shard, at most.
        inputs: the manifest's inputs, where `out` lies in a run; named by the model's and dataset's ids otherwise.
        config: more to be noted in the manifest, such as how `dataset` was sampled.

    Raises:
        TypeError: the model has no hooks, or the dataset is none.
        ValueError: an unknown hook, dtype or choice of positions, no hook at all, an empty dataset.
        FloatingPointError: an activation is NaN or infinite, with hook, document and position; or it does not fit
            into float16.
        ArtifactError: another process is making this recording, or what is at `out` is no recording.
    """
    recorder = Recorder(model, dataset, hooks, dtype=dtype, positions=positions)
    plan = plan_shards(recorder.counts, batch_size, shard_rows, n_rows)
    inputs = inputs or {"model": fingerprint(model), "data": dataset.id or dataset.fingerprint()}
    config = (config or {}) | {
        "hooks": recorder.hooks,
        "dtype": dtype,
        "positions": positions,
        "n_seq": plan[-1].sequences.stop,
        "n_rows": {axis: sum(shard.n_rows[axis] for shard in plan) for axis in recorder.rows},
        "shard_rows": shard_rows,
        "batch_size": batch_size,
    }
    with ranks.publishing_together(out, "activations", inputs=inputs, config=config) as draft:
        _record(recorder, plan, draft)
        ranks.barrier()
        if ranks.is_first():
            _gather(draft, plan, recorder)
    return ActivationStore.open(out)


def _record(recorder: Recorder, plan: list[ShardPlan], draft: Draft) -> None:
    """Make this process's share of the shards that are not there yet."""
    # One process looks for all: a shared file system may show others an older state.
    unmade = ranks.told_by_first([shard.number for shard in plan if read_mark(draft.path, shard.number) is None])
    missing = [plan[number] for number in unmade]
    mine = missing[ranks.rank() :: ranks.world()]
    tables = {axis: RowTables(rows) for axis, rows in recorder.rows.items()}
    main = next(iter(tables))
    done = sum(shard.n_rows[main] for shard in plan) - sum(shard.n_rows[main] for shard in missing)
    bar = progress(
        desc="recording",
        total=done + sum(shard.n_rows[main] for shard in mine),
        unit="tok",
        initial=done,
        shown=ranks.is_first(),
    )
    with bar, ShardWriter(draft.path) as writer:
        for shard in mine:
            buffers: dict[str, Tensor] = {}
            filled = dict.fromkeys(tables, 0)
            for batch in shard.batches:
                added = recorder.record(batch, buffers, filled, shard.n_rows)
                filled = {axis: filled[axis] + added[axis] for axis in filled}
                bar.update(added[main])
            rows = {
                axis: table.table(shard.sequences, recorder.kept(axis, shard.sequences))
                for axis, table in tables.items()
            }
            writer.put(shard.number, buffers, rows, recorder.shapes)


def _gather(draft: Draft, plan: list[ShardPlan], recorder: Recorder) -> None:
    """What the manifest says of the shards, from their marks."""
    os.listdir(draft.path)  # has a shared file system look again at what other machines wrote
    marks = []
    for shard in plan:
        mark = read_mark(draft.path, shard.number)
        if mark is None or mark.n_rows != shard.n_rows:
            raise ArtifactError(f"shard {shard.number} is not whole in {draft.path}: start the recording again.")
        marks.append(mark)
    shapes = marks[0].shapes
    draft.results = {
        "shards": {axis: [mark.n_rows[axis] for mark in marks] for axis in recorder.rows},
        "hooks": {name: {"shape": shapes[name], "axis": recorder.axis_of[name]} for name in recorder.hooks},
    }
    draft.checksums = {key: value for mark in marks for key, value in mark.checksums.items()}
    draft.scratch = {mark_name(shard.number) for shard in plan}
