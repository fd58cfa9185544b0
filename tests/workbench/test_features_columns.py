"""Units, heads and probes are indexed as latents are: what their index holds is what the recording holds."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig
from models.artifacts import ArtifactError
from models.tasks import Copy
from probes import LogisticProbe
from workbench.activations import harvest
from workbench.features import build_index
from workbench.features.columns import (
    HeadNorms,
    ProbeDirection,
    head_columns,
    kind_of,
    probe_columns,
    read_dictionary,
    unit_columns,
)
from workbench.features.columns.thresholds import thresholds_of
from workbench.sae import ablate_latents, splice

POST, Z, RESID = "blocks.0.mlp.hook_post", "blocks.1.attn.hook_z", "blocks.1.hook_resid_post"
N_CTX, D_VOCAB, D_MODEL, N_HEADS = 12, 24, 16, 2


def make_dataset(n_seq: int = 120) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, D_VOCAB, (n_seq, N_CTX), generator=generator)
    tokens[:, 0] = 0
    docs = torch.arange(n_seq) // 4
    names = [f"doc {i}" for i in range(int(docs.max()) + 1)]
    splits = ["test" if i % 4 == 0 else "train" for i in range(len(names))]
    flat = tokens.flatten().numpy()
    labels = pa.table({"is_large": pa.array(flat > 16, mask=flat == 0)})
    return Dataset(
        tokens, torch.ones_like(tokens, dtype=torch.bool), docs, labels, pa.table({"name": names, "split": splits})
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Subject, dataset and a recording of neurons, heads and the stream."""
    cfg = TransformerConfig(
        n_layers=2, d_model=D_MODEL, n_heads=N_HEADS, d_mlp=20, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=0
    )
    model, dataset = Transformer(cfg).eval(), make_dataset()
    store = harvest(model, dataset, [POST, Z, RESID], tmp_path_factory.mktemp("run") / "a", dtype="float32")
    return model, dataset, store


@pytest.fixture(scope="module")
def units(made, tmp_path_factory):
    model, dataset, store = made
    columns = unit_columns(store, POST, share=0.05)
    return columns, build_index(columns, store, model, tmp_path_factory.mktemp("units") / "index", dataset)


def furthest(z: np.ndarray, train: np.ndarray, share: float) -> np.ndarray:
    """Where a column should fire: above the value that its share of the training rows exceed, those equal to it too."""
    n = int(share * len(train))
    bar = np.sort(z[train])[::-1][n]
    exceed, equal = (z[train] > bar + 1e-6).sum(), (np.abs(z[train] - bar) <= 1e-6).sum()
    return z > bar - 1e-6 if exceed < n and exceed + equal <= len(train) / 4 else z > bar + 1e-6


def test_a_unit_fires_on_the_rows_furthest_from_its_mean_and_its_values_are_theirs(made, units):
    """Against the recording, unit by unit, from the rows in their order."""
    _, _, store = made
    index = units[1]
    x, train = store[POST][:].double().numpy(), store.rows_of("train")
    mean, deviation = x[train].mean(0), x[train].std(0)
    d = x.shape[1]
    assert index.n_features == 2 * d
    for column in range(2 * d):
        unit, sign = column % d, 1 if column < d else -1
        z = sign * (x[:, unit] - mean[unit]) / deviation[unit]
        where, values = index.values(column)
        assert np.array_equal(where, np.flatnonzero(furthest(z, train, 0.05)))
        assert values == pytest.approx(z[where], rel=2e-3)
    assert index.table["title"].tolist()[d - 1 : d + 1] == [f"unit {d - 1} high", "unit 0 low"]


def test_a_units_examples_are_its_top_rows_and_its_near_misses_those_just_below(made, units):
    _, _, store = made
    columns, index = units
    z = columns.dictionary.pre_activations(store[POST][:]).numpy()
    seq = store.columns("seq")["seq"].to_numpy()
    for column in (0, 7, 25):
        fires = z[:, column] > float(columns.dictionary.threshold[column])
        best = pd.Series(np.where(fires, z[:, column], -np.inf)).groupby(seq).max().sort_values(ascending=False)
        shown = [e.value for e in index.examples(column)]
        assert shown == pytest.approx(best[np.isfinite(best)].head(20).tolist(), rel=2e-3)
        below = pd.Series(np.where(fires, -np.inf, z[:, column])).groupby(seq).max().sort_values(ascending=False)
        assert [e.value for e in index.examples(column, "near_miss")] == pytest.approx(below.head(8).tolist(), rel=1e-4)


def test_batches_that_naming_leaves_out_whole_change_no_name(made, tmp_path, monkeypatch):
    model, dataset, store = made
    columns, found = unit_columns(store, POST, share=0.05), []
    for rows in (4096, 2 * N_CTX):
        monkeypatch.setattr("workbench.features.building.collect.BATCH_ROWS", rows)
        found.append(build_index(columns, store, model, tmp_path / f"{rows}", dataset, max_fit_rows=200))
    assert found[0].config["results"]["n_fit_rows"] < 200
    pd.testing.assert_frame_equal(found[0].naming, found[1].naming)
    pd.testing.assert_frame_equal(found[0].concepts, found[1].concepts)


def test_units_are_held_against_random_and_principal_directions_and_no_neuron(units):
    columns, index = units
    assert set(index.naming["dictionary"]) == {"trained", "PCA", "random"}
    assert index.table["neuron_f1"].isna().all()
    assert index.table["random_f1"].between(0, 1).all()
    concepts = index.concepts
    assert concepts["neuron_f1"].isna().all()
    assert concepts["gain"].to_numpy() == pytest.approx((concepts["feature_f1"] - concepts["random_f1"]).to_numpy())
    assert kind_of(index.config) == "units"
    assert index.config["about"] == columns.about
    record = index.feature(3)
    assert len(record.neighbours)
    assert len(record.logits_up)


def test_controls_fire_as_often_as_the_columns_do(made, units):
    _, _, store = made
    rows = store.read(POST, store.rows_of("train"))
    for control in units[0].controls.values():
        share = (control.encode(rows) > 0).float().mean(0)
        assert share.max() < 0.08  # rows that begin alike are alike, and fire together
        assert share.mean() == pytest.approx(0.05, abs=0.005)


def test_what_fires_and_what_does_not_make_up_the_row(made, units):
    """A dictionary of the axes rebuilds a unit that fires, and gives its mean where it does not."""
    _, _, store = made
    x = store[POST][:]
    dictionary = units[0].dictionary
    f, rebuilt = dictionary.encode(x), dictionary(x)
    d = x.shape[1]
    fires = (f[:, :d] + f[:, d:]) > 0
    torch.testing.assert_close(rebuilt[fires], x[fires], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rebuilt[~fires], dictionary.b_dec.expand_as(x)[~fires], atol=1e-5, rtol=1e-4)


def test_rows_of_one_value_fire_together_unless_they_are_too_many():
    """A gate that saturates on a tenth of the rows fires on all of these; one that does on half of them, on none."""
    z = torch.linspace(0.1, 1, 100)[:, None].repeat(1, 3)
    z[90:, 1], z[50:, 2] = 2.0, 2.0
    bar = thresholds_of(z, torch.full((3,), 0.05))
    assert (z > bar).sum(0).tolist() == [5, 10, 0]
    assert thresholds_of(-z, torch.full((3,), 0.05)).tolist() == [0, 0, 0]


def test_a_head_fires_by_how_much_it_writes(made, tmp_path):
    """Against the subject itself: z of a run with the cache, through W_O, head by head."""
    model, dataset, store = made
    index = build_index(head_columns(store, Z, model, share=0.1), store, model, tmp_path / "index", dataset)
    _, cache = model.run_with_cache(dataset.tokens)
    written = (
        torch.einsum("bphd,hdm->bphm", cache[Z], model.blocks[1].attn.W_O).norm(dim=-1).detach()[:, 1:].flatten(0, 1)
    )
    train = store.rows_of("train")
    assert index.n_features == N_HEADS
    for head in range(N_HEADS):
        where, values = index.values(head)
        bar = float(written[train, head].sort(descending=True).values[int(0.1 * len(train))])
        # Rows that begin alike differ by rounding alone.
        fires = np.isin(np.arange(len(store)), where)
        assert fires[written[:, head].numpy() > bar + 1e-4].all()
        assert not fires[written[:, head].numpy() < bar - 1e-4].any()
        assert fires[train].mean() == pytest.approx(0.1, abs=0.02)
        assert values == pytest.approx(written[where, head].tolist(), rel=2e-3)
    record = index.feature(1)
    assert record.neighbours.empty
    assert record.logits_up is None
    assert record.coactive.columns.tolist() == ["feature", "jaccard", "correlation", "name"]
    assert set(index.naming["dictionary"]) == {"trained", "PCA", "random", "neurons"}
    assert index.table["title"].tolist() == ["head 0", "head 1"]


def test_a_probe_fires_where_it_says_yes(made, tmp_path):
    model, dataset, store = made
    train = store.rows_of("train")
    y = store.columns("is_large")["is_large"].to_numpy().astype(bool)
    probe = LogisticProbe().fit(store.read(RESID, train), y[train].astype(int))
    read = torch.as_tensor(np.asarray(probe.coef_)).reshape(-1)
    one = ProbeDirection("is_large", read, float(np.asarray(probe.intercept_).item()), read / read.norm() ** 2)
    columns = probe_columns(store, RESID, [one])
    index = build_index(columns, store, model, tmp_path / "index", dataset)
    said = np.asarray(probe.decision_function(store[RESID][:])).reshape(-1)
    where, values = index.values(0)
    assert np.array_equal(where, np.flatnonzero(said > 0))
    assert values == pytest.approx(said[where], rel=2e-3, abs=1e-5)
    assert index.table["title"].tolist() == ["is_large"]
    random = columns.controls["random"]
    rows = store.read(RESID, train)
    fires = (columns.dictionary.encode(rows) > 0).float().mean()
    assert (random.encode(rows) > 0).float().mean() == pytest.approx(min(float(fires), 0.5), abs=0.05)


@pytest.mark.parametrize("kind", ["units", "heads", "probes"])
def test_the_index_itself_holds_what_reads_a_prompt(made, tmp_path, kind):
    model, dataset, store = made
    one = ProbeDirection("first", torch.eye(D_MODEL)[0], -0.1, torch.eye(D_MODEL)[0])
    columns = {
        "units": lambda: unit_columns(store, POST),
        "heads": lambda: head_columns(store, Z, model),
        "probes": lambda: probe_columns(store, RESID, [one]),
    }[kind]()
    index = build_index(columns, store, model, tmp_path / "index", dataset)
    again = read_dictionary(index.path)
    rows = store[columns.dictionary.cfg.hook_name][:64]
    assert torch.equal(again.encode(rows), columns.dictionary.encode(rows))
    assert again.cfg == columns.dictionary.cfg
    (index.path / "columns.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing or damaged"):
        read_dictionary(index.path)


def test_gates_of_a_recurrent_subject_are_units_of_another_hook(tmp_path):
    """Step hooks too: the values are those of the run, also where sequences are of vectors and have no tokens."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 10, 2, generator=generator)
    up = pa.array((inputs[..., 0] > 0.5).flatten().numpy())
    split = ["test" if i % 4 == 0 else "train" for i in range(60)]
    dataset = Dataset(inputs, labels=pa.table({"up": up}), doc_table=pa.table({"name": split, "split": split}))
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, d_in=2, d_out=2))
    hook = "blocks.0.rnn.hook_update"
    store = harvest(model, dataset, [hook], tmp_path / "a", dtype="float32")
    columns = unit_columns(store, hook)
    index = build_index(columns, store, model, tmp_path / "f", dataset)
    _, cache = model.run_with_cache(**dataset.batch(slice(None)))
    expected = columns.dictionary.encode(cache[hook].flatten(0, 1)).detach().numpy()
    for column in range(16):
        where, values = index.values(column)
        assert np.array_equal(where, np.flatnonzero(expected[:, column]))
        assert values == pytest.approx(expected[where, column], rel=2e-3)
    assert index.feature(0).logits_up is None  # a gate has no direct path to what is read out


def test_an_encoders_units_are_indexed_on_its_source(tmp_path):
    task = Copy()
    dataset = task.dataset(60, 30)
    cfg = Seq2SeqConfig(
        cell="gru", d_model=8, d_vocab=task.shape["d_vocab"], d_vocab_source=task.shape["d_vocab_source"]
    )
    model = Seq2Seq(cfg)
    hooks = ["decoder_blocks.0.rnn.hook_h", "encoder_blocks.0.rnn.hook_h"]
    store = harvest(model, dataset, hooks, tmp_path / "a")
    index = build_index(unit_columns(store, hooks[1]), store, model, tmp_path / "f", dataset)
    assert np.array_equal(index.rows["token"], dataset.source[dataset.source_mask].numpy())


def test_a_unit_taken_out_holds_its_mean_and_all_else_of_the_row_stays(made, units):
    """Ablation works as for latents, in the subject itself, with the error kept."""
    model, dataset, store = made
    dictionary, x = units[0].dictionary, store[POST][:]
    codes = dictionary.encode(x)
    column = int(codes.sum(0).argmax())
    unit, fires = column % x.shape[1], codes[:, column] > 0
    spliced = splice(model, dictionary, dataset, edits=ablate_latents(column), error_term=True)
    seen: list[torch.Tensor] = []
    model.run_with_hooks(
        dataset.tokens, fwd_hooks=[*spliced.hooks, (POST, lambda value, hook: seen.append(value.detach().clone()))]
    )
    expected = x.clone()
    expected[fires, unit] = dictionary.b_dec[unit]
    torch.testing.assert_close(seen[0][:, 1:].flatten(0, 1), expected, atol=1e-5, rtol=1e-4)


def test_columns_that_cannot_be_are_refused_in_a_sentence(made, tmp_path):
    model, _, store = made
    with pytest.raises(ValueError, match="no recording of 'blocks.1.mlp.hook_post'"):
        unit_columns(store, "blocks.1.mlp.hook_post")
    with pytest.raises(ValueError, match="choose a share between 0 and 0.5"):
        unit_columns(store, POST, share=0.5)
    with pytest.raises(ValueError, match="heads write at blocks.0.attn.hook_z, blocks.1.attn.hook_z"):
        head_columns(store, POST, model)
    with pytest.raises(ValueError, match="no probe directions"):
        probe_columns(store, RESID, [])
    with pytest.raises(ValueError, match="reads rows of 3 numbers"):
        probe_columns(store, RESID, [ProbeDirection("x", torch.ones(3), 0.0, torch.ones(3))])
    assert isinstance(head_columns(store, Z, model).dictionary, HeadNorms)
