"""`workbench lens`: each layer's read-out beside its controls, lenses that are kept, and one text part by part."""

import json

import pandas as pd
import pytest
import torch

from models import Recurrent, RecurrentConfig, TrainConfig, Transformer, TransformerConfig, train
from models.artifacts import ArtifactError
from models.corpus.tokenizer import train_tokenizer
from models.dataset import Dataset
from models.tasks import FlipFlop
from workbench.cli import main as cli
from workbench.experiments import read_lens
from workbench.experiments.lens_results import SHUFFLED, SHUFFLED_FOLDER
from workbench.interventions import TunedLens, logit_lens
from workbench.runs import Run

LINES = "def f(self, x):\n    return g(x) + h[x]\nclass A(B):\n    def a(self):\n        y = {x}\n        z = 'x'\n"
PROMPT = "def a(self):\n    return"
FIT = ("--tuned", "--steps", "20")


def corpus():
    """A few lines of Python source, most of them to train on."""
    tokenizer = train_tokenizer([LINES] * 8, vocab_size=300)
    ids = [0, *tokenizer.encode(LINES, add_special_tokens=False).ids][:24]
    rows = torch.tensor([ids] * 12)
    rows[::2, 7] = rows[0, 8]
    dataset = Dataset(rows, tokenizer=tokenizer)
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [["test"] * 4 + ["train"] * 8])
    return dataset


def trained(model, path, n_steps=40):
    dataset = corpus()
    model.tokenizer = dataset.tokenizer
    train(model, dataset, TrainConfig(n_steps=n_steps, batch_size=4, warmup_steps=2), run=path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=16, n_ctx=48, d_vocab=corpus().d_vocab)
    return trained(Transformer(cfg), tmp_path_factory.mktemp("runs") / "source")


def run_verb(path, *options, capsys):
    assert cli.main(["lens", "--run", str(path), "--json", *options]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_layers_are_read_on_held_out_sequences_beside_every_control(source, capsys):
    told = run_verb(source, capsys=capsys)
    found = read_lens(told["path"])
    run = Run.open(source)
    dataset = run.dataset()
    held_out, train = dataset.split("test"), dataset.split("train")
    wanted = logit_lens(run.model(), held_out, untrained=run.model(step=0), train=train)
    assert told["sequences"] == len(held_out) == 4
    assert set(found.table["variant"]) == {"logit lens", "random rotation", "untrained", "unigram", "bigram"}
    key = ["hook", "variant", "measure"]
    both = found.table.merge(wanted, on=key, suffixes=("", "_wanted"))
    assert len(both) == len(wanted)
    assert both["value"].tolist() == pytest.approx(both["value_wanted"].tolist(), abs=1e-5)
    assert found.tuned is found.prompt is None


def test_a_tuned_lens_is_kept_and_beats_the_plain_and_the_shuffled_one(source, capsys):
    found = read_lens(run_verb(source, *FIT, "--steps", "120", "--name", "tuned", capsys=capsys)["path"])
    run = Run.open(source)
    lens = TunedLens.load(found.tuned)
    assert lens.settings["n_steps"] == 120
    assert not lens.settings["shuffled"]
    assert TunedLens.load(found.tuned / SHUFFLED_FOLDER).settings["shuffled"]
    wanted = logit_lens(run.model(), run.dataset().split("test"), lens=lens)
    values = found.table.set_index(["variant", "hook", "measure"])["value"]
    of_lens = wanted.set_index(["variant", "hook", "measure"])["value"]
    first, last = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"
    assert values["tuned lens", first, "kl"] == pytest.approx(of_lens["tuned lens", first, "kl"], abs=1e-5)
    assert values["tuned lens", first, "kl"] < values["logit lens", first, "kl"]
    assert values["tuned lens", first, "kl"] < values[SHUFFLED, first, "kl"]
    assert values["tuned lens", last, "kl"] == pytest.approx(0, abs=1e-5), "the last layer is what is said"


def test_a_killed_fit_loses_nothing_that_was_made(source, capsys, monkeypatch):
    fit, made = TunedLens.fit, []

    def once(*args, shuffled, **how):
        if shuffled:
            raise KeyboardInterrupt
        made.append(shuffled)
        return fit(*args, shuffled=shuffled, **how)

    with monkeypatch.context() as patched:
        patched.setattr(TunedLens, "fit", once)
        assert cli.main(["lens", "--run", str(source), *FIT, "--name", "killed"]) == 130
    with monkeypatch.context() as patched:
        patched.setattr(TunedLens, "fit", lambda *args, shuffled, **how: fit(*args, shuffled=shuffled or 1 / 0, **how))
        path = run_verb(source, *FIT, "--name", "killed", capsys=capsys)["path"]
    assert made == [False], "the lens that was fitted is not fitted again"
    whole = run_verb(source, *FIT, "--name", "whole", capsys=capsys)["path"]
    pd.testing.assert_frame_equal(read_lens(path).table, read_lens(whole).table)


def test_a_text_is_read_layer_by_layer_and_part_by_part(source, capsys):
    told = run_verb(source, "--prompt", PROMPT, "--name", "prompt", capsys=capsys)
    prompt = read_lens(told["path"]).prompt
    model = Run.open(source).model()
    tokens = model.to_tokens(PROMPT)
    logits = model(tokens)[0, -1].detach()
    assert prompt.answer == told["answer"] == model.to_string(logits.argmax()[None])
    assert prompt.probability == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    assert prompt.attribution["value"].sum() == pytest.approx(float(logits.max()), abs=1e-3)
    assert {"0.0 attention", "1 mlp"} <= set(prompt.attribution["part"])
    assert prompt.attribution[["control_low", "control_high"]].notna().all(axis=None)
    last = prompt.tokens.query("position == position.max() and place == 1 and hook == 'blocks.1.hook_resid_post'")
    assert last.set_index("variant").loc["logit lens", "text"] == prompt.answer
    assert {"random rotation", "untrained"} <= set(last["variant"])
    assert "".join(prompt.words[1:]) == PROMPT


def test_what_a_person_reads_names_measures_controls_and_the_next_command(source, capsys):
    assert cli.main(["lens", "--run", str(source), "--prompt", PROMPT, "--name", "prompt"]) == 0
    said = capsys.readouterr().out
    for word in ("loss, nats", "KL to its own", "untrained", "random rotation", "of bigrams", "parts that add most"):
        assert word in said
    assert "next: workbench explore" in said
    assert all(c.isprintable() or c == "\n" for c in said)


def test_a_recurrent_subject_is_taken_apart_by_unit(tmp_path, capsys):
    cfg = RecurrentConfig(cell="gru", n_layers=2, d_model=12, d_vocab=corpus().d_vocab)
    path = trained(Recurrent(cfg), tmp_path / "gru", 4)
    found = read_lens(run_verb(path, *FIT, "--prompt", PROMPT, capsys=capsys)["path"])
    assert set(found.table["hook"].dropna()) == {"blocks.0.hook_out", "blocks.1.hook_out"}
    assert found.prompt.attribution["part"].str.contains("state").sum() == 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--steps", "3"], "add --tuned"),
        (["--tokens", "0"], "the number of tokens"),
        (["--tuned", "--steps", "0"], "the number of steps"),
        (["--hooks", "gone"], "no hook named 'gone'"),
        (["--hooks", "blocks.0.mlp.hook_pre", "blocks.0.attn.hook_pattern"], "but the read-out takes [16]"),
        (["--tuned", "--hooks", "blocks.1.hook_resid_post"], "nothing to tune"),
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "x " * 80], "tokens long"),
        (["--batch-size", "0"], "a pass"),
    ],
)
def test_what_is_wrong_is_one_sentence(source, options, sentence, capsys):
    assert cli.main(["lens", "--run", str(source), "--name", "wrong", *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.strip().count("\n") == 0
    assert not (source / "analyses/wrong").exists()


def test_a_subject_that_answers_with_vectors_is_refused(tmp_path, capsys):
    task = FlipFlop(n_steps=8)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape))
    data = task.dataset(n_train=8, n_test=4, seed=0)
    train(model, data, TrainConfig(n_steps=1, batch_size=8), run=tmp_path / "flip", task=task)
    assert cli.main(["lens", "--run", str(tmp_path / "flip")]) == 2
    assert "the targets are vectors" in capsys.readouterr().err


def test_what_is_no_reading_or_lacks_a_part_is_named(source, capsys):
    with pytest.raises(ArtifactError, match="is no reading of layers"):
        read_lens(source / "model")
    path = Run.open(source).path_of("analysis", "damaged")
    run_verb(source, *FIT, "--name", "damaged", capsys=capsys)
    (path / "tuned.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"it lacks tuned\.parquet"):
        read_lens(path)
