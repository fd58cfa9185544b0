"""`workbench decode`: one analysis, whole, the untrained subject beside it; bad input in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import Recurrent, RecurrentConfig, TrainConfig, save_model, train
from models.tasks import Navigation
from models.tuned import TunedPopulation, TunedPopulationConfig, population_dataset
from workbench.cli import decode as verb
from workbench.cli import main as cli
from workbench.cli.harvest import make_recording
from workbench.decoding import read_decoding, sweep, write_decoding
from workbench.runs import Run

QUICK = ["--rows", "800", "--shuffles", "1", "--decoders", "optimal_linear"]
HOOK = "blocks.0.rnn.hook_h"


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    """A recurrent network on walks, trained for a moment, and what it holds."""
    path, task = tmp_path_factory.mktemp("runs") / "walker", Navigation(n_steps=20)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape))
    train(model, task.dataset(60, 20, seed=0), TrainConfig(n_steps=2, batch_size=16), run=path, task=task)
    make_recording(Run.open(path), [HOOK], "h", n_tokens=1600, device="cpu")
    return path


@pytest.fixture(scope="module")
def compass(tmp_path_factory):
    """Head-direction cells, who were never trained."""
    path = tmp_path_factory.mktemp("runs") / "compass"
    data = population_dataset(Navigation(n_steps=20).dataset(60, 20, seed=0))
    saved_as = data.save(Run.create(path).path)
    cells = TunedPopulation(TunedPopulationConfig(kind="head_direction", n_neurons=8, dt=0.02))
    save_model(cells, path, inputs={"data": saved_as})
    make_recording(Run.open(path), ["hook_counts"], "spikes", n_tokens=1600, device="cpu")
    return path


def run_verb(path, *options, capsys):
    assert cli.main(["decode", "--run", str(path), *QUICK, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_angles_of_the_task_are_decoded_as_angles_beside_the_untrained_subject(walker, capsys):
    told = run_verb(walker, capsys=capsys)
    found = read_decoding(told["path"])
    assert told["lines"] == len(found.results)
    measure = found.results.drop_duplicates("output").set_index("output")["measure"]
    assert measure.to_dict() == {
        "x": "rmse",
        "y": "rmse",
        "heading": "mean absolute",
        "speed": "rmse",
        "turn": "rmse",
    }
    assert set(found.results["variant"]) == {"decoder", "random subject", "shuffled", "mean"}
    assert set(found.tuning["variables"]) == {"x, y", "heading", "speed", "turn"}
    config = Run.open(walker).find("analysis", "decode").manifest.config
    assert config["verb"] == "decode"
    assert config["dt"] == 1.0
    folder = Run.open(walker).find("analysis", "decode").path
    assert {item.name for item in folder.iterdir()} == {
        "manifest.json",
        "result.parquet",
        "decoded.parquet",
        "tuning.parquet",
        "maps.safetensors",
    }
    cli.main(["decode", "--run", str(walker), *QUICK])
    printed = capsys.readouterr().out
    assert "random subject" in printed
    assert "R² of its map" in printed


def test_cells_that_were_never_trained_are_decoded_in_their_own_time(compass, capsys):
    told = run_verb(compass, "--variables", "heading", "--circular", "heading", capsys=capsys)
    found = read_decoding(told["path"])
    assert set(found.results["variant"]) == {"decoder", "shuffled", "mean"}
    own = found.results[found.results["variant"] == "decoder"].iloc[0]
    assert np.isfinite(own["bound"])
    (curves,) = found.curves.values()
    assert curves.dt == 0.02
    assert curves.period == (2 * np.pi,)


def test_the_same_call_keeps_what_is_there_and_another_is_refused(walker, capsys, monkeypatch):
    about = ["--name", "kept", "--variables", "x", "--no-tuning"]
    first = run_verb(walker, *about, capsys=capsys)
    monkeypatch.setattr(sweep, "decoding_report", None)
    assert run_verb(walker, *about, capsys=capsys) == first
    assert read_decoding(first["path"]).tuning.empty
    assert cli.main(["decode", "--run", str(walker), *QUICK, "--name", "kept", "--variables", "y"]) == 2
    assert "--replace" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--variables", "hedding"], "no label 'hedding'"),
        (["--decoders", "magic"], "no decoder is called 'magic'"),
        (["--hooks", "blocks.9.hook_out"], "has no recording of 'blocks.9.hook_out'"),
        (["--dt", "0"], "dt is 0.0"),
        (["--shuffles", "-1"], "the number of shuffles"),
        (["--where", "speed > 100"], "fewer than three documents"),
        (["--circular", "heading=0"], "the period of heading is 0.0"),
        (["--bin", "30"], "bins of 30 steps do not fit the stretches of 20 steps"),
        (["--variables", "x,y,heading,speed"], "4 variables: a map has one, two or three"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(walker, capsys, monkeypatch, options, what):
    monkeypatch.setattr(sweep, "decoding_report", None)
    monkeypatch.setattr(verb, "record_untrained", None)
    assert cli.main(["decode", "--run", str(walker), *QUICK, "--name", "bad", *options]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert "Traceback" not in said
    assert not (walker / "analyses" / "bad").exists()


def test_a_period_that_is_no_number_is_refused_by_the_parser(walker, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["decode", "--run", str(walker), "--circular", "heading=round"])
    assert left.value.code == 2
    assert "'round' is no period" in capsys.readouterr().err


def test_a_killed_analysis_keeps_its_parts_until_it_is_whole(walker, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(walker, tmp_path / "run")
    reported, report = [], sweep.decoding_report

    def counted(*args, **more):
        reported.append(1)
        return report(*args, **more)

    def dies(folder, found):
        write_decoding(folder, found)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "decoding_report", counted)
    with monkeypatch.context() as late:
        late.setattr("workbench.decoding.write_decoding", dies)
        assert cli.main(["decode", "--run", str(run), *QUICK, "--name", "killed"]) == 130
    once = len(reported)
    assert once
    told = run_verb(run, "--name", "killed", capsys=capsys)
    assert len(reported) == once, "no report is made twice"
    assert not {"parts", "untrained"} & {path.name for path in Path(told["path"]).iterdir()}
