"""A recording holds what the hooks held, at the right rows, whatever happens on the way."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from models import MLP, Dataset, MLPConfig, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.artifacts import ArtifactError
from models.tasks import ModularAddition
from workbench.activations import ActivationStore, ActivationStream, harvest, shard_files

HOOKS = ["blocks.0.mlp.hook_post", "blocks.1.attn.hook_z", "blocks.1.hook_resid_pre"]


def model() -> Transformer:
    return Transformer(TransformerConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=12, d_vocab=40, seed=0)).eval()


def data(n_seq: int = 30) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 40, (n_seq, 12), generator=generator)
    tokens[:, 0] = 0
    lengths = torch.randint(2, 13, (n_seq,), generator=generator)
    mask = torch.arange(12) < lengths[:, None]
    tokens[~mask] = 0
    labels = pa.table({"id": pa.array(tokens[mask].numpy().astype(np.int16))})
    docs = torch.arange(n_seq) // 3
    names = [f"doc {i}" for i in range(int(docs.max()) + 1)]
    table = pa.table({"name": names, "split": ["test" if i % 4 == 0 else "train" for i in range(len(names))]})
    return Dataset(tokens, mask, docs, labels, table)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return harvest(model(), data(), HOOKS, tmp_path_factory.mktemp("run") / "a", batch_size=4, shard_rows=60)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_row_is_the_models_own_activation(store, hook):
    _, cache = model().run_with_cache(data().tokens)
    keep = data().mask.clone()
    keep[:, 0] = False
    expected = cache[hook].flatten(2)[keep]
    assert store.n_shards > 2
    torch.testing.assert_close(store[hook][:], expected)
    assert store.shape(hook) == tuple(cache[hook].shape[2:])


def test_rows_say_where_they_stand(store):
    rows = store.rows.to_table().to_pydict()
    tokens = data().tokens[rows["seq"], rows["pos"]]
    assert tokens.tolist() == rows["token"] == rows["id"]
    assert data().docs[rows["seq"]].tolist() == rows["doc"]
    assert min(rows["pos"]) == 1  # BOS is left out
    assert len(store) == data().n_tokens


def test_slices_indices_masks_and_single_rows_agree(store):
    hook = HOOKS[0]
    everything = store[hook][:]
    mask = np.random.default_rng(0).random(len(store)) < 0.3
    picked = np.array([len(store) - 1, 0, 70, 3, 3])
    assert torch.equal(store[hook][50:130], everything[50:130])
    assert torch.equal(store[hook][mask], everything[torch.from_numpy(mask)])
    assert torch.equal(store[hook][picked], everything[torch.from_numpy(picked)])
    assert torch.equal(store[hook][-1], everything[-1])
    assert torch.equal(store[hook][torch.tensor([5, 2])], everything[[5, 2]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_what_it_can(tmp_path, store, dtype):
    half = harvest(model(), data(), HOOKS[:1], tmp_path / "a", dtype=dtype)
    expected = store[HOOKS[0]][:].to(getattr(torch, dtype)).float()
    assert torch.equal(half[HOOKS[0]][:], expected)
    assert half[HOOKS[0]][:].dtype == torch.float32


def test_an_epoch_of_batches_is_every_row_of_the_split_once(store):
    hook = HOOKS[0]
    batches = list(store.batches(hook, 16, seed=3, split="train", epochs=1))
    train = store[hook][store.rows_of("train")]
    found = torch.cat(batches)
    assert all(len(b) == 16 for b in batches[:-1])
    assert torch.equal(found.sort(0).values, train.sort(0).values)
    assert not torch.equal(found, train)


def test_epochs_differ_and_a_resumed_reading_joins_seamlessly(store):
    hook = HOOKS[0]
    n = len(store.rows_of(None))
    reading = store.batches(hook, 16, seed=3, epochs=3)
    batches = list(reading)
    assert sum(len(b) for b in batches) == 3 * n
    assert not torch.equal(batches[0], list(reading)[n // 16 + 1])
    for start in (1, 7, 19):
        rest = list(reading.resume(start))
        assert len(rest) == len(batches) - start
        assert all(torch.equal(a, b) for a, b in zip(rest, batches[start:], strict=True))


def test_the_seed_orders_the_batches(store):
    def first(seed):
        return next(iter(store.batches(HOOKS[0], 16, seed=seed)))

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_a_killed_harvest_goes_on_to_the_same_bits(tmp_path, store, monkeypatch):
    write = shard_files.write_shard
    written = []

    def killed(folder, number, *shard):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(folder, number, *shard)
        written.append(number)

    def counted(folder, number, *shard):
        write(folder, number, *shard)
        written.append(number)

    monkeypatch.setattr(shard_files, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        harvest(model(), data(), HOOKS, tmp_path / "a", batch_size=4, shard_rows=60)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(shard_files, "write_shard", counted)
    resumed = harvest(model(), data(), HOOKS, tmp_path / "a", batch_size=4, shard_rows=60)
    assert written == list(range(store.n_shards))
    assert resumed.id == store.id


def test_shards_hold_whole_batches_and_stay_bounded(store):
    assert (np.diff(store.shard_starts) <= 60).all()


def test_a_nan_names_hook_document_and_position(tmp_path):
    broken = model()
    broken.add_hook("blocks.0.mlp.hook_pre", lambda value, hook: value.index_fill(1, torch.tensor(5), float("nan")))
    row = int((data().mask.sum(1) > 5).nonzero()[0])
    name = data().doc_table["name"][int(data().docs[row])].as_py()
    with pytest.raises(FloatingPointError, match=f"blocks.0.mlp.hook_post is NaN.* in document {name} at position 5"):
        harvest(broken, data(), HOOKS[:1], tmp_path / "a")


def test_what_float16_cannot_hold_is_not_written_as_infinity(tmp_path):
    huge = model()
    with torch.no_grad():
        huge.W_E.mul_(1e6)
    with pytest.raises(FloatingPointError, match="too large for torch.float16"):
        harvest(huge, data(), ["blocks.0.hook_resid_pre"], tmp_path / "a", dtype="float16")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hooks": ["blocks.0.mlp.hook_pots"]}, "no hook 'blocks.0.mlp.hook_pots': did you mean .*hook_post"),
        ({"hooks": []}, "no hook was named"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        harvest(model(), data(), change.pop("hooks", HOOKS), tmp_path / "a", **change)
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize(
    ("model_given", "data_given", "sentence"),
    [
        ("runs/memory", data(), "a str is no subject with hooks"),
        (torch.nn.Linear(2, 2), data(), "a Linear is no subject with hooks: `load_model"),
        (model(), None, "a NoneType is no `models.Dataset`"),
        (model(), data().tokens, "a Tensor is no `models.Dataset`: `Dataset\\(tokens\\)` makes one"),
    ],
)
def test_what_is_no_subject_or_no_dataset_is_said_so(tmp_path, model_given, data_given, sentence):
    for record in (lambda *given: harvest(*given, tmp_path / "a"), ActivationStream):
        with pytest.raises(TypeError, match=sentence):
            record(model_given, data_given, HOOKS)
    assert not any(tmp_path.iterdir())


def test_one_hook_may_be_named_without_a_list(tmp_path, store):
    alone = harvest(model(), data(), HOOKS[0], tmp_path / "a")
    assert alone.hooks == HOOKS[:1]
    torch.testing.assert_close(alone[HOOKS[0]][:], store[HOOKS[0]][:])


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.array([1.5]), "a number, a slice, a list of whole numbers or a mask"),
        (1.5, "a number, a slice, a list of whole numbers or a mask"),
        ([1, 2.5], "a number, a slice, a list of whole numbers or a mask"),
        ("a", "a number, a slice, a list of whole numbers or a mask"),
        (["a"], "a number, a slice, a list of whole numbers or a mask"),
        (None, "a number, a slice, a list of whole numbers or a mask"),
        ([[0, 1], [2]], "a number, a slice, a list of whole numbers or a mask"),
        (np.zeros((2, 2), int), "a number, a slice, a list of whole numbers or a mask"),
        ((slice(1, 3), 2), "rows have one index"),
        (np.ones((2, 2), bool), "the mask has"),
        (-10_000, "row -10000 is out of range"),
    ],
)
def test_what_is_no_choice_of_rows_is_said_so(store, rows, sentence):
    with pytest.raises(IndexError, match=sentence):
        store[HOOKS[0]][rows]


def test_a_choice_of_no_rows_is_none(store):
    for rows in ([], np.array([], int), slice(3, 3), np.zeros(len(store), bool)):
        assert store[HOOKS[0]][rows].shape == (0, store.width(HOOKS[0]))


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize("n", [np.int64(3), np.array(3), torch.tensor(3)])
def test_a_single_row_may_be_named_by_any_whole_number(store, n):
    assert torch.equal(store[HOOKS[0]][n], store[HOOKS[0]][3])


def test_a_query_that_no_row_answers_gives_none(store):
    assert store.where("id > 1000").tolist() == []
    with pytest.raises(ValueError, match="no row with id > 1000"):
        store.batches(HOOKS[0], 4, where="id > 1000")


def test_columns_are_all_of_them_where_none_is_named(store):
    assert store.columns().column_names == store.column_names
    assert store.columns().num_rows == len(store)


def test_what_is_there_already_is_not_recorded_over(tmp_path):
    (tmp_path / "my.txt").write_text("notes")
    for out in (tmp_path, tmp_path / "my.txt"):
        with pytest.raises(ArtifactError, match="move it away, or choose another place"):
            harvest(model(), data(), HOOKS, out)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("my.txt", "notes")]


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ArtifactError, match="README.md is a file: an artifact is a folder"):
        ActivationStore.open(tmp_path / "README.md")


def test_what_a_store_does_not_have_is_named(store):
    with pytest.raises(ValueError, match="no recording of 'blocks.9.hook': it has blocks.0.mlp.hook_post"):
        store["blocks.9.hook"]
    with pytest.raises(ValueError, match="no label 'depth': it has doc, seq"):
        store.columns("depth")
    with pytest.raises(IndexError, match="out of range"):
        store[HOOKS[0]][[10**6]]
    with pytest.raises(ValueError, match="cannot be filled"):
        store.batches(HOOKS[0], 10**6)


def test_a_truncated_shard_is_named_not_crashed_on(tmp_path):
    made = harvest(model(), data(), HOOKS[:1], tmp_path / "a")
    shard = made.path / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"shard .*shard-00000.safetensors is cut short"):
        ActivationStore.open(made.path)[HOOKS[0]][:10]


class TestRecurrentSubjects:
    """A hook that fires once a step is recorded like one that fires once."""

    HOOKS = ("blocks.0.rnn.hook_update", "blocks.0.rnn.hook_h", "blocks.0.hook_out")

    def subject(self, **kwargs):
        return Recurrent(RecurrentConfig(**({"cell": "gru", "d_model": 8, "d_vocab": 40} | kwargs)))

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_every_row_is_the_step_of_its_position(self, tmp_path, bidirectional):
        subject = self.subject(bidirectional=bidirectional)
        store = harvest(subject, data(), self.HOOKS, tmp_path / "a", batch_size=4, shard_rows=60)
        _, cache = subject.run_with_cache(data().tokens, mask=data().mask, return_type=None)
        for hook in self.HOOKS:
            torch.testing.assert_close(store[hook][:], cache[hook][data().counted])
        states = cache["blocks.0.rnn.hook_h"][data().counted]
        torch.testing.assert_close(store["blocks.0.hook_out"][:][:, :8], states)

    def test_nan_at_a_step_is_named_with_its_position(self, tmp_path):
        subject = self.subject()
        with torch.no_grad():
            subject.embed.W_E[data().tokens[0, 3]] = torch.nan
        first = int((data().tokens == data().tokens[0, 3]).nonzero()[0, 1])
        with pytest.raises(FloatingPointError, match=f"hook_h is NaN.* in document doc 0 at position {first}"):
            harvest(subject, data(), ["blocks.0.rnn.hook_h"], tmp_path / "a")

    def test_vectors_are_recorded_from_the_first_step(self, tmp_path):
        subject = self.subject(d_vocab=None, d_in=2, d_out=1)
        inputs = torch.randn(6, 5, 2)
        labels = pa.table({"x": pa.array(inputs[..., 0].flatten().numpy())})
        store = harvest(subject, Dataset(inputs, labels=labels), ["blocks.0.rnn.hook_h"], tmp_path / "a")
        _, cache = subject.run_with_cache(inputs)
        torch.testing.assert_close(store["blocks.0.rnn.hook_h"][:], cache["blocks.0.rnn.hook_h"].flatten(0, 1))
        rows = store.rows.to_table()
        assert rows["pos"].to_pylist() == [0, 1, 2, 3, 4] * 6
        assert rows["x"].to_numpy() == pytest.approx(inputs[..., 0].flatten().numpy())


def test_a_pattern_has_a_row_for_each_query(tmp_path):
    hook = "blocks.0.attn.hook_pattern"
    store = harvest(model(), data(), [hook], tmp_path / "a", batch_size=4, shard_rows=60)
    _, cache = model().run_with_cache(data().tokens)
    expected = cache[hook].permute(0, 2, 1, 3)[data().counted]
    assert store.shape(hook) == (2, 12)
    torch.testing.assert_close(store[hook][:], expected.flatten(1))


def test_a_perceptron_over_tokens_has_a_row_for_each_sequence(tmp_path):
    task = ModularAddition(p=7)
    dataset = task.dataset()
    subject = MLP(MLPConfig(d_mlp=8, d_model=4, **task.shape))
    store = harvest(subject, dataset, ["blocks.0.mlp.hook_post"], tmp_path / "a", batch_size=9, shard_rows=20)
    _, cache = subject.run_with_cache(dataset.tokens)
    torch.testing.assert_close(store["blocks.0.mlp.hook_post"][:], cache["blocks.0.mlp.hook_post"][:, 0])
    rows = store.rows.to_table().to_pydict()
    assert rows["c"] == [(a + b) % 7 for a, b in zip(rows["a"], rows["b"], strict=True)]
