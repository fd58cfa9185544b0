"""`workbench probe` and the sweep behind it: every hook, label and estimator beside its controls."""

import argparse
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from models import Recurrent, RecurrentConfig, SuperpositionModel, TrainConfig, Transformer, TransformerConfig, train
from models.tasks import Dyck
from models.toy import SuperpositionModelConfig
from probes import LogisticProbe, MassMeanProbe
from workbench.activations import ActivationStore
from workbench.cli import main as cli
from workbench.cli import probe as verb
from workbench.cli.harvest import make_recording
from workbench.probing import layer_hooks, probe_labels, probe_sweep
from workbench.probing import sweep as room
from workbench.probing.estimators import estimator
from workbench.runs import Run

HOOKS = ["blocks.0.rnn.hook_h", "hook_embed"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A recurrent network on brackets, trained for a moment, and what it holds."""
    path = tmp_path_factory.mktemp("runs") / "brackets"
    task = Dyck()
    dataset = task.dataset(n_train=200, n_test=60, seed=0)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=16, **task.shape))
    train(model, dataset, TrainConfig(n_steps=3, batch_size=16), run=path, task=task)
    make_recording(Run.open(path), HOOKS, "all", n_tokens=3000, device="cpu")
    return path


@pytest.fixture(scope="module")
def store(recorded):
    return ActivationStore.open(recorded / "activations/all")


def test_labels_become_classes(store):
    rows = np.arange(len(store))
    found = probe_labels(store, rows)
    assert len(found) > 1
    for name, values in found.items():
        assert 2 <= len(np.unique(values)) <= 12, name
        assert np.unique(values, return_counts=True)[1].min() >= 50 or "other" in values
    assert set(probe_labels(store, rows, list(found)[:1])) == set(list(found)[:1])
    with pytest.raises(ValueError, match="no label 'mood': there are"):
        probe_labels(store, rows, ["mood"])


def test_documents_are_drawn_whole_and_held_out_whole(store):
    rows, parts = room.choose_rows(store, None, 1000, 0)
    doc = store.columns("doc")["doc"].to_numpy()
    assert len(rows) <= 1000
    assert set(np.flatnonzero(np.isin(doc, doc[rows]))) == set(rows)
    assert not set(doc[rows[parts.fit]]) & set(doc[rows[parts.held_out]])
    few, parts = room.choose_rows(store, None, 1, 0)
    assert len(set(doc[few[parts.held_out]])) == 2
    assert len(set(doc[few[parts.fit]])) == 1
    split = np.asarray(store.columns("split")["split"].combine_chunks().cast("string"))
    assert set(split[few[parts.held_out]]) == {"test"}
    alone, parts = room.choose_rows(store, "split == 'train'", 500, 0)
    assert len(set(doc[alone[parts.held_out]])) > 1


def test_every_hook_is_probed_for_every_label_by_every_estimator(store, tmp_path):
    probes = {"logistic": LogisticProbe(), "means": MassMeanProbe()}
    found = probe_sweep(store, HOOKS, None, probes, max_rows=1500, parts=tmp_path)
    labels = found["label"].unique()
    assert len(found) == len(HOOKS) * len(probes) * len(labels) * 6
    assert found.groupby(["hook", "probe"]).ngroups == 4
    state = found[(found["hook"] == HOOKS[0]) & (found["probe"] == "logistic") & (found["variant"] == "probe")]
    assert state["accuracy"].max() > 0.8
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 2  # a hook is read once, for all estimators
    again = probe_sweep(store, HOOKS, None, probes, max_rows=1500, parts=tmp_path)
    pd.testing.assert_frame_equal(found, again)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    other = probe_sweep(store, HOOKS, None, probes, max_rows=1500, seed=1, parts=tmp_path)
    assert not other["accuracy"].equals(found["accuracy"])  # what other settings left is not taken for these


def test_ranges_of_positions_are_probed_apart(store):
    """A label that later positions alone can hold is not to be had at the first."""
    options = {"max_rows": 3000, "code_length": False}
    found = probe_sweep(store, HOOKS[:1], positions=[(1, 6), (6, 7)], **options)
    assert list(found["positions"].unique()) == ["1–5", "6"]
    pos = store.columns("pos")["pos"].to_numpy()
    chosen, parts = room.choose_rows(store, None, 3000, 0)
    judged = found.dropna(subset="held_out_rows").groupby("positions")["held_out_rows"].unique()
    assert judged["6"].tolist() == [np.sum(pos[chosen[parts.held_out]] == 6)]
    assert judged["1–5"].tolist() == [np.isin(pos[chosen[parts.held_out]], range(1, 6)).sum()]
    with pytest.raises(ValueError, match="no rows are left at positions 900 to 901"):
        probe_sweep(store, HOOKS[:1], positions=[(900, 902)], **options)


def test_the_layers_of_a_subject_in_the_order_they_come_in():
    blocks = Transformer(TransformerConfig(n_layers=2, d_model=8, n_heads=1, d_mlp=8, n_ctx=4, d_vocab=8))
    ends = ["hook_resid_mid", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]
    expected = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.{end}" for layer in (0, 1) for end in ends)]
    assert layer_hooks(blocks) == expected
    layers = Recurrent(RecurrentConfig(cell="lstm", d_model=8, n_layers=2, d_vocab=8))
    assert layer_hooks(layers) == [f"blocks.{layer}.rnn.hook_{state}" for layer in (0, 1) for state in "ch"]
    with pytest.raises(ValueError, match="has no residual stream, MLP or recurrent state"):
        layer_hooks(SuperpositionModel(SuperpositionModelConfig(d_in=4, d_model=2)))


def type_in(*words, capsys):
    code = cli.main(["probe", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_verb_publishes_one_table_with_the_untrained_subject_beside(recorded, tmp_path, capsys):
    run = shutil.copytree(recorded, tmp_path / "run")
    code, out, err = type_in("--run", run, "--rows", "1500", "--no-code-length", capsys=capsys)
    assert code == 0, err
    assert "balanced accuracy" in out
    table = pd.read_parquet(run / "probes/all/result.parquet")
    untrained = table[table["variant"] == "random subject"]
    assert untrained.loc[~untrained["note"].str.startswith("no probe"), "accuracy"].notna().all()
    assert {path.name for path in (run / "probes/all").iterdir()} == {"manifest.json", "result.parquet"}
    assert Run.open(run).unfinished() == []
    code, out, _ = type_in("--run", run, "--rows", "1500", "--no-code-length", "--json", capsys=capsys)
    assert (code, json.loads(out)["lines"]) == (0, len(table))
    code, _, err = type_in("--run", run, "--rows", "900", capsys=capsys)
    assert code == 2
    assert "was made with" in err


def test_a_killed_sweep_goes_on_where_it_was(recorded, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(recorded, tmp_path / "run")
    probed, report = [], room.probe_report

    def dies_second(*args, **more):
        probed.append(1)
        if len(probed) == 2:
            raise KeyboardInterrupt
        return report(*args, **more)

    monkeypatch.setattr(room, "probe_report", dies_second)
    words = ["--run", run, "--rows", "1200", "--no-code-length"]
    assert type_in(*words, capsys=capsys)[0] == 130
    assert type_in(*words, capsys=capsys)[0] == 0
    assert len(probed) == 3  # the first hook is not probed again
    assert len(pd.read_parquet(run / "probes/all/result.parquet")["hook"].unique()) == 2
    assert {path.name for path in (run / "probes/all").iterdir()} == {"manifest.json", "result.parquet"}


BAD = {
    "an unknown hook": (["--hooks", "hook_nothing"], "hook_nothing"),
    "an unknown label": (["--labels", "mood"], "no label 'mood'"),
    "no rows": (["--rows", "0"], "the number of rows is 0"),
    "a query that cannot be read": (["--where", "depth >"], "depth"),
    "an unknown recording": (["--activations", "none"], "no activations 'none'"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_sentence(recorded, case, capsys):
    words, message = BAD[case]
    code, _, err = type_in("--run", recorded, "--name", "bad", *words, capsys=capsys)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (recorded / "probes/bad").exists()


@pytest.mark.parametrize("text", ["9-3", "a", "1-", "-3"])
def test_positions_that_are_no_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no range of positions: 1-15 is one"):
        verb._positions(text)
    assert verb._positions("5") == (5, 6)
    assert verb._positions("1-15") == (1, 16)


def test_the_help_names_every_estimator():
    assert all(hasattr(estimator(name), "fit") for name in verb.PROBES)
