"""`workbench patch --method rotation`: planted directions are found from the command line, beside their controls."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from models import Dataset, Recurrent, RecurrentConfig, TrainConfig, train
from models.artifacts import ArtifactError
from models.tasks import FlipFlop
from models.tensor_files import save_tensors
from workbench.cli import main as cli
from workbench.cli import offered
from workbench.experiments import example_prompts, patching, read_patching, read_rotations, rotation
from workbench.experiments.rotation_results import COLUMNS, VARIANTS
from workbench.interventions import interchange
from workbench.interventions.interchange import interchange_scores
from workbench.interventions.rotation import LEARNED, PRINCIPAL, UNTRAINED
from workbench.runs import Run

D, N_STEPS, SMALL = 10, 4, 0.01
STATE = "blocks.0.rnn.hook_h"
ROTATION = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(3))).Q
SIGNS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])  # of the two variables, in each class


def planted():
    """Keeps what its first step adds along rotated axes, so small that tanh is linear; says the first two's signs."""
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=D, d_in=3, d_out=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        weights = {name: torch.zeros_like(weight) for name, weight in model.blocks[0].rnn.state_dict().items()}
        for name, weight in weights.items():
            if weight.shape == (D, D):
                weights[name] = torch.eye(D)
            elif weight.ndim == 2:
                weights[name] = SMALL * (ROTATION[:3].T if weight.shape == (D, 3) else ROTATION[:3])
        model.blocks[0].rnn.load_state_dict(weights)
        model.unembed.W_U.copy_(2 / SMALL * ROTATION[:2].T @ SIGNS.T)
    return model


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    """The planted subject, with what it was before its training; the third input varies most, and says nothing."""
    path = tmp_path_factory.mktemp("runs") / "planted"
    values = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    values = (values + 0.3 * values.sign()) * torch.tensor([1.0, 1.0, 3.0])
    targets = torch.full((120, N_STEPS), -100)
    targets[:, -1] = (values[:, None, :2].sign() == SIGNS).all(-1).int().argmax(1)
    data = Dataset(torch.nn.functional.pad(values[:, None], (0, 0, 0, N_STEPS - 1)), targets=targets)
    data.doc_table = data.doc_table.set_column(1, "split", [["test"] * 100 + ["train"] * 20])
    torch.manual_seed(0)
    untrained = Recurrent(RecurrentConfig(cell="rnn", d_model=D, d_in=3, d_out=4))
    train(untrained, data, TrainConfig(n_steps=1, batch_size=8), run=path)
    save_tensors(planted().state_dict(), path / "model/weights.safetensors")
    return path


def run_verb(path, *options, capsys):
    given = ["patch", "--run", str(path), "--json", "--method", "rotation", "--examples", "--n", "80", *options]
    assert cli.main(given) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("at", ["last", "differ"])
def test_the_planted_plane_is_found_where_it_is_held(run_path, at, capsys):
    told = run_verb(run_path, "--at", at, "--directions", "2", "--steps", "150", "--name", at, capsys=capsys)
    found = read_rotations(told["path"])
    assert found.place == at
    subspace = found.subspaces[STATE, 2]
    assert np.degrees(subspace_angles(subspace.write.T.numpy(), ROTATION[:2].T.double().numpy()).max()) < 5
    table = found.table.groupby("variant")[["said", "effect"]].mean()
    assert table.loc["learned", "said"] > 0.95
    assert table.loc["everything swapped", "said"] == 1
    assert table.loc["everything swapped", "effect"] == pytest.approx(1, abs=1e-4)
    assert table.loc["nothing swapped", "said"] == 0
    assert table.loc["nothing swapped", "effect"] == pytest.approx(0, abs=1e-4)
    for control in ("principal axes", "random frame", "untrained subject"):
        assert table.loc[control, "said"] < 0.7, control


def test_directions_are_kept_and_score_again_as_the_table_says(run_path, capsys):
    options = ("--directions", "1", "2", "1", "--steps", "20", "--controls", "2", "--name", "kept")
    told = run_verb(run_path, *options, capsys=capsys)
    found = read_rotations(told["path"])
    assert list(found.subspaces) == [(STATE, 1), (STATE, 2)]
    assert list(found.table.columns) == list(COLUMNS)
    assert set(found.table["variant"]) == set(VARIANTS)
    assert (found.table["variant"] == "random frame").sum() == 4
    assert found.losses.groupby("k").size().to_dict() == {1: 20, 2: 20}
    run = Run.open(run_path)
    model, prompts = run.model(), example_prompts(run.dataset(), 80, 0)
    held_out = torch.from_numpy(found.pairs["held_out"].to_numpy(copy=True))
    assert (int(held_out.sum()), int((~held_out).sum())) == (told["held_out"], told["fitted"]) == (20, 60)
    assert found.table["pairs"].eq(20).all()
    part = prompts.some(held_out.nonzero()[:, 0])
    targets = torch.full((20, N_STEPS), -100)
    targets[torch.arange(20), part.position] = part.wrong
    again = interchange_scores(
        model, part.clean, part.corrupt, targets, STATE, {"": found.subspaces[STATE, 1]}, at=N_STEPS - 1, n_controls=0
    )
    line = found.table[(found.table["k"] == 1) & (found.table["variant"] == "learned")].iloc[0]
    assert line["said"] == again["value"].iloc[0]
    assert line["loss"] == pytest.approx(again["loss"].iloc[0], abs=1e-5)
    gap = found.pairs[found.pairs["held_out"]][["clean", "corrupt"]].mean()
    assert line["effect"] == pytest.approx((line["value"] - gap["clean"]) / (gap["corrupt"] - gap["clean"]), abs=1e-6)
    assert (found.table["effect_low"].fillna(0) <= found.table["effect_high"].fillna(0)).all()
    assert not any(path.is_dir() for path in Run.open(run_path).find("analysis", "kept").path.iterdir())


def test_a_killed_search_goes_on_from_the_next(run_path, capsys, monkeypatch):
    options = ("--directions", "1", "2", "--steps", "5", "--name", "killed")
    whole = rotation._Looking.found

    def stop(self, hook, k, folder):
        if k == 2:
            raise KeyboardInterrupt
        return whole(self, hook, k, folder)

    with monkeypatch.context() as patched:
        patched.setattr(rotation._Looking, "found", stop)
        given = ["patch", "--run", str(run_path), "--method", "rotation", "--examples", "--n", "80", *options]
        assert cli.main(given) == 130
    searched = []

    def count(self, hook, k, folder):
        searched.append(k)
        return whole(self, hook, k, folder)

    monkeypatch.setattr(rotation._Looking, "found", count)
    capsys.readouterr()
    assert list(read_rotations(run_verb(run_path, *options, capsys=capsys)["path"]).subspaces) == [
        (STATE, 1),
        (STATE, 2),
    ]
    assert searched == [2]


def test_what_was_found_is_told_beside_its_controls(run_path, capsys):
    options = ["--method", "rotation", "--examples", "--n", "80", "--steps", "3", "--name", "told"]
    assert cli.main(["patch", "--run", str(run_path), *options]) == 0
    told = capsys.readouterr().out
    assert "60 pairs of prompts fitted, 20 held out" in told
    for variant in VARIANTS:
        assert variant in told
    again = json.loads(json.dumps(run_verb(run_path, "--steps", "3", "--name", "told", capsys=capsys)))
    assert again["learned"][0]["hook"] == STATE
    assert cli.main(["patch", "--run", str(run_path), *options[:-4], "--steps", "4", "--name", "told"]) == 2
    assert "steps 3, not 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--clean", "a", "--corrupt", "b"], "one pair of prompts cannot be split into fitted and held-out ones"),
        (["--examples", "--n", "1"], "0 of 1 pairs would be held out"),
        (["--examples", "--directions", "11"], "there are not 11 directions"),
        (["--examples", "--directions", "0"], "the number of directions is 0"),
        (["--examples", "--steps", "0"], "the number of steps is 0"),
        (["--examples", "--by", "unit"], "--by is of --method patching or attribution or ablation"),
        (["--examples", "--ablation", "zero"], "--ablation is of --method ablation: this one is rotation"),
        (["--examples", "--set", "a=1.0"], "--set is of --method ablation: this one is rotation"),
        (["--examples", "--hooks", "gone"], "no hook named 'gone'"),
    ],
)
def test_what_is_wrong_is_one_sentence(run_path, options, sentence, capsys):
    assert cli.main(["patch", "--run", str(run_path), "--method", "rotation", "--name", "wrong", *options]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert not (run_path / "analyses/wrong").exists()


@pytest.mark.parametrize(("option", "value"), [("--directions", "2"), ("--at", "differ")])
def test_options_of_a_search_are_of_no_other_method(run_path, option, value, capsys):
    assert cli.main(["patch", "--run", str(run_path), "--examples", option, value]) == 2
    assert f"{option} is of --method rotation: this one is patching" in capsys.readouterr().err


def test_answers_that_are_vectors_are_refused(tmp_path, capsys):
    task = FlipFlop(n_steps=8)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape))
    train(model, task.dataset(20, 10, seed=0), TrainConfig(n_steps=2, batch_size=8), run=tmp_path / "flip", task=task)
    assert cli.main(["patch", "--run", str(tmp_path / "flip"), "--examples", "--method", "rotation"]) == 2
    assert "the answers of these examples are vectors" in capsys.readouterr().err


def test_each_reader_refuses_what_the_other_one_reads(run_path, capsys):
    path = run_verb(run_path, "--steps", "3", "--name", "other", capsys=capsys)["path"]
    with pytest.raises(ArtifactError, match="is no intervention"):
        read_patching(path)
    with pytest.raises(ArtifactError, match="holds no learned directions"):
        read_rotations(run_path / "model")


def test_names_are_those_of_the_library():
    assert (*patching.METHODS, "rotation") == offered.METHODS
    assert offered.SWAPPED_AT == rotation.PLACES
    library = (LEARNED, PRINCIPAL, UNTRAINED, interchange.RANDOM, interchange.NOTHING, interchange.EVERYTHING)
    assert library == VARIANTS
