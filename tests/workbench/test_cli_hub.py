"""A hub model through the verbs, as a person types them."""

import json
import re
import shutil

import pytest
import torch
from hub_folders import save_hub_model, write_texts
from typechecker import unchecked

from models.artifacts import Manifest
from workbench.activations import ActivationStore
from workbench.cli import main as cli
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.reading.prompt import read_prompt
from workbench.runs import Run
from workbench.sae import load_sae

HOOKS = ["blocks.0.mlp.hook_post", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("hub_runs")
    save_hub_model(place / "llama", "LlamaForCausalLM")
    write_texts(place / "texts")
    return place


def words(place, **changes):
    given = {"--run": place / "run", "--model": f"hf:{place / 'llama'}", "--corpus": place / "texts"} | changes
    options = [str(word) for pair in given.items() if pair[1] is not None for word in pair]
    return ["harvest", *options, "--hooks", *HOOKS, "--tokens", "3000", "--name", "both"]


@pytest.fixture(scope="module")
def run(place):
    where = ["--run", str(place / "run")]
    made = ["--name", "small", "--hook", HOOKS[0], "--width", "48", "--k", "4", "--tokens", "8192"]
    with unchecked():
        assert cli.main(words(place)) == 0
        assert cli.main(["sae", *where, *made]) == 0
        assert cli.main(["index", *where]) == 0
    return Run.open(place / "run")


def test_the_verbs_make_a_whole_run_that_refers_to_the_model(run, place, capsys):
    assert cli.main(["ls", str(run.path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    kinds = ("dataset", "model", "activations", "sae", "features")
    assert [(a["kind"], a["state"]) for a in found["artifacts"]] == [(kind, "whole") for kind in kinds]
    assert {path.name for path in (run.path / "model").iterdir()} == {"config.json", "manifest.json"}
    assert json.loads((run.path / "model/config.json").read_text())["source"] == str(place / "llama")
    dataset, subject = run.dataset(), run.model()
    assert dataset.bos == subject.bos != 0
    assert subject.tokenizer.to_str() == dataset.tokenizer.to_str()
    assert "char_class" in dataset.labels.column_names


def test_a_typed_text_is_read_and_the_features_have_their_logits(run):
    subject, features = run.model(), FeatureIndex.open(run.path / "features/small")
    reading = read_prompt(subject, load_sae(run.path / "saes/small"), "The cat sat (in the house)")
    assert reading.token_ids[0] == subject.bos
    assert set(reading.patterns) == {0, 1}
    assert all(len(found) for found in reading.features[1:])
    alive = int(features.table.query("firings > 0")["feature"].iloc[0])
    assert len(features.feature(alive).logits_up) > 0
    (example,) = features.with_losses(features.examples(alive)[:1], subject)
    ids = [subject.bos, *features.rows["token"][features.rows["seq"] == example.seq].tolist()]
    losses = subject(torch.tensor([ids]), return_type="loss", loss_per_token=True)[0].detach()
    assert example.losses[example.focus] == pytest.approx(float(losses[example.pos - 1]), rel=1e-3)


def test_what_is_whole_is_not_made_again(run, place):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("manifest.json")}
    assert cli.main(words(place)) == 0
    assert cli.main(words(place, **{"--model": None, "--corpus": None})) == 0
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("manifest.json")} == before


BAD = {
    "no hf:": ({"--model": "gpt2"}, "it must be hf: and a folder or a name, such as hf:./gpt2"),
    "nowhere": ({"--model": "hf:./nowhere"}, "there is no folder ./nowhere"),
    "not in the cache": ({"--model": "hf:nobody/nothing"}, "`hf download nobody/nothing` fetches it"),
    "too long": ({"--n-ctx": 1000}, "n_ctx is 1000: it must be at least 2, and this model can see 24"),
    "no text": ({"--corpus": "nowhere.txt"}, "nowhere.txt"),
    "a corpus alone": ({"--model": None}, "--corpus goes with --model"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(case, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    changes, sentence = BAD[case]
    assert cli.main(words(place, **({"--run": "runs/new"} | changes))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


def test_other_settings_do_not_overwrite_what_is_there(run, place, capsys):
    before = Manifest.read(run.path / "model").id, Manifest.read(run.path / "data").id
    assert cli.main(words(place, **{"--n-ctx": 16})) == 2
    assert "choose another --run, or add --replace" in capsys.readouterr().err
    assert (Manifest.read(run.path / "model").id, Manifest.read(run.path / "data").id) == before


def test_a_trained_subject_is_not_overwritten(place, capsys):
    where = ["--run", str(place / "trained")]
    assert cli.main(["train", *where, "--corpus", str(place / "texts"), "--steps", "1"]) == 0
    before = Manifest.read(place / "trained/model").id
    assert cli.main(words(place, **{"--run": place / "trained"})) == 2
    assert "holds a subject that was trained: choose another --run, or add --replace" in capsys.readouterr().err
    assert Manifest.read(place / "trained/model").id == before


def test_a_short_text_is_recorded_whole(place, tmp_path, capsys):
    text = "The cat sat in the house."
    (tmp_path / "short.txt").write_text(text)
    given = {"--run": tmp_path / "run", "--corpus": tmp_path / "short.txt"}
    assert cli.main(words(place, **given)) == 0
    store = ActivationStore.open(tmp_path / "run" / "activations" / "both")
    tokenizer = Run.open(tmp_path / "run").model().tokenizer
    assert tokenizer.decode(store.columns("token")["token"].to_pylist()) == text


def test_other_weights_under_the_same_name_are_said_so(run, place, capsys):
    weights = place / "llama" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert cli.main(words(place)) == 2
    finally:
        weights.write_bytes(whole)
    err = capsys.readouterr().err
    assert "are no longer those that" in err
    assert not re.search("[0-9a-f]{64}", err)


@pytest.mark.parametrize("change", ["gone", "altered"])
def test_weights_that_a_run_refers_to_are_verified_too(change, run, place, capsys):
    assert cli.main(["ls", str(run.path), "--verify"]) == 0
    weights = place / "llama" / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if change == "altered":
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    try:
        assert cli.main(["ls", str(run.path), "--verify"]) == 2
    finally:
        weights.write_bytes(whole)
    out, err = capsys.readouterr()
    assert "model/config.json names weights that are not as they were" in out
    assert "1 damaged" in err


def test_a_model_that_is_gone_is_missed_by_the_next_verb(run, place, tmp_path, capsys):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (place / "llama").rename(place / "moved")
    try:
        assert cli.main(["harvest", "--run", str(copy), "--hooks", "hook_embed"]) == 2
    finally:
        (place / "moved").rename(place / "llama")
    assert "this run only refers to the model" in capsys.readouterr().err
