"""Serving the rows of one recording in shuffled batches: by this workbench, by SAELens or by dictionary_learning.

    python store_reading_worker.py ours | saelens | dictionary_learning  STORE  BATCHES

Prints one line of JSON: rows a second over the first BATCHES batches, and over the second. It runs in the interpreter
of the library it measures, so it imports nothing else. Each library reads the same numbers from files that are in the
page cache and gives float32, with its own way of mixing: ours from the whole store; SAELens from its cached
activations, written in its own format (`CacheActivationsRunner`'s, float32) beside the store, with its own defaults but
for a buffer of 64 sequences, since one of 20 would not hold a batch; dictionary_learning from an `ActivationBuffer` of
250,000 rows, as its own demonstration has it. That buffer is filled by a model of nnsight; in its place stands an
object that answers the same calls with the stored rows, so that what is measured is the buffer's own work and no
forward pass.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import torch

BATCH = 4096
HOOK = "blocks.0.mlp.hook_post"
N_CTX = 127  # rows a sequence: 128 positions without BOS
SEQS_PER_SHARD = 512


def ours(store: Path) -> Iterator[torch.Tensor]:
    """`ActivationStore.batches`, float32."""
    from workbench.activations import ActivationStore

    return iter(ActivationStore.open(store).batches(HOOK, BATCH))


def saelens(store: Path) -> Iterator[torch.Tensor]:
    """SAELens's `ActivationsStore` over cached activations, float32."""
    from sae_lens.training.activations_store import ActivationsStore

    return ActivationsStore(
        model=None,  # type: ignore[arg-type]  # nothing is computed
        dataset=None,
        streaming=False,
        hook_name=HOOK,
        hook_head_index=None,
        context_size=N_CTX,
        d_in=_shard(store, 0).shape[1],
        n_batches_in_buffer=64,
        total_training_tokens=10**9,
        store_batch_size_prompts=32,
        train_batch_size_tokens=BATCH,
        prepend_bos=True,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
        cached_activations_path=str(_cached(store)),
    )


def _cached(store: Path) -> Path:
    """The rows as `CacheActivationsRunner` writes them; made where they are not there yet."""
    from datasets import Array2D, Dataset, Features, Sequence, Value
    from sae_lens.cache_activations_runner import CacheActivationsRunner

    folder, parts = store.with_name("saelens"), store.with_name("saelens-parts")
    if folder.exists():
        return folder
    for i in range(_n_shards(store)):
        rows = _shard(store, i).float().view(-1, N_CTX, _shard(store, i).shape[1])
        features = Features(
            {
                HOOK: Array2D(shape=tuple(rows.shape[1:]), dtype="float32"),
                "token_ids": Sequence(Value(dtype="int32"), length=N_CTX),
            }
        )
        ids = torch.zeros(rows.shape[:2], dtype=torch.int32)
        shard = Dataset.from_dict({HOOK: rows, "token_ids": ids}, features=features)
        shard.save_to_disk(str(parts / f"shard_{i:05d}"), num_shards=1)
    folder.mkdir()
    CacheActivationsRunner._consolidate_shards(parts, folder, copy_files=False)
    return folder


def dictionary_learning(store: Path) -> Iterator[torch.Tensor]:
    """dictionary_learning's `ActivationBuffer`, its `refresh` and `__next__` as they are, over stored rows."""
    from dictionary_learning.buffer import ActivationBuffer

    stored = _StoredRows(store)
    return ActivationBuffer(
        data=count(),
        model=stored,
        submodule=stored,
        d_submodule=_shard(store, 0).shape[1],
        n_ctxs=250_000 // N_CTX,
        ctx_len=N_CTX,
        refresh_batch_size=SEQS_PER_SHARD,
        out_batch_size=BATCH,
    )


class _StoredRows:
    """Answers what a buffer asks of an nnsight model and its submodule: a `trace` of some sequences reads them."""

    dtype = torch.float32

    def __init__(self, store: Path) -> None:
        self.shards = [_shard(store, i).view(-1, N_CTX, _shard(store, i).shape[1]) for i in range(_n_shards(store))]
        self.output = SimpleNamespace(save=self._rows, stop=lambda: None)
        self.inputs = SimpleNamespace(save=self._inputs)

    @contextmanager
    def trace(self, sequences: list[int], **kwargs: object) -> Iterator[None]:
        self.shard = self.shards[sequences[0] // SEQS_PER_SHARD % len(self.shards)]
        yield

    def _rows(self) -> SimpleNamespace:
        return SimpleNamespace(value=self.shard)

    def _inputs(self) -> SimpleNamespace:
        return SimpleNamespace(value=((), {"attention_mask": torch.ones(self.shard.shape[:2], dtype=torch.int64)}))


def _n_shards(store: Path) -> int:
    return len(list(store.glob("shard-*.safetensors")))


def _shard(store: Path, number: int) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(store / f"shard-{number:05d}.safetensors", "pt") as file:
        return file.get_tensor(HOOK)


def main() -> None:
    """Serve and report."""
    library, path, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(2)
    torch.manual_seed(0)
    make = {"ours": ours, "saelens": saelens, "dictionary_learning": dictionary_learning}[library]
    if library == "saelens":
        _cached(path)
    for file in path.parent.rglob("*"):
        if file.is_file():
            file.read_bytes()  # into the page cache
    rates = []
    batches: Iterator[torch.Tensor] | None = None
    for _ in range(2):
        start = time.perf_counter()
        batches = batches or make(path)
        rows = sum(len(batch) for batch in islice(batches, n))
        rates.append(rows / (time.perf_counter() - start))
    print(json.dumps({"first": rates[0], "steady": rates[1], "rows": rows}))


if __name__ == "__main__":
    main()
