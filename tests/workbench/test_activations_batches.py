"""Batches are a shuffled reading: every row once an epoch, mixed as by chance, the same whatever the memory."""

import gc
import threading
from itertools import chain, islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.stats import chisquare, hypergeom

from models.artifacts import ArtifactError, Manifest
from workbench.activations.batches import Batches
from workbench.activations.permutation import Permutation
from workbench.activations.row_runs import RowRuns
from workbench.activations.shard_files import rows_name, shard_name
from workbench.activations.store import ActivationStore
from workbench.sae.stream import Position, RowStream

SHARDS = [700, 1, 900, 399]
N = sum(SHARDS)
ROWS_A_DOC = 20


def filled(folder, dtype="float32"):
    """A store in which row i of hook `a` is i, and of `b` −i, in every column."""
    number = torch.arange(N)
    first = 0
    for shard, n in enumerate(SHARDS):
        own = number[first : first + n, None].float()
        tensors = {"a": own.repeat(1, 3), "b": -own.repeat(1, 3), "wide": own.repeat(1, 5)}
        save_file({k: v.to(getattr(torch, dtype)).contiguous() for k, v in tensors.items()}, folder / shard_name(shard))
        doc = own[:, 0].int().numpy() // ROWS_A_DOC
        split = np.where(doc % 3 == 0, "test", "train")
        table = {"doc": doc, "split": pa.array(split).dictionary_encode(), "depth": own[:, 0].int().numpy() % 7}
        pq.write_table(pa.table(table), folder / rows_name(shard, "target"))
        first += n
    hooks = {"a": 3, "b": 3, "wide": 5}
    results = {
        "shards": {"target": SHARDS},
        "hooks": {name: {"axis": "target", "shape": [d]} for name, d in hooks.items()},
    }
    return ActivationStore(folder, Manifest("activations", config={"dtype": dtype, "results": results}))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("store"))


def numbers(batches):
    return [batch[:, 0].long().tolist() for batch in batches]


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "activation-reader"]


class TestPermutation:
    def test_every_number_stands_at_one_place(self):
        for n in range(1, 301):
            assert np.array_equal(np.sort(Permutation(n, 3, n).at(np.arange(n))), np.arange(n))

    def test_a_large_one_gives_no_number_twice(self):
        for n in (100_003, 2**20, 2**20 + 1):
            assert np.array_equal(np.sort(Permutation(n, 0, 0).at(np.arange(n))), np.arange(n))
        for n in (10**9, 2**40 + 1, 2**62):
            found = Permutation(n, 0, 0).at(np.random.default_rng(0).integers(0, n, 10**5))
            places = np.random.default_rng(0).integers(0, n, 10**5)
            assert len(np.unique(found)) == len(np.unique(places))
            assert found.min() >= 0
            assert found.max() < n

    def test_all_orders_of_four_are_equally_likely(self):
        orders = np.array([Permutation(4, seed, 0).at(np.arange(4)) for seed in range(600)])
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 24
        assert chisquare(counts).pvalue > 1e-3

    def test_places_and_their_neighbours_are_as_of_chance(self):
        n = 1009
        orders = np.array([Permutation(n, seed, 5).at(np.arange(8)) for seed in range(4000)])
        for found in (orders[:, 0], orders[:, 7], (orders[:, 1] - orders[:, 0]) % n - 1):
            assert chisquare(np.bincount(found * 16 // n, minlength=16), _shares(found, n)).pvalue > 1e-3
        whole = Permutation(10**6, 1, 0).at(np.arange(10**6))
        steps = np.diff(whole) % 10**6
        assert chisquare(np.bincount(steps // 10_000, minlength=100)).pvalue > 1e-3

    def test_seed_and_epoch_both_matter(self):
        one, other, third = (Permutation(1000, *key).at(np.arange(1000)) for key in ((0, 0), (0, 1), (1, 0)))
        assert (one == other).mean() < 0.02
        assert (one == third).mean() < 0.02

    @pytest.mark.parametrize("n", [0, 2**62 + 1])
    def test_a_length_it_cannot_have_is_refused(self, n):
        with pytest.raises(ValueError, match="n must be from 1"):
            Permutation(n, 0, 0)


def _shares(found, n):
    values = n if found.max() == n - 1 or found.min() == 0 else n - 1
    return np.bincount(np.arange(values) * 16 // n, minlength=16) / values * len(found)


class TestRowRuns:
    @given(st.lists(st.booleans(), max_size=60), st.integers(1, 7))
    @settings(max_examples=60, deadline=None)
    def test_a_mask_its_numbers_and_its_runs_say_the_same(self, mask, block):
        mask = np.array(mask, bool)
        runs = RowRuns.from_mask(mask[i : i + block] for i in range(0, len(mask), block))
        expected = np.flatnonzero(mask)
        assert runs.numbers().tolist() == expected.tolist()
        assert len(runs) == len(expected)
        assert runs.at(np.arange(len(runs))).tolist() == expected.tolist()
        assert [row for first, end in runs for row in range(first, end)] == expected.tolist()
        again = RowRuns.from_numbers(np.random.default_rng(0).permutation(np.repeat(expected, 2)))
        assert list(again) == list(runs)

    def test_a_billion_rows_take_no_memory(self):
        runs = RowRuns.whole(10**9)
        assert runs.nbytes < 100
        assert runs.at(np.array([0, 10**9 - 1])).tolist() == [0, 10**9 - 1]
        assert len(RowRuns.whole(0)) == 0

    def test_runs_that_overlap_are_refused(self):
        with pytest.raises(ValueError, match="overlap"):
            RowRuns(np.array([0, 3]), np.array([4, 1]))


def test_an_epoch_is_every_row_once_and_its_batches_are_as_promised(store):
    found = numbers(store.batches("a", 64, seed=2, epochs=1))
    order = Permutation(N, 2, 0).at(np.arange(N))
    assert found == [sorted(order[i : i + 64].tolist()) for i in range(0, N, 64)]
    assert sorted(chain(*found)) == list(range(N))


@pytest.mark.parametrize("memory", [1, 20_000, 2**30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_memory_does_not_change_what_is_read(store, tmp_path, memory, dtype):
    other = filled(tmp_path, dtype)
    expected = list(store.batches("a", 50, epochs=2))
    found = list(other.batches("a", 50, epochs=2, memory=memory))
    assert len(found) == len(store.batches("a", 50, epochs=2)) == 80
    for one, two in zip(expected, found, strict=True):
        assert two.dtype == torch.float32
        assert torch.equal(two, one.to(getattr(torch, dtype)).float())


def test_two_stretches_of_rows_fit_into_the_memory(store):
    memory = 20_000
    reading = store.batches(["a", "wide"], 16, epochs=1, memory=memory)
    held = [4 * (3 + 5) * sum(map(len, batches)) for batches in reading._plan()]
    assert len(held) > 4
    assert held[0] < max(held)  # the first batch comes soon
    assert all(one + two <= memory for one, two in pairwise(held))


def test_any_batch_can_be_had_without_those_before_it(store):
    reading = store.batches("a", 64, seed=1, split="train", epochs=3)
    whole = numbers(reading)
    for n in range(0, len(whole) + 2, 7):
        assert numbers(reading.resume(n)) == whole[n:]
        assert len(reading.resume(n)) == len(whole[n:])
    assert numbers(reading.resume(3).resume(4)) == whole[7:]
    endless = store.batches("a", 64, seed=1, split="train")
    assert numbers(islice(endless.resume(5), 30)) == whole[5:35]
    with pytest.raises(TypeError, match="no length"):
        len(endless)


def test_documents_meet_in_a_batch_no_oftener_than_by_chance(store):
    size, docs = 128, N // ROWS_A_DOC
    reading = store.batches("a", size, rows=range(docs * ROWS_A_DOC), epochs=8, memory=N * 12 // 20)
    pairs = [
        sum(count * (count - 1) // 2 for count in np.bincount(np.array(batch) // ROWS_A_DOC))
        for batch in numbers(islice(reading, docs * ROWS_A_DOC // size))
    ]
    at_a_time = hypergeom(docs * ROWS_A_DOC, ROWS_A_DOC, size)
    chance = docs * (at_a_time.moment(2) - at_a_time.mean()) / 2
    assert chance > 5
    assert np.mean(pairs) == pytest.approx(chance, rel=0.2)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_ranks_shares_are_the_batch(store, world):
    reading = store.batches("a", 50, epochs=1)
    shares = [list(reading.part(rank, world)) for rank in range(world)]
    for batch, *parts in zip(reading, *shares, strict=True):
        assert torch.equal(torch.cat(parts), batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_several_hooks_are_read_at_the_same_rows(store):
    for a, wide, b in store.batches(["a", "wide", "b"], 64, epochs=1):
        assert wide.shape[1] == 5
        assert torch.equal(a[:, 0], wide[:, 0])
        assert torch.equal(a, -b)
    alone = store.batches("a", 64, epochs=1)
    for one, both in zip(alone, store.batches(["a", "b"], 64, epochs=1, stack=True), strict=True):
        assert torch.equal(both, torch.stack([one, -one], 1))


def test_a_split_and_a_query_hold_together(store):
    found = chain(*numbers(store.batches("a", 16, split="train", where="depth in (1, 4)", epochs=1)))
    expected = [i for i in range(N) if i // ROWS_A_DOC % 3 and i % 7 in (1, 4)]
    assert sorted(found) == expected


def test_batches_given_to_somebody_stay_as_they_are(store):
    kept = list(store.batches("a", 50, epochs=1, memory=1))
    assert numbers(kept) == numbers(store.batches("a", 50, epochs=1))


def test_a_trainers_stream_goes_on_where_it_stood(store):
    source = store.batches("a", 64, seed=4)
    stream = RowStream(source, 40, 10_000, lambda batch: None)
    for _ in range(9):
        stream.next_batch()
    other = RowStream(source, 40, 10_000, lambda batch: None, Position(*stream.position))
    assert torch.equal(other.next_batch()["x"], stream.next_batch()["x"])


@pytest.mark.parametrize("end", ["closed", "forgotten", "done"])
def test_no_thread_outlives_its_reading(store, end):
    before = len(readers())
    reading = iter(store.batches("a", 64, epochs=1, memory=20_000))
    next(reading)
    if end == "done":
        list(reading)
    else:
        assert len(readers()) == before + 1
    if end == "closed":
        reading.close()
    del reading
    gc.collect()
    assert len(readers()) == before


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_shard_is_named_where_the_batches_are_read(tmp_path, damage):
    own, shard = filled(tmp_path), tmp_path / shard_name(2)
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:1000])
    else:
        shard.unlink()
    before = len(readers())
    with pytest.raises(ArtifactError, match=shard.name):
        list(own.batches("a", 64, epochs=1))
    assert len(readers()) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": N + 1}, "cannot be filled"),
        ({"memory": 0}, "memory is 0"),
        ({"hook": []}, "no hook"),
        ({"hook": ["a", "wide"], "stack": True}, "one width"),
        ({"split": "dev"}, "no row of the split 'dev'"),
        ({"rows": [1], "where": "depth == 1"}, "the one or the other"),
    ],
)
def test_bad_input_is_refused_before_anything_is_read(store, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        store.batches(**{"hook": "a", "batch_size": 64} | change)


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"epochs": 0}, ValueError, "epochs is 0: it must be at least 1"),
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"epochs": 1.5}, TypeError, "epochs is 1.5: it must be a whole number"),
        ({"epochs": "2"}, TypeError, "epochs is '2'"),
        ({"batch_size": "x"}, TypeError, "batch_size is 'x'"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5"),
        ({"seed": -1}, ValueError, "seed is -1: it must be at least 0"),
        ({"where": np.arange(3)}, TypeError, "a ndarray is no query: .* `rows` takes the rows' numbers"),
        ({"device": "gpu"}, ValueError, "there is no device 'gpu'"),
        pytest.param(
            {"device": "cuda"},
            ValueError,
            "there is no device 'cuda': torch sees no GPU here; name cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_cannot_be_counted_is_said_so_at_once(store, change, kind, sentence):
    with pytest.raises(kind, match=sentence):
        store.batches(**{"hook": "a", "batch_size": 64} | change)


def test_batches_before_the_first_are_refused(store):
    with pytest.raises(ValueError, match="n_batches is -1"):
        store.batches("a", 64).resume(-1)


@pytest.mark.usefixtures("as_in_a_script")
def test_whole_numbers_of_other_libraries_are_taken(store):
    given = {"batch_size": np.int64(64), "seed": np.uint8(1), "epochs": np.int32(1)}
    assert numbers(store.batches("a", **given)) == numbers(store.batches("a", 64, seed=1, epochs=1))


def test_a_rank_that_cannot_be_is_refused(store):
    for rank, world in ((2, 2), (-1, 2), (0, 65)):
        with pytest.raises(ValueError, match="can have no share"):
            store.batches("a", 64).part(rank, world)


def test_batches_of_a_billion_rows_take_memory_by_the_batch(store):
    batches = Batches(store, ("a",), 4096, 0, RowRuns.whole(10**9))
    (first,) = batches.resume(10**7).numbers(10**7, 1)
    assert len(first) == 4096
    assert (np.diff(first) > 0).all()
    assert 0.4e9 < first.mean() < 0.6e9
