"""`workbench steer`: directions from texts, latents and probes; texts beside unsteered ones and random directions."""

import json

import pandas as pd
import pyarrow as pa
import pytest
import torch

from models import Recurrent, RecurrentConfig, TrainConfig, Transformer, TransformerConfig, train
from models.artifacts import ArtifactError
from models.corpus.tokenizer import train_tokenizer
from models.dataset import Dataset
from workbench.activations import ActivationStore, harvest
from workbench.cli import main as cli
from workbench.cli.probe import PROBES, make_probes
from workbench.cli.steer import effects_table, texts_table
from workbench.experiments import Steering, read_steering
from workbench.experiments.directions import ProbeTable, feature_direction
from workbench.interventions import Subspace, add, steer, steering_direction, steering_effects
from workbench.probing import read_results
from workbench.probing.estimators import estimator
from workbench.probing.labels import probe_labels
from workbench.probing.sweep import choose_rows
from workbench.runs import Run
from workbench.sae import SAEConfig, build_sae

LINES = "def f(self, x):\n    return g(x) + h[x]\nclass A(B):\n    def a(self):\n        y = {x}\n        z = 'x'\n"
HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
TEXTS = ("--prompt", "return g", "class A", "--towards", "x + h", "--from", "self", "--max-new", "6")


def corpus():
    """A few lines of Python source; labelled are tokens of letters, and by number one of three classes."""
    tokenizer = train_tokenizer([LINES] * 8, vocab_size=300)
    ids = [0, *tokenizer.encode(LINES, add_special_tokens=False).ids][:24]
    rows = torch.stack([torch.tensor([0, *ids[1:][at:], *ids[1:][:at]]) for at in range(20)])
    words = [tokenizer.decode([i]) for i in rows.flatten().tolist()]
    of_bos = [at % rows.shape[1] == 0 for at in range(len(words))]
    letters = [None if bos else word.strip().isalpha() for word, bos in zip(words, of_bos, strict=True)]
    third = [None if bos else str(at % 3) for at, bos in enumerate(of_bos)]
    labels = pa.table({"letters": letters, "third": third})
    dataset = Dataset(rows, labels=labels, tokenizer=tokenizer)
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [["test"] * 6 + ["train"] * 14])
    return dataset


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A transformer with a recording of two hooks and probes of it."""
    path, dataset = tmp_path_factory.mktemp("runs") / "source", corpus()
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=16, n_ctx=48, d_vocab=dataset.d_vocab)
    model = Transformer(cfg)
    model.tokenizer = dataset.tokenizer
    train(model, dataset, TrainConfig(n_steps=30, batch_size=4, warmup_steps=2), run=path)
    run = Run.open(path)
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    harvest(run.model(), dataset, HOOKS, run.path_of("activations", "two"), inputs=inputs)
    make_probes(run.refresh(), code_length=False)
    make_probes(run.refresh(), name="bent", probes=["mlp"], hooks=HOOKS[:1], labels=["letters"], code_length=False)
    return path


def run_verb(path, *options, capsys):
    assert cli.main(["steer", "--run", str(path), "--json", *options]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_texts_are_those_of_the_function_along_the_same_direction(source, capsys):
    told = run_verb(source, *TEXTS, "--strengths", "0.5", "-1", capsys=capsys)
    found = read_steering(told["path"])
    model = Run.open(source).model()
    towards = steering_direction(model, ["x + h"], ["self"], HOOKS[0])
    edits = {"+0.5": add(towards, 0.5), "-1": add(towards, -1)}
    wanted = steer(model, ["return g", "class A"], edits, HOOKS[0], max_new=6)
    assert told["hook"] == HOOKS[0]
    kept = ["sequence", "prompt", "edit", "strength", "variant", "seed", "text"]
    pd.testing.assert_frame_equal(found.texts[kept], wanted[kept], check_dtype=False)
    torch.testing.assert_close(found.subspace.write, towards.write)
    effects = steering_effects(wanted)
    own = effects[effects["variant"] == "steered"].set_index("edit")["value"]
    assert told["steered"] == pytest.approx(own.to_dict(), abs=1e-5)
    assert set(told["random direction"]) == set(edits)


def test_a_whole_push_along_a_latent_is_its_largest_activation():
    sae = build_sae(SAEConfig(architecture="topk", d_in=16, d_sae=32, k=2, hook_name=HOOKS[0]))
    direction = feature_direction(sae, 3, 2.5, HOOKS)
    rows = torch.zeros(1, 16)
    moved = direction.edits([0.5])["+0.5"](rows)
    torch.testing.assert_close(moved[0], 1.25 * sae.W_dec[3].detach())
    with pytest.raises(ValueError, match="never fires"):
        feature_direction(sae, 3, 0.0, HOOKS)
    with pytest.raises(ValueError, match="numbered 0 to 31"):
        feature_direction(sae, 32, 1.0, HOOKS)
    with pytest.raises(ValueError, match="of a single hook"):
        feature_direction(sae, 3, 1.0, ["elsewhere"])


def table_of(source):
    run = Run.open(source)
    artifact = run.find("probes", "two")
    store = ActivationStore.open(run.find("activations").path)
    return ProbeTable(read_results(artifact.path), artifact.manifest.config, store)


def test_the_probe_that_is_pushed_along_is_the_one_whose_score_was_kept(source):
    kept = table_of(source)
    direction = kept.direction("letters", HOOKS[0])
    rows, parts = choose_rows(kept.store, None, kept.config["n_rows"], kept.config["seed"])
    held_out = rows[parts.held_out]
    y = probe_labels(kept.store, rows, ["letters"])["letters"][parts.held_out]
    said = direction.subspace.coordinates(torch.as_tensor(kept.store.read(HOOKS[0], held_out)))[:, 0] > 0
    line = kept.table.query("hook == @HOOKS[0] and label == 'letters' and variant == 'probe'").iloc[0]
    assert (said.numpy() == y).mean() == pytest.approx(line["accuracy"], abs=0.02)


def test_a_whole_push_along_a_probe_goes_from_one_class_to_the_other(source):
    kept = table_of(source)
    direction = kept.direction("letters")
    rows, parts = choose_rows(kept.store, None, kept.config["n_rows"], kept.config["seed"])
    fitted = rows[parts.fit]
    y = torch.from_numpy(probe_labels(kept.store, rows, ["letters"])["letters"][parts.fit] == 1)
    x = torch.as_tensor(kept.store.read(direction.hook, fitted)).double()
    moved = direction.edits([1.0])["+1"](x[~y])
    read = direction.subspace.coordinates
    torch.testing.assert_close(read(moved).mean(), read(x[y]).mean())


def test_a_probe_of_several_classes_leads_to_the_one_that_is_named(source, capsys):
    options = ("--prompt", "return", "--max-new", "3", "--name", "probe")
    told = run_verb(source, *options, "--probe", "two/third=1", "--hook", HOOKS[1], capsys=capsys)
    found = read_steering(told["path"])
    assert (found.hook, found.direction) == (HOOKS[1], "probe of third=1")
    assert found.whole > 0
    inputs = Run.open(source).find("analysis", "probe").manifest.inputs
    assert set(inputs) == {"model", "probes/two", "activations/two"}


def test_a_recurrent_subject_is_pushed_at_every_step(tmp_path, capsys):
    dataset = corpus()
    model = Recurrent(RecurrentConfig(cell="gru", d_model=12, d_vocab=dataset.d_vocab))
    model.tokenizer = dataset.tokenizer
    train(model, dataset, TrainConfig(n_steps=4, batch_size=4), run=tmp_path / "gru")
    options = (*TEXTS, "--temperature", "1", "--strengths", "20")
    told = run_verb(tmp_path / "gru", *options, capsys=capsys)
    found = read_steering(told["path"])
    assert found.hook == "blocks.0.rnn.hook_h"
    said = found.texts[found.texts["sequence"] == 0].groupby("variant")["text"].first()
    assert said["steered"] != said["unsteered"]


def test_what_a_person_reads_is_unsteered_then_steered_then_random(source, capsys):
    assert cli.main(["steer", "--run", str(source), *TEXTS, "--name", "told"]) == 0
    said = capsys.readouterr().out
    first = said[said.index("after 'return g'") : said.index("after 'class A'")]
    order = [line.split("  ")[0] for line in first.splitlines()[3:12]]
    assert order == ["unsteered", *["steered"] * 4, *["the first random direction"] * 4]
    assert "rise of the loss from" in said
    assert "next: workbench explore" in said


def test_control_characters_of_a_text_do_not_reach_the_terminal():
    line = {"hook": "h", "sequence": 0, "prompt": "", "edit": "", "kind": "", "strength": 0.0, "variant": "unsteered"}
    line |= {"seed": None, "text": "\x1b]0;wicked\x07\u202e\r", "tokens": [1], "loss": 1.0, "perplexity": 2.7}
    texts = pd.DataFrame([line, line | {"variant": "steered", "edit": "+1"}]).assign(score=float("nan"))
    found = Steering(texts, steering_effects(texts), Subspace.along(torch.ones(2)), "h", "texts", "", 1.0)
    said = texts_table(found, 0) + effects_table(found)
    assert all(c.isprintable() or c == "\n" for c in said)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "a direction is wanted from one place"),
        (["--towards", "x"], "give both --towards and --from"),
        (["--towards", "x", "--from", "x"], "a direction is zero"),
        (["--towards", "x", "--from", "y", "--feature", "a/1"], "a direction is wanted from one place"),
        (["--feature", "a"], "DICTIONARY/NUMBER does"),
        (["--feature", "a/1"], "has no sae 'a'"),
        (["--feature", "a/1", "--hook", HOOKS[0]], "where its dictionary reads"),
        (["--probe", "two"], "NAME/LABEL does"),
        (["--probe", "gone/letters"], "no probes 'gone'"),
        (["--probe", "two/gone"], "no label 'gone' was probed"),
        (["--probe", "two/third"], "say which is meant, third=0 for one"),
        (["--probe", "two/letters=1"], "has two classes, 0 and 1"),
        (["--probe", "two/letters", "--hook", "hook_embed"], "hook_embed was not probed"),
        (["--probe", "bent/letters"], "no linear probe"),
        (["--towards", "x", "--from", "self", "--hook", "gone"], "no hook named 'gone'"),
        (["--towards", "x", "--from", "self", "--strengths", "0"], "other than zero"),
        (["--towards", "x", "--from", "self", "--strengths", "inf"], "other than zero"),
        (["--towards", "x", "--from", "self", "--max-new", "100"], "more than the 48 positions"),
        (["--towards", "x", "--from", "self", "--controls", "0"], "the number of controls"),
        (["--towards", "x", "--from", "self", "--temperature", "-1"], "the temperature is -1"),
    ],
)
def test_what_is_wrong_is_one_sentence(source, options, sentence, capsys):
    assert cli.main(["steer", "--run", str(source), "--name", "wrong", "--prompt", "return", *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.strip().count("\n") == 0
    assert not (source / "analyses/wrong").exists()


def test_an_empty_prompt_is_refused(source, capsys):
    assert (
        cli.main(["steer", "--run", str(source), "--prompt", "", "--towards", "x", "--from", "self", "--name", "none"])
        == 2
    )
    assert "a prompt is empty" in capsys.readouterr().err


def test_what_is_no_steering_or_damaged_is_named(source, capsys):
    with pytest.raises(ArtifactError, match="is no steering"):
        read_steering(source / "model")
    path = Run.open(source).path_of("analysis", "damaged")
    run_verb(source, *TEXTS, "--name", "damaged", capsys=capsys)
    (path / "direction.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match=r"direction\.safetensors is damaged"):
        read_steering(path)


def test_every_probe_that_the_verb_names_can_be_fitted_again():
    assert [type(estimator(name)).__name__ for name in PROBES]
