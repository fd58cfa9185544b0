"""`workbench dynamics`: one analysis, whole, the untrained subject beside it; what is wrong in one sentence."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, TrainConfig, Transformer, TransformerConfig, train
from models.artifacts import ArtifactError
from models.tasks import Dyck, FlipFlop, HeadDirection
from workbench.cli import dynamics
from workbench.cli import main as cli
from workbench.dynamics import Trajectories, analysis, find_fixed_points, read_dynamics, run_states
from workbench.runs import Run

QUICK = ["--starts", "40", "--tokens", "600"]


def trained(path, task, model):
    data = task.dataset(n_train=60, n_test=30, seed=0)
    train(model, data, TrainConfig(n_steps=2, batch_size=16), run=path, task=task)
    return path


@pytest.fixture(scope="module")
def flip_flop(tmp_path_factory):
    task = FlipFlop(n_steps=12)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=20, **task.shape))
    return trained(tmp_path_factory.mktemp("runs") / "flip-flop", task, model)


@pytest.fixture(scope="module")
def brackets(tmp_path_factory):
    task = Dyck(max_length=16)
    model = Recurrent(RecurrentConfig(cell="lstm", d_model=6, n_layers=2, **task.shape))
    return trained(tmp_path_factory.mktemp("runs") / "brackets", task, model)


def run_verb(path, *options, capsys):
    assert cli.main(["dynamics", "--run", str(path), *QUICK, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_analysis_has_every_table(flip_flop, capsys):
    told = run_verb(flip_flop, capsys=capsys)
    found = read_dynamics(told["path"])
    manifest = Run.open(flip_flop).find("analysis", "dynamics").manifest
    assert manifest.config["verb"] == "dynamics"
    assert sum(told["points"].values()) == len(found.points) > 0
    assert len(found.points.starts) == 40
    assert set(found.table["variant"]) == {"trained", "untrained"}
    assert found.untrained is not None
    assert not torch.equal(found.untrained.states, found.points.states)
    drawn = found.portrait[found.portrait["what"] == "trajectory"]
    assert {"pc1", "pc2", "pc3", "memory", "bit_0"} <= set(drawn.columns)
    assert drawn.groupby(["variant", "path"]).size().eq(12).all()
    points = found.portrait[(found.portrait["what"] == "point") & (found.portrait["variant"] == "trained")]
    assert points["kind"].tolist() == found.points.kind
    assert set(found.attractors["test"]) == {"line", "ring"}
    assert set(found.gates["hook"]) == {"blocks.0.rnn.hook_reset", "blocks.0.rnn.hook_update"}
    assert set(found.gates["variant"]) == {"trained", "untrained"}
    chosen = found.units[found.units["chosen"]]
    assert {"bit_0", "bit_1", "bit_2"} <= set(chosen["label"])
    assert chosen["shuffled"].notna().all()
    assert set(found.ablation["variant"]) == {"unit", "random unit"}
    assert np.isfinite(found.ablation["rise_on"]).all()
    assert sum(found.explained["trained"]) == pytest.approx(1)
    cli.main(["dynamics", "--run", str(flip_flop), *QUICK])
    printed = capsys.readouterr().out
    assert "points from 40 starts" in printed
    assert "bit_0" in printed


def test_the_same_call_keeps_what_is_there_and_another_is_refused(flip_flop, capsys, monkeypatch):
    first = run_verb(flip_flop, "--name", "kept", "--no-units", capsys=capsys)
    monkeypatch.setattr(analysis, "find_fixed_points", None)
    assert run_verb(flip_flop, "--name", "kept", "--no-units", capsys=capsys) == first
    found = read_dynamics(first["path"])
    assert found.units is None
    assert found.ablation is None
    assert cli.main(["dynamics", "--run", str(flip_flop), "--name", "kept", "--seed", "1"]) == 2
    assert "choose another --name, or add --replace" in capsys.readouterr().err


def test_a_killed_analysis_goes_on_to_the_same_tables(flip_flop, capsys, monkeypatch):
    whole = read_dynamics(run_verb(flip_flop, "--name", "whole", "--labels", "bit_0", capsys=capsys)["path"])

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "gate_statistics", killed)
        assert cli.main(["dynamics", "--run", str(flip_flop), *QUICK, "--name", "halved", "--labels", "bit_0"]) == 130
    assert Run.open(flip_flop).unfinished() == ["analyses/halved"]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(analysis, "find_fixed_points", killed)  # the points are there already
        halved = read_dynamics(run_verb(flip_flop, "--name", "halved", "--labels", "bit_0", capsys=capsys)["path"])
    for name in ("table", "portrait", "attractors", "gates", "units", "ablation"):
        pd.testing.assert_frame_equal(getattr(halved, name), getattr(whole, name))
    assert torch.equal(halved.points.states, whole.points.states)


def test_tokens_memories_and_layers(brackets, capsys):
    told = run_verb(brackets, "--input", "1", "--labels", "depth", "is_open", capsys=capsys)
    found = read_dynamics(told["path"])
    model = Run.open(brackets).model()
    assert torch.equal(found.points.input, model.embed.W_E[1].detach().double())
    assert found.points.states.shape[1] == 24
    assert list(found.points.parts) == [f"blocks.{layer}.rnn.hook_{name}" for layer in (0, 1) for name in "hc"]
    assert set(found.units["hook"]) == {"blocks.1.rnn.hook_c"}
    assert {"depth", "is_open"} <= set(found.units["label"])
    other = run_verb(brackets, "--hook", "blocks.0.rnn.hook_h", "--name", "lower", "--input", "mean", capsys=capsys)
    assert set(read_dynamics(other["path"]).units["hook"]) == {"blocks.0.rnn.hook_h"}


def test_angles_are_held_against_a_ring_and_other_numbers_against_a_line(tmp_path, capsys):
    task = HeadDirection(n_steps=12)
    path = trained(tmp_path / "compass", task, Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape)))
    tests = read_dynamics(run_verb(path, "--no-units", capsys=capsys)["path"]).attractors
    labels = {name: set(own["label"]) for name, own in tests.groupby("test")}
    assert "heading" in labels["ring"] - labels["line"]
    assert "" in labels["line"] & labels["ring"]
    assert set(tests.loc[tests["label"] == "heading", "variant"]) == {"points", "untrained", "shuffled"}


def test_angles_are_told_in_their_own_period():
    """Of a ring that is the heading, in degrees."""
    degrees = np.random.default_rng(0).uniform(0, 360, 300)
    angle = torch.from_numpy(np.radians(degrees))
    states = torch.stack([angle.cos(), angle.sin()], 1)
    points = find_fixed_points(lambda x: x / x.norm(dim=1, keepdim=True), states)
    paths = Trajectories(states[:, None], torch.ones(300, 1, dtype=torch.bool))
    data = Dataset(tokens=torch.zeros(300, 1, 1), bos=None)
    held = analysis._Reading(data, {"heading": degrees}, {}, np.ones(300, bool), np.arange(300) // 30)
    settings = analysis.DynamicsSettings(None, {}, None, None, {"heading": 360.0}, 0)
    found = analysis._attractors({"trained": points}, {"trained": paths}, held, settings)
    own = found[found["label"] == "heading"].set_index("variant")
    assert own["test"].eq("ring").all()
    assert own.loc["points", "r"] > 0.99
    assert own.loc["shuffled", "r"] < 0.3


def with_labels(path, tokens, labels, n_train=30):
    """A run whose sequences have labels by hand; the last ones are held out."""
    n = len(tokens)
    table = pa.table({"name": [str(i) for i in range(n)], "split": ["train"] * n_train + ["test"] * (n - n_train)})
    data = Dataset(tokens=tokens, bos=None, labels=pa.table(labels), doc_table=table, targets=tokens[..., :1])
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=4, d_in=tokens.shape[2], d_out=1))
    train(model, data, TrainConfig(n_steps=2, batch_size=16), run=path)
    return path


def test_a_class_that_is_never_held_out_and_labels_named_as_columns_are_no_harm(tmp_path, capsys):
    n, time = 60, 10
    tokens = torch.from_numpy(np.random.default_rng(0).standard_normal((n, time, 2))).float()
    kinds = np.where(np.arange(n * time) < 200, "early", np.where(np.arange(n * time) % 2 == 0, "a", "b"))
    leader = np.arange(n * time) % np.where(np.arange(n * time) < 300, 3, 2)  # no 2 is held out
    labels = {
        "mood": kinds,
        "leader": leader,
        "step": np.tile(np.arange(time), n),
        "sunny": tokens[..., 0].ravel().numpy() > 0,
    }
    path = with_labels(tmp_path / "moody", tokens, labels)
    found = read_dynamics(run_verb(path, "--labels", *labels, capsys=capsys)["path"])
    drawn = found.portrait[found.portrait["what"] == "trajectory"]
    assert set(drawn["step"]) == set(range(time))
    assert (drawn["step (label)"] == drawn["step"]).all()
    assert {"mood=a", "sunny", "leader=0", "leader=1"} <= set(found.ablation["label"])
    assert "mood=early" not in set(found.units["label"])
    # What is searched from, and the mean input, are of sequences that were held out.
    test = Run.open(path).dataset().sample(600, test_share=0.5, seed=0).split("test")
    mean = run_verb(path, "--input", "mean", "--name", "mean", "--no-units", capsys=capsys)
    assert torch.allclose(read_dynamics(mean["path"]).points.input, test.tokens.double().mean((0, 1)))
    states = run_states(Run.open(path).model(), test).at_real()
    still = run_verb(path, "--noise", "0", "--name", "still", "--no-units", capsys=capsys)
    starts = read_dynamics(still["path"]).points.starts
    assert (torch.cdist(starts, states).min(1).values < 1e-9).all()


def test_labels_that_cannot_be_judged_are_told_before_the_search(tmp_path, capsys, monkeypatch):
    tokens = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 10, 2))).float()
    path = with_labels(tmp_path / "never", tokens, {"never": np.zeros(400, bool)})
    assert cli.main(["dynamics", "--run", str(path), *QUICK]) == 0
    assert "no label can be judged" in capsys.readouterr().out
    assert read_dynamics(path / "analyses/dynamics").units is None
    monkeypatch.setattr(analysis, "find_fixed_points", None)
    assert cli.main(["dynamics", "--run", str(path), "--name", "named", "--labels", "never"]) == 2
    assert "no label can be judged" in capsys.readouterr().err


def test_scores_are_shown_above_chance_with_their_sign():
    line = {"unit": 0, "chosen": True, "fit": 0.5}
    lines = [
        line | {"label": "falls", "measure": "auroc", "held_out": 0.03, "shuffled": 0.56, "variant": "trained"},
        line | {"label": "falls", "measure": "auroc", "held_out": 0.36, "variant": "untrained"},
        line | {"label": "depth", "measure": "spearman", "held_out": -0.91, "shuffled": 0.12, "variant": "trained"},
        line | {"label": "rises", "measure": "auroc", "held_out": 0.88, "shuffled": 0.55, "variant": "trained"},
    ]
    shown = dynamics.units_table(SimpleNamespace(units=pd.DataFrame(lines)))
    falls, depth, rises = ([part for part in row.split() if part not in "|│"] for row in shown.splitlines()[-3:])
    assert falls == ["falls", "auroc", "0", "−", "0.970", "0.560", "0.640"]
    assert depth[:6] == ["depth", "spearman", "0", "−", "0.910", "0.120"]
    assert rises[:6] == ["rises", "auroc", "0", "+", "0.880", "0.550"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--input", "1,2"], "this subject reads 3 finite numbers a step"),
        (["--input", "loud"], "neither zeros nor mean, nor numbers such as 0,0,1"),
        (["--labels", "mood"], "there is no label 'mood': there are bit_0"),
        (["--hook", "blocks.7.rnn.hook_h"], "no part of this subject's state: there are blocks.0.rnn.hook_h"),
        (["--starts", "0"], "n_starts is 0: it must be at least 1"),
        (["--tolerance", "-1"], "tolerance is -1.0: it must be above 0"),
        (["--noise", "nan"], "noise is nan"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(flip_flop, options, sentence, capsys, as_in_a_script):
    assert cli.main(["dynamics", "--run", str(flip_flop), "--name", "wrong", *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert "analyses/wrong" not in Run.open(flip_flop).unfinished()


def test_a_subject_without_recurrence_is_refused(tmp_path, capsys):
    task = Dyck(n_types=2, max_length=8, objective="next")
    model = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=2, **task.shape))
    path = trained(tmp_path / "transformer", task, model)
    assert cli.main(["dynamics", "--run", str(path)]) == 2
    assert "a Transformer has no map from state to state" in capsys.readouterr().err


def test_another_analysis_is_not_read(tmp_path, flip_flop):
    from workbench.reproductions.base import publish_table

    publish_table(Run.open(flip_flop), "other", pd.DataFrame({"x": [1]}), {})
    with pytest.raises(ArtifactError, match="is no analysis of dynamics"):
        read_dynamics(flip_flop / "analyses/other")
