"""Batches of two recordings: the same positions of the same documents, side by side."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reliability.jobs import D_VOCAB, HOOKS, N_CTX, data

from models import Transformer, TransformerConfig
from workbench.activations import harvest
from workbench.activations.joined import JoinedBatches
from workbench.activations.row_runs import RowRuns


def recording(path, seed, dataset=None, **options):
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=seed)
    return harvest(Transformer(cfg).eval(), dataset or data(90), HOOKS, path / f"{seed}", **options)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One in many shards, the other in few: what is a row does not depend on it."""
    folder = tmp_path_factory.mktemp("stores")
    return recording(folder, 0, batch_size=4, shard_rows=80), recording(folder, 1, shard_rows=700)


def joined(stores, **options):
    return JoinedBatches(tuple(store.batches(HOOKS[0], 64, seed=3, **options) for store in stores))


def test_each_row_is_one_position_as_every_subject_holds_it(stores):
    first, second = stores
    wanted = torch.stack([store[HOOKS[0]][:] for store in stores], dim=1)
    rows = torch.cat(list(joined(stores, epochs=1)))
    assert rows.shape == wanted.shape
    # Each row of the first subject's is found, and beside it the second's of the same number. (Equal prefixes make
    # equal rows, in both.)
    place = torch.cdist(rows[:, 0].double(), wanted[:, 0].double()).argmin(1)
    torch.testing.assert_close(rows, wanted[place])
    torch.testing.assert_close(rows.double().sum(0), wanted.double().sum(0))
    assert not torch.equal(first[HOOKS[0]][:], second[HOOKS[0]][:])


def test_they_are_resumed_and_shared_like_the_batches_of_one(stores):
    whole = list(joined(stores, epochs=2))
    assert len(joined(stores, epochs=2)) == len(whole)
    for after, batch in zip(joined(stores, epochs=2).resume(3), whole[3:], strict=True):
        assert torch.equal(after, batch)
    shares = [joined(stores, epochs=2).part(rank, 2) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat(parts), batch)


def test_other_rows_and_other_widths_are_refused(stores, tmp_path):
    elsewhere = recording(tmp_path, 2, data(60))
    with pytest.raises(ValueError, match="not recordings of the same rows: their data differ"):
        joined((stores[0], elsewhere))
    fewer = recording(tmp_path, 3, n_rows=300)
    with pytest.raises(ValueError, match="not recordings of the same rows: their n_seq, n_rows differ"):
        joined((stores[0], fewer))
    with pytest.raises(ValueError, match="they have .* rows"):
        JoinedBatches((stores[0].batches(HOOKS[0], 8), stores[1].batches(HOOKS[0], 8, split="train")))
    with pytest.raises(ValueError, match="of another size or order"):
        JoinedBatches((stores[0].batches(HOOKS[0], 8, seed=0), stores[1].batches(HOOKS[0], 8, seed=1)))
    chosen = [RowRuns.from_numbers(np.arange(first, first + 50)) for first in (0, 1)]
    batches = [replace(s.batches(HOOKS[0], 8), rows=rows) for s, rows in zip(stores, chosen, strict=True)]
    with pytest.raises(ValueError, match="other rows of them were chosen"):
        JoinedBatches(tuple(batches))
    with pytest.raises(ValueError, match="is 64 wide at blocks.0.mlp.hook_post and .* 16"):
        JoinedBatches((stores[0].batches(HOOKS[0], 8), stores[1].batches(HOOKS[1], 8)))
