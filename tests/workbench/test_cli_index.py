"""`workbench index`: of units, heads and probes beside dictionaries."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from models import TrainConfig, Transformer, TransformerConfig, train
from models.dataset import Dataset
from workbench.activations import ActivationStore, harvest
from workbench.cli import main as cli
from workbench.cli.index import AskedColumns, make_column_index, naming_table
from workbench.cli.probe import make_probes
from workbench.features import FeatureIndex, dictionary_id
from workbench.interventions import Subspace
from workbench.probing import best_beyond_word, read_results
from workbench.probing.estimators import estimator
from workbench.probing.table_directions import table_directions
from workbench.probing.table_probes import hook_of, linear_lines, refit
from workbench.runs import Run

HOOKS = ["blocks.0.mlp.hook_post", "blocks.0.hook_resid_post", "blocks.1.attn.hook_z"]


def corpus() -> Dataset:
    """Random tokens, told apart by whether they are large, and by which third of the vocabulary they are of."""
    tokens = torch.randint(1, 30, (60, 12), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    flat = tokens.flatten().numpy()
    labels = pa.table(
        {
            "is_large": pa.array(flat > 15, mask=flat == 0),
            "third": pa.array([None if t == 0 else "abc"[t // 10] for t in flat]).dictionary_encode(),
        }
    )
    dataset = Dataset(tokens, labels=labels)
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [["test"] * 15 + ["train"] * 45])
    return dataset


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A transformer with a recording of three hooks, and probes of two of them."""
    path, dataset = tmp_path_factory.mktemp("runs") / "source", corpus()
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=24, n_ctx=12, d_vocab=30)
    train(Transformer(cfg), dataset, TrainConfig(n_steps=10, batch_size=4, warmup_steps=2), run=path)
    run = Run.open(path)
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    harvest(run.model(), dataset, HOOKS, run.path_of("activations", "all"), inputs=inputs, dtype="float32")
    make_probes(run.refresh(), name="two", hooks=HOOKS[:2], code_length=False)
    return path


def index_verb(path, *options, capsys):
    assert cli.main(["index", "--run", str(path), "--json", *options]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "kind", "name", "n"),
    [
        (["--units", HOOKS[0]], "units", "blocks.0.mlp.post-units", 48),
        (["--heads", HOOKS[2]], "heads", "blocks.1.attn.z-heads", 2),
        (["--probes", "two", "--hook", HOOKS[1]], "probes", "two-blocks.0.resid_post-probes", 4),
    ],
)
def test_each_kind_is_an_artifact_of_its_own_and_is_made_once(source, capsys, options, kind, name, n):
    told = index_verb(source, *options, capsys=capsys)
    made = Run.open(source).find("features", name)
    index = FeatureIndex.open(made.path)
    assert told["id"] == made.id == index.id
    assert index.config["columns"] == kind
    assert index.n_features == n
    assert index.config["about"].endswith(".")
    assert not made.stale
    assert index_verb(source, *options, capsys=capsys)["id"] == made.id
    subject = Run.open(source).find("probes" if kind == "probes" else "model").id
    assert dictionary_id(index.manifest) == f"{kind} of {index.hook_name} of {subject}"
    assert kind in naming_table(index.naming, kind)


@pytest.mark.parametrize("name", ["logistic", "lda"])
def test_probes_fitted_again_together_say_what_each_says_fitted_by_itself(source, name):
    run = Run.open(source)
    store, config = ActivationStore.open(run.find("activations").path), run.find("probes", "two").manifest.config
    refitted = refit(store, config, name, HOOKS[1], ["is_large", "third"])
    together = refitted.fitted.probabilities(refitted.rows)
    for label, y in refitted.y.items():
        alone = estimator(name).fit(refitted.rows, y).predict_proba(refitted.rows)
        assert together[label] == pytest.approx(np.asarray(alone), abs=2e-3)
        told = refitted.read(refitted.rows[0])
        assert told[told["label"] == label]["probability"].tolist() == pytest.approx(together[label][0], abs=1e-6)


def test_a_probes_column_fires_where_the_probe_fitted_again_says_so(source):
    run = Run.open(source)
    made = make_column_index(run, AskedColumns(probes="two", hook=HOOKS[1]), "again")
    index = FeatureIndex.open(made.path)
    artifact = run.find("probes", "two")
    store = ActivationStore.open(run.find("activations").path)
    refitted = refit(store, artifact.manifest.config, "logistic", HOOKS[1], ["is_large", "third"])
    alone = {label: estimator("logistic").fit(refitted.rows, y) for label, y in refitted.y.items()}
    assert index.table["title"].tolist() == ["is_large", "third=a", "third=b", "third=c"]
    rows = store[HOOKS[1]][:]
    for column, (label, target) in enumerate([("is_large", 0), ("third", 0), ("third", 1), ("third", 2)]):
        said = np.asarray(alone[label].decision_function(rows)).reshape(len(rows), -1)[:, target]
        where, values = index.values(column)
        sure = np.abs(said) > 1e-4
        assert np.array_equal(where[sure[where]], np.flatnonzero((said > 0) & sure))
        assert values == pytest.approx(said[where], rel=2e-3, abs=1e-3)


def test_a_probes_direction_is_read_as_its_probe_and_written_along_its_pattern(source):
    run = Run.open(source)
    artifact = run.find("probes", "two")
    store = ActivationStore.open(run.find("activations").path)
    table, config = read_results(artifact.path), artifact.manifest.config
    first = table_directions(table, config, store, HOOKS[1])[0]
    refitted = refit(store, config, "logistic", HOOKS[1], ["is_large"])
    alone = estimator("logistic").fit(refitted.rows, refitted.y["is_large"])
    subspace = Subspace.of_probe(alone).along_pattern(refitted.rows)
    torch.testing.assert_close(first.read, subspace.read[0], rtol=2e-3, atol=1e-3)
    torch.testing.assert_close(first.write, subspace.write[0], rtol=2e-3, atol=1e-3)
    assert float(first.read @ first.write) == pytest.approx(1)


def test_where_no_hook_is_named_it_is_the_one_that_tells_labels_best_beyond_the_word(source):
    artifact = Run.open(source).find("probes", "two")
    lines = linear_lines(read_results(artifact.path), artifact.manifest.config)
    mean = {hook: best_beyond_word(lines[lines["hook"] == hook])["beyond"].mean() for hook in HOOKS[:2]}
    assert hook_of(lines) == max(mean, key=mean.__getitem__)
    with pytest.raises(ValueError, match="was not probed"):
        hook_of(lines, "elsewhere")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--units", "blocks.1.mlp.hook_post"], "--hooks blocks.1.mlp.hook_post` makes one"),
        (["--heads", HOOKS[0]], "is not of attention heads that write through a W_O"),
        (["--units", HOOKS[0], "--heads", HOOKS[2]], "--units and --heads are different things"),
        (["--units", HOOKS[0], "--hook", HOOKS[0]], "--hook says where the probes"),
        (["--sae", "x", "--probes", "two"], "--sae and --probes are different things"),
        (["--probes", "two", "--hook", HOOKS[2]], f"{HOOKS[2]} was not probed"),
        (["--probes", "none"], "there are two"),
        (["--probes", "two", "--activations", "all"], "--activations goes with --units or --heads"),
    ],
)
def test_what_cannot_be_indexed_is_refused_in_a_sentence(source, capsys, options, sentence):
    assert cli.main(["index", "--run", str(source), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_the_recording_with_most_rows_is_read_unless_another_is_named(source):
    run = Run.open(source)
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    harvest(run.model(), corpus(), HOOKS[:1], run.path_of("activations", "few"), inputs=inputs, n_rows=300)
    run = run.refresh()
    large = make_column_index(run, AskedColumns(units=HOOKS[0]), "large")
    few = make_column_index(run.refresh(), AskedColumns(units=HOOKS[0], activations="few"), "few")
    assert "activations/all" in large.manifest.inputs
    assert "activations/few" in few.manifest.inputs
