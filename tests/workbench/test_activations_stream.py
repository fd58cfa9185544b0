"""A stream gives what a store would, without writing anything."""

import pytest
import torch
from reliability.jobs import HOOKS, data, subject

from workbench.activations import ActivationStream, harvest
from workbench.sae import SAEConfig, SAETrainConfig, train_sae

FIRST, SECOND = HOOKS


@pytest.fixture(scope="module")
def stream():
    return ActivationStream(subject(), data(), HOOKS, sequences_per_pass=7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return harvest(subject(), data(), HOOKS, tmp_path_factory.mktemp("run") / "a")


def in_order(rows):
    return rows[torch.argsort(rows[:, 0])]


@pytest.mark.parametrize("split", [None, "train", "test"])
@pytest.mark.parametrize("memory", [2**28, 30_000])
def test_an_epoch_has_every_row_of_the_store_once(stream, store, split, memory):
    batches = list(stream.batches(FIRST, 50, split=split, epochs=1, memory=memory))
    assert {len(batch) for batch in batches[:-1]} == {50}
    expected = store[FIRST][store.rows_of(split)]
    assert len(stream) == len(store)
    torch.testing.assert_close(in_order(torch.cat(batches)), in_order(expected))


def test_epochs_differ_and_a_resumed_reading_joins_seamlessly(stream):
    reading = stream.batches(FIRST, 50, seed=4, epochs=2, memory=30_000)
    batches = list(reading)
    half = len(stream) // 50
    assert not torch.equal(batches[0], batches[half + 1])
    for start in (1, 5, half, half + 3):
        rest = list(reading.resume(start))
        assert len(rest) == len(batches) - start
        for found, expected in zip(rest, batches[start:], strict=True):
            torch.testing.assert_close(found, expected)


def test_several_hooks_have_the_same_rows(stream, store):
    pairs = list(stream.batches([FIRST, SECOND], 50, epochs=1))
    first, second = (torch.cat(part) for part in zip(*pairs, strict=True))
    order = torch.argsort(first[:, 0])
    expected = torch.argsort(store[FIRST][:][:, 0])
    torch.testing.assert_close(second[order], store[SECOND][:][expected])
    stacked = next(iter(stream.batches([SECOND, SECOND], 50, stack=True)))
    assert stacked.shape == (50, 2, 16)


def test_a_dictionary_is_trained_from_it(stream):
    cfg = SAEConfig(architecture="topk", d_in=stream.width(FIRST), d_sae=128, k=4, hook_name=FIRST)
    logged = []
    train_sae(cfg, stream.batches(FIRST, 256), SAETrainConfig(n_tokens=10_000, batch_size=256), on_log=logged.append)
    assert logged[-1]["explained_variance"] > logged[0]["explained_variance"] + 0.2


def test_bad_input_is_refused_before_any_work(stream):
    with pytest.raises(ValueError, match="'blocks.9' is not streamed"):
        stream.batches("blocks.9")
    with pytest.raises(ValueError, match="cannot be filled"):
        stream.batches(FIRST, 10**6)
    with pytest.raises(ValueError, match="only hooks of one width"):
        stream.batches(HOOKS, 50, stack=True)
    for change, sentence in (
        ({"epochs": 0}, "epochs is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"memory": 0}, "memory is 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            stream.batches(FIRST, 50, **change)
    with pytest.raises(ValueError, match="n_batches is -1"):
        stream.batches(FIRST, 50).resume(-1)


def test_one_hook_may_be_named_without_a_list(stream):
    alone = ActivationStream(subject(), data(), FIRST)
    assert alone.hooks == [FIRST]
    assert len(alone) == len(stream)
