"""`workbench sae`, as a person types it: every architecture and kind, sweeps, and what is refused."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from recorded_runs import MLP, RESID, UP, make_run
from typechecker import unchecked

from models.artifacts import Manifest
from models.metrics_log import read_log
from workbench.activations import ActivationStore, harvest
from workbench.cli import dictionaries, frontier
from workbench.cli import main as cli
from workbench.cli import sae as verb
from workbench.cli.harvest import make_recording
from workbench.runs import Run
from workbench.sae import load_sae
from workbench.sae.registry import ARCHITECTURES

SMALL = ["--width", "24", "--k", "3", "--tokens", "4000", "--batch-size", "200"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a", seed=0)
    make_run(folder / "b", seed=1)
    return folder


def type_in(*words, capsys):
    """What a person sees: exit code, standard output, standard error."""
    code = cli.main(["sae", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def made_by(*words, capsys):
    """The result of a command that goes well."""
    code, out, err = type_in(*words, "--json", capsys=capsys)
    assert code == 0, err
    return json.loads(out)


def test_the_help_names_every_architecture():
    assert set(verb.ARCHITECTURES) == set(ARCHITECTURES)


ALL = ["--sweep", "--architecture", *sorted(ARCHITECTURES), "--width", "32", "--k", "8", "--tokens", "5000"]
ALL += ["--batch-size", "50"]


@pytest.fixture(scope="module")
def swept(runs):
    """One of every architecture, from one command."""
    with unchecked():
        assert cli.main(["sae", "--run", str(runs / "a"), *ALL]) == 0
    return Run.open(runs / "a")


def of_sweep(architecture, seed=""):
    fixed = architecture in ("topk", "batchtopk", "matryoshka_batchtopk")
    return f"blocks.0.mlp.post-{architecture}-32-{'k8' if fixed else 'l0-8'}{seed}"


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_trains_from_one_command(architecture, swept):
    """With a k or without: one that has none is steered to the L0 that k would have been."""
    made = swept.find("sae", of_sweep(architecture))
    assert load_sae(made.path).cfg.architecture == architecture
    trained, *controls = json.loads((made.path / "metrics.json").read_text())
    assert [row["dictionary"] for row in controls] == ["PCA", "random", "neurons"]
    assert 3 < trained["l0"] < 24
    assert trained["explained_variance"] > 0.2


def explained(sae, x, y):
    """The share of the variance of all rows that a dictionary explains."""
    return 1 - (y - sae(x)).square().sum() / (y - y.mean(0)).square().sum()


def test_a_transcoder_reads_one_hook_and_writes_another(runs, capsys):
    found = made_by("--run", runs / "a", "--hook", UP, "--out-hook", RESID, "--skip", *SMALL, capsys=capsys)
    assert found["path"].endswith("saes/blocks.0.resid_post-to-blocks.1.resid_pre-skip-batchtopk-24-k3")
    sae = load_sae(found["path"])
    assert (sae.cfg.kind, sae.cfg.hook_name, sae.cfg.hook_name_out) == ("transcoder", UP, RESID)
    trained, *controls = found["metrics"]
    store = ActivationStore.open(runs / "a/activations/all")
    assert explained(sae, store[UP][:500], store[RESID][:500]) == pytest.approx(trained["explained_variance"], abs=0.1)
    assert trained["explained_variance"] > 0.1
    assert [row["dictionary"] for row in controls] == ["PCA", "random", "neurons", "linear"]


def test_a_crosscoder_reads_several_hooks_through_one_code(runs, capsys):
    found = made_by("--run", runs / "a", "--hooks", UP, RESID, *SMALL, capsys=capsys)
    assert found["path"].endswith("saes/blocks.0.resid_post+blocks.1.resid_pre-batchtopk-24-k3")
    sae = load_sae(found["path"])
    assert sae.cfg.hook_names == (UP, RESID)
    store = ActivationStore.open(runs / "a/activations/all")
    x = torch.stack([store[UP][:500], store[RESID][:500]], dim=1)
    assert explained(sae, x, x) == pytest.approx(found["metrics"][0]["explained_variance"], abs=0.1)
    assert "loss_recovered_zero" in found["metrics"][0]


def test_two_subjects_are_read_through_one_code(runs, capsys):
    found = made_by("--run", runs / "a", "--hook", RESID, "--with", runs / "b", *SMALL, capsys=capsys)
    assert found["path"].endswith("saes/blocks.1.resid_pre-with-b-batchtopk-24-k3")
    manifest = Manifest.read(found["path"])
    assert manifest.inputs["../b/activations/all"] == Manifest.read(runs / "b/activations/all").id
    assert not Run.open(runs / "a").find("sae", found["path"].split("/")[-1]).stale
    sae = load_sae(found["path"])
    stores = [ActivationStore.open(runs / name / "activations/all") for name in "ab"]
    x = torch.stack([store[RESID][:500] for store in stores], dim=1)
    assert explained(sae, x, x) == pytest.approx(found["metrics"][0]["explained_variance"], abs=0.1)
    swapped = x.flip(1)
    assert explained(sae, swapped, swapped) < explained(sae, x, x) - 0.1  # each subject has its own decoder
    by_name = made_by("--run", runs / "a", "--hook", RESID, "--with", runs / "b/activations/all", *SMALL, capsys=capsys)
    assert by_name["id"] == found["id"]


def test_the_replaced_recording_of_another_run_makes_stale(runs, tmp_path, capsys):
    for name in "ab":
        shutil.copytree(runs / name, tmp_path / name)
    found = made_by("--run", tmp_path / "a", "--hook", RESID, "--with", tmp_path / "b", *SMALL, capsys=capsys)
    made = Run.open(tmp_path / "a").find("sae", found["path"].split("/")[-1])
    assert not made.stale
    shutil.rmtree(tmp_path / "b/activations")
    make_recording(Run.open(tmp_path / "b"), [RESID], "all", n_tokens=1000, device="cpu")
    assert Run.open(tmp_path / "a").find("sae", made.name).stale


def asked_for(words, runs, monkeypatch, capsys):
    """What a command would train."""
    found = []
    monkeypatch.setattr(dictionaries, "make", lambda wanted, **_: found.extend(wanted) or pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception):
        type_in("--run", runs / "a", *words, "--replace", capsys=capsys)
    return {w.name.removeprefix("blocks.0.mlp.post-"): w for w in found}


def test_a_sweep_is_one_of_each_combination(runs, monkeypatch, capsys):
    words = ["--sweep", "--architecture", "topk", "jumprelu", "--width", 16, 24, "--k", 2, 4, "--seed", 0, 1]
    found = asked_for(words, runs, monkeypatch, capsys)
    assert sorted(found) == sorted(
        f"{name}{seed}"
        for width in (16, 24)
        for k in (2, 4)
        for name in (f"topk-{width}-k{k}", f"jumprelu-{width}-l0-{k}")
        for seed in ("", "-seed1")
    )
    one = found["jumprelu-24-l0-4-seed1"]
    assert (one.cfg.d_sae, one.cfg.k, one.cfg.seed, one.train_cfg.target_l0) == (24, None, 1, 4.0)


def test_what_nobody_names_has_its_usual_value(runs, monkeypatch, capsys):
    assert list(asked_for([], runs, monkeypatch, capsys)) == ["batchtopk-256-k8"]
    assert list(asked_for(["--sweep"], runs, monkeypatch, capsys)) == [f"batchtopk-256-k{k}" for k in (4, 8, 16, 32)]
    words = ["--sweep", "--architecture", "gated", "topk"]
    found = asked_for([*words, "--sparsity", 1, 2.5, "--k", 3], runs, monkeypatch, capsys)
    assert list(found) == ["gated-256-sparsity1", "gated-256-sparsity2.5", "topk-256-k3"]
    assert found["gated-256-sparsity2.5"].train_cfg.sparsity == 2.5
    assert "gated-256-l0-2.5" in asked_for([*words, "--target-l0", 2.5], runs, monkeypatch, capsys)
    options = ["--lr", 0.01, "--revive", "none", "--product", "bfloat16", "--batch-size", 99]
    (how,) = (w.train_cfg for w in asked_for(options, runs, monkeypatch, capsys).values())
    assert (how.lr, how.revive, how.product, how.batch_size) == (0.01, "none", "bfloat16", 99)


def test_one_of_a_sweep_is_the_one_that_is_trained_by_itself(swept, runs, tmp_path, capsys):
    name = of_sweep("jumprelu")
    alone = tmp_path / "a"
    shutil.copytree(runs / "a", alone)
    shutil.rmtree(alone / "saes")
    words = ["--architecture", "jumprelu", "--width", 32, "--target-l0", 8, "--tokens", 5000, "--batch-size", 50]
    found = made_by("--run", alone, *words, capsys=capsys)
    assert found["path"] == str(alone / "saes" / name)
    assert found["id"] == swept.find("sae", name).id
    assert found["metrics"] == json.loads((swept.path / "saes" / name / "metrics.json").read_text())


def test_a_sweep_ends_in_a_table_and_a_figure(swept):
    analysis = swept.find("analysis", "sweep-blocks.0.mlp.post")
    assert not analysis.stale
    table = pd.read_parquet(analysis.path / "result.parquet")
    trained = table[table["dictionary"] == "trained"]
    assert sorted(trained["architecture"]) == sorted(ARCHITECTURES)
    assert len(table) == len(trained) * 4
    for _, row in trained.iterrows():
        (metrics, *_) = json.loads((swept.path / "saes" / row["name"] / "metrics.json").read_text())
        assert row["l0"] == metrics["l0"]
        assert row["loss_recovered_mean"] == metrics["loss_recovered_mean"]
        no_better = table[(table["l0"] <= row["l0"]) & (table["explained_variance"] > row["explained_variance"])]
        assert row["on_frontier"] == no_better.empty
    assert trained["on_frontier"].sum() < len(trained)
    assert not table.loc[table["dictionary"] != "trained", "on_frontier"].any()
    figure = json.loads((analysis.path / "pareto.vl.json").read_text())
    shown = [row for rows in figure["datasets"].values() for row in rows]
    assert {*ARCHITECTURES, "PCA", "neurons"} <= {row["series"] for row in shown}


def test_another_sweep_does_not_take_the_place_of_one_unasked(swept, runs, capsys):
    status, _, err = type_in("--run", runs / "a", "--sweep", "--k", 1, 2, *SMALL[:2], *SMALL[4:], capsys=capsys)
    assert status == 2
    assert "is the analysis of a sweep of other dictionaries: choose another --name, or add --replace" in err


def test_what_beats_nothing_that_learned_nothing_is_on_no_frontier():
    found = pd.DataFrame(
        [("a", "trained", 10.0, 0.6), ("b", "trained", 20.0, 0.7), ("b", "PCA", 20.0, 0.75), ("a", "PCA", 10.0, 0.5)],
        columns=["name", "dictionary", "l0", "explained_variance"],
    ).assign(reads="here")
    assert frontier._on_frontier(found, "explained_variance").tolist() == [True, False, False, False]


def test_a_sweep_that_is_whole_is_not_made_again(swept, runs, capsys):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("manifest.json")}
    found = made_by("--run", runs / "a", *ALL, capsys=capsys)
    table = pd.read_parquet(f"{found['path']}/result.parquet")
    assert found["on_frontier"] == table.loc[table["on_frontier"], "name"].tolist()
    assert len(found["dictionaries"]) == len(ARCHITECTURES)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("manifest.json")} == before


def test_a_killed_sweep_keeps_what_is_published_and_reads_once(runs, tmp_path, monkeypatch, capsys):
    """Killed while the third of four is measured: two are there, and the others need no training."""
    from workbench import sae as room

    shutil.copytree(runs / "a", tmp_path / "a")
    for part in ("saes", "analyses"):
        shutil.rmtree(tmp_path / "a" / part, ignore_errors=True)
    words = ["--run", tmp_path / "a", "--sweep", "--k", 1, 2, 3, 4, *SMALL[:2], *SMALL[4:]]
    measure, train, measured, read = dictionaries.Measurer.measure, room.train_saes, [], []

    def dies_third(self, reading, sae):
        measured.append(sae.cfg.k)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(self, reading, sae)

    def counting(cfgs, batches, *args, **kwargs):
        class Counted:
            batch_size, resume = batches.batch_size, batches.resume

            def __iter__(self):
                for batch in batches:
                    read.append(len(batch))
                    yield batch

        return train(cfgs, Counted(), *args, **kwargs)

    monkeypatch.setattr(dictionaries.Measurer, "measure", dies_third)
    monkeypatch.setattr(room, "train_saes", counting)
    assert type_in(*words, capsys=capsys)[0] == 130
    assert sum(read) == 4000  # four SAEs, one reading
    published = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a/saes").iterdir()}
    assert sorted(published) == [f"blocks.0.mlp.post-batchtopk-24-k{k}" for k in (1, 2)]

    monkeypatch.setattr(dictionaries.Measurer, "measure", measure)
    assert type_in(*words, capsys=capsys)[0] == 0
    assert sum(read) == 4000
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a/saes").iterdir()}
    assert len(now) == 4
    assert published.items() <= now.items()
    assert Run.open(tmp_path / "a").unfinished() == []


def test_hooks_are_swept_on_one_reading_too(runs, capsys):
    words = ["--sweep", "--hook", MLP, RESID, "--k", 2, "--width", 16, "--tokens", 2000, "--batch-size", 200]
    found = made_by("--run", runs / "a", *words, "--name", "both", capsys=capsys)
    assert [load_sae(d["path"]).cfg.d_in for d in found["dictionaries"]] == [64, 16]
    table = pd.read_parquet(runs / "a/analyses/both/result.parquet")
    assert table["reads"].unique().tolist() == [MLP, RESID]


BAD = {
    "k beyond the width": (["--width", "8", "--k", "9"], "k = 9 latents cannot be active in an SAE that has 8"),
    "an L0 beyond the width": (
        ["--architecture", "jumprelu", "--width", "8", "--target-l0", "9"],
        "9 latents cannot be active in an SAE that has 8",
    ),
    "no width": (["--width", "0"], "d_sae is 0: it must be at least 1"),
    "k beyond the controls": (["--width", "999", "--k", "129"], "so k can be at most that"),
    "too few rows for a batch": (["--batch-size", "5000"], "a batch of 5,000 rows cannot be filled"),
    "an unknown architecture": (["--architecture", "magic"], "no SAE architecture is called 'magic'"),
    "several without a sweep": (["--k", "2", "3"], "--k has 2 values: add --sweep"),
    "a coefficient for topk": (
        ["--architecture", "topk", "--sparsity", "1"],
        "topk has no sparsity coefficient: --k says",
    ),
    "a coefficient and a search": (
        ["--architecture", "gated", "--sparsity", "1", "--target-l0", "3"],
        "leave one of them out",
    ),
    "a k beside what takes its place": (
        ["--architecture", "jumprelu", "--target-l0", "3", "--k", "2"],
        "jumprelu has no k, and --target-l0 says how sparse it shall be: leave --k out",
    ),
    "one hook beside several": (["--hooks", UP, RESID, "--hook", UP], "leave one out"),
    "a skip of no transcoder": (["--skip"], "say with --out-hook what it writes"),
    "a transcoder to itself": (["--out-hook", MLP], "writes another hook than it reads"),
    "a transcoder of two hooks": (["--hook", MLP, RESID, "--out-hook", RESID, "--sweep"], "name one --hook"),
    "a transcoder that is a crosscoder": (["--hooks", MLP, RESID, "--out-hook", RESID], "give one of them"),
    "an unrecorded out-hook": (["--out-hook", "hook_embed"], "no recording of 'hook_embed'"),
    "a crosscoder of one hook": (["--hooks", MLP], "name at least two"),
    "a crosscoder of two widths": (["--hooks", MLP, RESID], "only hooks of one width can be stacked"),
    "a transcoder back in time": (["--hook", RESID, "--out-hook", MLP], f"{MLP} comes before {RESID}"),
    "a crosscoder with itself": (["--with", "a/activations/all"], "itself: name the recording of another subject"),
    "an unknown way to revive": (["--revive", "prayer"], "revive cannot be 'prayer'"),
    "an unknown number format": (["--product", "int4"], "product cannot be 'int4'"),
    "no such device": (["--device", "cuda:77"], "there is no device 'cuda:77'"),
    "other rows": (["--with", "other"], "not recordings of the same rows: their data differ"),
    "another sample": (["--with", "resampled"], "not recordings of the same rows: their sample"),
    "no rows to measure on": (["--activations", "unmeasured"], "has no row of the split 'test'"),
}


@pytest.fixture(scope="module")
def place(runs, tmp_path_factory):
    """Runs whose rows do not fit, and a recording of nothing that was held out."""
    folder = tmp_path_factory.mktemp("unfit")
    shutil.copytree(runs / "a", folder / "a")
    make_run(folder / "other", seed=1, n_seq=180)
    make_run(folder / "resampled", seed=1, seed_of_sample=5)
    run = Run.open(folder / "a")
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    harvest(run.model(), run.dataset().split("train"), [MLP], run.path_of("activations", "unmeasured"), inputs=inputs)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_before_any_work(case, place, monkeypatch, capsys):
    monkeypatch.setattr("workbench.sae.train_saes", lambda *args, **kwargs: pytest.fail("training began"))
    monkeypatch.chdir(place)
    words, sentence = BAD[case]
    before = sorted(place.rglob("*"))
    recording = [] if "--activations" in words else ["--activations", "all"]
    code, out, err = type_in("--run", f".{os.sep}a", *words, *recording, capsys=capsys)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


def test_the_recording_of_another_model_is_refused(runs, tmp_path, capsys):
    shutil.copytree(runs / "a", tmp_path / "a")
    shutil.rmtree(tmp_path / "a/model")
    shutil.copytree(runs / "b/model", tmp_path / "a/model")
    code, _, err = type_in("--run", tmp_path / "a", *SMALL, "--name", "new", capsys=capsys)
    assert code == 2
    assert "is stale, because what it was made from has been replaced" in err
    assert not (tmp_path / "a/saes/new").exists()


def test_the_analysis_of_something_else_is_not_overwritten(runs, tmp_path, capsys):
    from workbench.reproductions.base import publish_table

    publish_table(Run.open(runs / "a"), "mine", pd.DataFrame({"x": [1]}), {})
    code, _, err = type_in("--run", runs / "a", "--sweep", "--name", "mine", *SMALL, capsys=capsys)
    assert code == 2
    assert "is not the analysis of a sweep: choose another --name" in err


def test_a_log_is_opened_for_each_that_is_trained(runs, tmp_path, monkeypatch, capsys):
    """With a stand-in for TensorBoard: every record of every SAE, under its name."""
    scalars = {}

    class SummaryWriter:
        def __init__(self, log_dir, purge_step):
            self.found = scalars.setdefault(log_dir.rsplit("/", 1)[-1], [])

        def add_scalar(self, name, value, step):
            self.found.append((name, value, step))

        def close(self):
            self.found.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    words = ["--sweep", "--name", "logged", "--k", 2, 3, "--width", 20, "--tokens", 4000, "--batch-size", 200]
    found = made_by("--run", runs / "a", *words, "--tensorboard", tmp_path / "logs", capsys=capsys)
    assert sorted(scalars) == [d["path"].rsplit("/", 1)[-1] for d in found["dictionaries"]]
    for dictionary in found["dictionaries"]:
        *logged, last = scalars[dictionary["path"].rsplit("/", 1)[-1]]
        lines = read_log(Path(dictionary["path"]) / "metrics.jsonl")
        assert last == "closed"
        assert [entry for entry in logged if entry[0] == "l0"] == [("l0", line["l0"], line["step"]) for line in lines]


@pytest.mark.parametrize(("option", "module"), [("--tensorboard", "torch.utils.tensorboard"), ("--wandb", "wandb")])
def test_a_log_whose_library_is_missing_is_refused_before_any_work(option, module, runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    before = sorted(runs.rglob("*"))
    code, _, err = type_in("--run", runs / "a", *SMALL, "--name", "logged", option, "logs", capsys=capsys)
    assert code == 2
    assert "is not installed: `pip install" in err
    assert sorted(runs.rglob("*")) == before
