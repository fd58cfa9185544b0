"""`workbench dynamics`: one analysis, whole, the untrained subject beside it; what is wrong in one sentence."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from models import Recurrent, RecurrentConfig, TrainConfig, Transformer, TransformerConfig, train
from models.artifacts import ArtifactError
from models.tasks import Dyck, FlipFlop
from workbench.cli import main as cli
from workbench.dynamics import analysis, read_dynamics
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
