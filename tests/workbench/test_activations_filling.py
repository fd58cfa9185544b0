"""What a recording holds: which positions, of which axis, how many; and what is wrong with it when it is damaged."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from reliability.jobs import HOOKS, data, subject

from models import Seq2Seq, Seq2SeqConfig
from models.artifacts import ArtifactError
from models.tasks import Copy
from workbench.activations import ActivationStore, harvest
from workbench.runs import Run

HOOK = HOOKS[0]
SOURCE, TARGET = "encoder_blocks.0.rnn.hook_h", "decoder_blocks.0.rnn.hook_h"


def recorded(tmp_path, **kwargs) -> ActivationStore:
    kwargs = {"batch_size": 8, "shard_rows": 300} | kwargs
    return harvest(subject(), data(), kwargs.pop("hooks", [HOOK]), tmp_path / "run" / "activations" / "a", **kwargs)


class TestPositions:
    def expected(self, keep):
        _, cache = subject().run_with_cache(data().tokens, mask=data().mask)
        return cache[HOOK][keep]

    def test_the_last_token_alone(self, tmp_path):
        store = recorded(tmp_path, positions="last")
        mask = data().mask
        last = torch.zeros_like(mask)
        last[torch.arange(len(mask)), mask.sum(1) - 1] = True
        torch.testing.assert_close(store[HOOK][:], self.expected(last))
        assert store.columns("id")["id"].to_pylist() == data().tokens[last].tolist()

    def test_bos_too(self, tmp_path):
        store = recorded(tmp_path, positions="bos")
        torch.testing.assert_close(store[HOOK][:], self.expected(data().mask))
        assert store.columns("pos")["pos"].to_pylist().count(0) == len(data())

    def test_a_budget_takes_the_first_sequences_that_fill_it(self, tmp_path):
        store = recorded(tmp_path, n_rows=500)
        counts = data().counted.sum(1)
        assert 500 <= len(store) < 500 + data().tokens.shape[1]
        n_seq = int(np.searchsorted(counts.cumsum(0).numpy(), 500)) + 1
        keep = data().counted.clone()
        keep[n_seq:] = False
        torch.testing.assert_close(store[HOOK][:], self.expected(keep))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"positions": "first"}, "positions is 'first': it must be one of real, last, bos"),
            ({"n_rows": 0}, "the budget of rows is 0"),
            ({"shard_rows": -1}, "shard_rows is -1"),
        ],
    )
    def test_what_cannot_be_is_refused_before_any_work(self, tmp_path, change, sentence):
        with pytest.raises(ValueError, match=sentence):
            recorded(tmp_path, **change)
        assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    task = Copy(n_symbols=5, min_length=3, max_length=6)
    dataset = task.dataset(n_train=40, n_test=10)
    cfg = Seq2SeqConfig(cell="gru", d_model=8, attention="bahdanau", **task.shape)
    model = Seq2Seq(cfg).eval()
    folder = tmp_path_factory.mktemp("run") / "activations" / "a"
    store = harvest(model, dataset, [SOURCE, TARGET], folder, batch_size=8, shard_rows=60)
    _, cache = model.run_with_cache(
        dataset.tokens, source=dataset.source, mask=dataset.mask, source_mask=dataset.source_mask
    )
    return dataset, store, cache


class TestTwoAxes:
    """An encoder–decoder's one pass gives rows of the source and rows of the target."""

    def test_each_hook_has_the_rows_of_its_axis(self, case):
        dataset, store, cache = case
        assert store.axes == ["target", "source"]
        assert store.n_shards > 2
        torch.testing.assert_close(store[TARGET][:], cache[TARGET][dataset.counted])
        torch.testing.assert_close(store[SOURCE][:], cache[SOURCE][dataset.source_mask])
        assert len(store[SOURCE]) == len(store.on("source")) == int(dataset.source_mask.sum())

    def test_each_axis_has_a_row_table(self, case):
        dataset, store, _ = case
        rows = store.on("source").rows.to_table()
        at = rows["seq"].to_numpy(), rows["pos"].to_numpy()
        assert rows["token"].to_numpy().tolist() == dataset.source[at].tolist()
        assert store.rows.to_table()["token"].to_numpy().tolist() == dataset.tokens[dataset.counted].tolist()

    def test_batches_are_of_the_hooks_own_axis(self, case):
        dataset, store, cache = case
        found = torch.cat(list(store.batches(SOURCE, 16, epochs=1)))
        expected = cache[SOURCE][dataset.source_mask]
        torch.testing.assert_close(found.sum(0), expected.sum(0))
        assert len(found) == len(expected)
        with pytest.raises(ValueError, match="rows"):
            store.batches([SOURCE, TARGET], 16)

    def test_an_axis_that_is_not_there_is_named(self, case):
        with pytest.raises(ValueError, match="has no rows of the sequence"):
            case[1].on("sequence")


class TestLabelsAddedLater:
    def test_they_are_read_like_those_that_were_there(self, tmp_path):
        store = recorded(tmp_path)
        token = store.columns("token")["token"].to_numpy()
        labelled = store.add_labels("parity", {"is_odd": token % 2 == 1, "third": (token // 3).astype(np.int16)})
        for found in (labelled, ActivationStore.open(store.path)):
            assert found.labels == ["id", "is_odd", "third"]
            table = found.columns("third", "token", "is_odd")
            assert table.column_names == ["third", "token", "is_odd"]
            assert table["is_odd"].to_numpy().tolist() == (token % 2 == 1).tolist()
            rows = found.where("is_odd and third >= 2 and id > 20")
            assert rows.tolist() == np.flatnonzero((token % 2 == 1) & (token // 3 >= 2) & (token > 20)).tolist()
            assert len(rows)
        assert ActivationStore.open(store.path).id == store.id

    def test_a_function_labels_a_shard_at_a_time(self, tmp_path):
        store = recorded(tmp_path)
        sizes = []

        def label(rows: pa.Table) -> dict:
            sizes.append(rows.num_rows)
            return {"late": pa.compute.greater(rows["pos"], 7)}

        labelled = store.add_labels("late", label)
        assert sizes == np.diff(store.shard_starts).tolist()
        pos = store.columns("pos")["pos"].to_numpy()
        assert labelled.where("late").tolist() == np.flatnonzero(pos > 7).tolist()

    def test_they_are_an_artifact_of_the_run_and_stale_when_the_recording_changes(self, tmp_path):
        store = recorded(tmp_path)
        store.add_labels("late", {"late": np.zeros(len(store), bool)})
        run = Run.create(tmp_path / "run") if (tmp_path / "run" / ".work" / "run").exists() else None
        (tmp_path / "run" / ".work").mkdir(exist_ok=True)
        (tmp_path / "run" / ".work" / "run").touch()
        run = run or Run.open(tmp_path / "run")
        (made,) = [a for a in run.artifacts() if a.kind == "labels"]
        assert (made.name, made.stale) == ("late", False)
        again = recorded(tmp_path, n_rows=400)
        assert Run.open(tmp_path / "run").find("labels").stale
        assert again.labels == ["id"]  # what belongs to other rows is not read

    @pytest.mark.usefixtures("as_in_a_script")
    @pytest.mark.parametrize(
        ("labels", "sentence"),
        [
            ({"late": np.zeros(3, bool)}, "the labels have 3 rows, but the recording"),
            ({"token": np.zeros(2247, bool)}, "has a column 'token' already"),
            ({}, "no column among the labels"),
            ({"late": np.zeros((2247, 2))}, "the label 'late' is a ndarray, and no column of one"),
            ({"late": torch.zeros(2247, 2)}, "the label 'late' is a Tensor, and no column of one"),
            ({"late": [[1]] * 2247}, "the label 'late' is a list, and no column of one"),
            ({"late": [object()] * 2247}, "the label 'late' is a list, and no column of one"),
            ({"late": lambda rows: rows["pos"]}, "the label 'late' is a function, and no column of one"),
            ({3: np.zeros(2247)}, "the label 3 is"),
        ],
    )
    def test_labels_that_do_not_fit_are_refused(self, tmp_path, labels, sentence):
        store = recorded(tmp_path)
        assert len(store) == 2247
        with pytest.raises(ValueError, match=sentence):
            store.add_labels("late", labels)
        assert not (tmp_path / "run" / "labels").exists()

    @pytest.mark.usefixtures("as_in_a_script")
    def test_what_is_no_labels_is_said_so(self, tmp_path):
        with pytest.raises(TypeError, match="a ndarray is no labels: give columns by name"):
            recorded(tmp_path).add_labels("late", np.zeros(2247, bool))

    def test_tensors_are_columns_too(self, tmp_path):
        store = recorded(tmp_path)
        labelled = store.add_labels("late", {"late": torch.arange(len(store)) > 7})
        assert labelled.where("not late").tolist() == list(range(8))

    def test_labels_that_are_there_are_replaced_only_if_that_is_asked_for(self, tmp_path):
        store = recorded(tmp_path)
        store.add_labels("mine", {"late": np.zeros(len(store), bool)})
        for handle in (store, ActivationStore.open(store.path)):
            with pytest.raises(
                ArtifactError, match="there are labels in .*labels/mine: choose another name, or add rep"
            ):
                handle.add_labels("mine", {"late": np.ones(len(store), bool)})
        assert len(ActivationStore.open(store.path).where("late")) == 0
        store.add_labels("mine", {"late": np.ones(len(store), bool)}, replace=True)
        assert len(ActivationStore.open(store.path).where("late")) == len(store)
        again = recorded(tmp_path, n_rows=400)  # of what is no longer there, nobody has any use
        assert len(again.add_labels("mine", {"late": np.ones(len(again), bool)}).where("late")) == len(again)

    def test_a_column_has_one_home(self, tmp_path):
        store = recorded(tmp_path)
        late = {"late": np.zeros(len(store), bool)}
        store.add_labels("mine", late)
        with pytest.raises(ValueError, match="has a column 'late' already"):
            store.add_labels("other", late)  # by a store that was opened before
        shutil.copytree(tmp_path / "run/labels/mine", tmp_path / "run/labels/theirs")
        with pytest.raises(ArtifactError, match="labels/mine and in .*labels/theirs both have a column 'late'"):
            ActivationStore.open(store.path)

    def test_labels_outside_a_run_are_given_by_folder(self, tmp_path):
        store = harvest(subject(), data(), [HOOK], tmp_path / "a")
        with pytest.raises(ValueError, match="lies in no run: say by `out`"):
            store.add_labels("late", {"late": np.zeros(len(store), bool)})
        store.add_labels("late", {"late": np.ones(len(store), bool)}, out=tmp_path / "late")
        assert ActivationStore.open(tmp_path / "a").labels == ["id"]
        assert ActivationStore.open(tmp_path / "a", labels=[tmp_path / "late"]).labels == ["id", "late"]
        other = harvest(subject(), data(30), [HOOK], tmp_path / "b")
        with pytest.raises(ArtifactError, match="are of another recording"):
            ActivationStore.open(other.path, labels=[tmp_path / "late"])


class TestDamage:
    """What is damaged is named: which shard, which hook."""

    @pytest.fixture
    def store(self, tmp_path):
        store = recorded(tmp_path, hooks=HOOKS)
        assert store.verify() == []
        return store

    def named(self, store):
        return [(damage.file, damage.tensor, damage.what) for damage in store.verify()]

    def test_a_flipped_byte(self, store):
        shard = store.path / "shard-00002.safetensors"
        raw = bytearray(shard.read_bytes())
        raw[-1] ^= 1
        shard.write_bytes(raw)
        ((file, hook, what),) = self.named(store)
        assert (file, what) == ("shard-00002.safetensors", "is not what was published")
        assert hook in HOOKS

    def test_a_truncated_shard(self, store):
        shard = store.path / "shard-00001.safetensors"
        shard.write_bytes(shard.read_bytes()[:-10])
        ((file, hook, what),) = self.named(store)
        assert (file, what) == ("shard-00001.safetensors", "is cut short")
        with pytest.raises(ArtifactError, match="shard-00001.safetensors is cut short"):
            list(store.batches(hook, 64, epochs=1))

    def test_a_missing_shard_and_a_missing_row_table(self, store):
        (store.path / "shard-00000.safetensors").unlink()
        (store.path / "rows-00001.parquet").unlink()
        assert [(file, what) for file, _, what in self.named(store)] == [
            ("rows-00001.parquet", "is missing"),
            ("shard-00000.safetensors", "is missing"),
        ]
        with pytest.raises(ArtifactError, match="shard-00000.safetensors"):
            store[HOOK][:10]
        with pytest.raises(ArtifactError, match="rows-00001.parquet"):
            store.columns("id")

    def test_a_damaged_header(self, store):
        shard = store.path / "shard-00000.safetensors"
        shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])
        assert self.named(store) == [("shard-00000.safetensors", None, "has a header that cannot be read")]
        with pytest.raises(ArtifactError, match="header cannot be read"):
            store[HOOK][:10]

    def rewritten(self, store, change):
        path = store.path / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return ActivationStore.open(store.path)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda config: config.update(dtype="float16"), ("is F32 [", "where the manifest has F16 [")),
            (
                lambda config: config["results"]["hooks"][HOOK].update(shape=[8, 4]),
                ("is F32 [", "64] where the manifest has F32 [", "32]"),
            ),
            (
                lambda config: config["results"]["shards"]["target"].__setitem__(0, 10**4),
                ("is F32 [", "rows where the manifest has 10000", "where the manifest has F32 [10000, "),
            ),
        ],
    )
    def test_a_manifest_that_says_something_else_than_the_files(self, store, change, expected):
        changed = self.rewritten(store, lambda manifest: change(manifest["config"]))
        found = " ".join(map(str, changed.verify()))
        assert all(part in found for part in expected), found

    def test_a_hook_that_no_shard_holds(self, store):
        def add(manifest):
            manifest["config"]["hooks"].append("blocks.7.hook")
            manifest["config"]["results"]["hooks"]["blocks.7.hook"] = {"axis": "target", "shape": [16]}

        found = self.rewritten(store, add).verify()
        assert len(found) == store.n_shards
        assert {(damage.tensor, damage.what) for damage in found} == {("blocks.7.hook", "is missing")}

    def test_a_file_that_nothing_vouches_for(self, store):
        found = self.rewritten(store, lambda manifest: manifest["checksums"].pop("rows-00001.parquet")).verify()
        assert [str(damage) for damage in found] == ["rows-00001.parquet has no checksum in the manifest"]

    def test_what_a_manifest_must_say_is_enough(self, store):
        def strip(manifest):
            config = {name: manifest["config"][name] for name in ("hooks", "dtype", "results")}
            kept = {"kind": manifest["kind"], "version": 1, "inputs": {}, "config": config}
            manifest.clear()
            manifest.update(kept)

        before = store[HOOK][:], store.where("split == 'test'").tolist()
        stripped = self.rewritten(store, strip)
        assert torch.equal(stripped[HOOK][:], before[0])
        assert stripped.where("split == 'test'").tolist() == before[1]
        assert len(next(iter(stripped.batches(HOOK, 64)))) == 64
        assert next(iter(stripped.sequences(HOOK, 3))).values.shape[0] == 3

    def test_a_manifest_without_checksums_vouches_for_nothing(self, store):
        (damage,) = self.rewritten(store, lambda manifest: manifest.pop("checksums")).verify()
        assert str(damage).startswith("manifest.json has no checksums: whether the files are as they were written")

    def test_a_row_table_that_is_shorter_than_its_shard(self, store):
        path = store.path / "rows-00001.parquet"
        pq.write_table(pq.read_table(path).slice(0, 5), path)
        assert [(file, what) for file, _, what in self.named(store)] == [(path.name, "is not what was published")]
        again = ActivationStore.open(store.path)
        for reading in (
            lambda: again.where("id > 1"),
            lambda: list(again.sequences(HOOK)),
            lambda: again.columns("id"),
        ):
            with pytest.raises(ArtifactError, match="rows-00001.parquet is damaged: it has 5 rows, and its shard"):
                reading()

    @pytest.mark.parametrize("without", ["results", "hooks", "dtype"])
    def test_a_manifest_that_lacks_something_is_said_so(self, store, without):
        with pytest.raises(
            ArtifactError, match="manifest.json does not describe a recording: it needs `hooks`, `dtype`"
        ):
            self.rewritten(store, lambda manifest: manifest["config"].pop(without))
        ((file, _, what),) = self.named(store)
        assert file == "manifest.json"
        assert "cannot be used" in what

    def test_a_manifest_of_a_later_version_is_refused(self, store):
        path = store.path / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
        with pytest.raises(ArtifactError, match="written in format 99, later than"):
            ActivationStore.open(store.path)
