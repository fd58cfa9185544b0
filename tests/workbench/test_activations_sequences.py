"""A recording's sequences come whole and in order, wherever its shards end."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from models.artifacts import Manifest
from workbench.activations.shard_files import rows_name, shard_name
from workbench.activations.store import ActivationStore

# Row by row the sequence it is of; numbers may be left out, as those of sequences without a position that is recorded.
SEQ = np.repeat([0, 1, 3, 4, 7, 8], [3, 5, 1, 9, 2, 4])
# A shard ends between two sequences, one within, one holds a part of one only.
SHARDS = [3, 7, 4, 10]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    generator = torch.Generator().manual_seed(0)
    first = 0
    for shard, n in enumerate(SHARDS):
        h, g = (torch.randn(n, d, generator=generator) for d in (4, 2))
        save_file({"h": h, "g": g}, folder / shard_name(shard))
        seq = SEQ[first : first + n]
        split = pa.array(np.where(seq % 4 == 3, "test", "train")).dictionary_encode()
        table = pa.table({"seq": seq.astype(np.int32), "split": split})
        pq.write_table(table, folder / rows_name(shard, "target"))
        first += n
    hooks = {"h": {"axis": "target", "shape": [4]}, "g": {"axis": "target", "shape": [2]}}
    results = {"shards": {"target": SHARDS}, "hooks": hooks}
    config = {"dtype": "float32", "results": results}
    return ActivationStore(folder, Manifest("activations", config=config))


@pytest.mark.parametrize("size", [1, 2, 4, 100])
@pytest.mark.parametrize("split", [None, "train", "test"])
def test_each_sequence_comes_once_whole_and_in_order(store, size, split):
    everything = store["h"][:]
    expected = [s for s in np.unique(SEQ).tolist() if split is None or (s % 4 == 3) == (split == "test")]
    batches = list(store.sequences("h", size, split=split))
    assert torch.cat([batch.seq for batch in batches]).tolist() == expected
    assert all(len(batch.seq) == size for batch in batches[:-1])
    for batch in batches:
        for i, seq in enumerate(batch.seq.tolist()):
            rows = np.flatnonzero(seq == SEQ)
            assert batch.rows[i][batch.mask[i]].tolist() == rows.tolist()
            assert torch.equal(batch.values[i][batch.mask[i]], everything[rows])
            assert batch.mask[i].tolist() == [t < len(rows) for t in range(batch.mask.shape[1])]
        assert (batch.rows[~batch.mask] == -1).all()
        assert (batch.values[~batch.mask] == 0).all()
        assert batch.mask.any(0).all()  # no longer than its longest


def test_several_hooks_stand_side_by_side(store):
    for both, h, g in zip(
        store.sequences(["h", "g"], 2), store.sequences("h", 2), store.sequences("g", 2), strict=True
    ):
        assert list(both.values) == ["h", "g"]
        assert torch.equal(both.values["h"], h.values)
        assert torch.equal(both.values["g"], g.values)


@pytest.mark.parametrize(
    ("hooks", "change", "sentence"),
    [
        ("h", {"batch_size": 0}, "at least 1"),
        ([], {}, "no hook"),
        ("z", {}, "no recording of 'z'"),
        ("h", {"split": "dev"}, "no row of the split"),
    ],
)
def test_bad_input_is_refused_at_once(store, hooks, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        store.sequences(hooks, **change)
