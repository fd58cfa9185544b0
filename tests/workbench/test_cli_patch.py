"""`workbench patch`: interventions on pairs of prompts from any of three places, each with its controls."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from models import (
    EncoderDecoderTransformer,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    TrainConfig,
    Transformer,
    TransformerConfig,
    load_model,
    train,
)
from models.artifacts import ArtifactError
from models.corpus.tokenizer import train_tokenizer
from models.dataset import Dataset
from models.encoder_decoder_config import EncoderDecoderTransformerConfig
from models.tasks import Copy, FlipFlop, minimal_pairs
from models.tasks.minimal_pairs import python_minimal_pairs
from workbench.cli import main as cli
from workbench.cli import offered
from workbench.experiments import Patching, Prompts, by_place, example_prompts, patching, read_patching
from workbench.experiments.patching_results import PLACES
from workbench.experiments.places import alike
from workbench.interventions import hook_parts, stand_ins
from workbench.interventions.ablation import ablate
from workbench.interventions.attribution import attribution_patching
from workbench.interventions.metrics import LogitDifference, measured
from workbench.interventions.pairs import batch_of
from workbench.interventions.patching import activation_patching
from workbench.runs import Run

LINES = "def f(self, x):\n    return g(x) + h[x]\nclass A(B):\n    def a(self):\n        y = {x}\n        z = 'x'\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A transformer that has read a few lines of Python source."""
    path = tmp_path_factory.mktemp("runs") / "source"
    tokenizer = train_tokenizer([LINES] * 8, vocab_size=300)
    ids = [0, *tokenizer.encode(LINES, add_special_tokens=False).ids][:24]
    rows = torch.tensor([ids] * 12)
    rows[::2, 7] = rows[0, 8]
    dataset = Dataset(rows, tokenizer=tokenizer)
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [["test"] * 4 + ["train"] * 8])
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=16, n_ctx=48, d_vocab=dataset.d_vocab)
    model = Transformer(cfg)
    model.tokenizer = tokenizer
    train(model, dataset, TrainConfig(n_steps=3, batch_size=4), run=path)
    return path


def run_verb(path, *options, capsys):
    assert cli.main(["patch", "--run", str(path), "--json", *options]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


TYPED = ("--clean", "return g(x", "--corrupt", "return g[x", "--answer", ")", "--wrong", "]")


def test_typed_prompts_are_patched_as_the_function_does(source, capsys):
    told = run_verb(source, *TYPED, capsys=capsys)
    found = read_patching(told["path"])
    model = Run.open(source).model()
    clean, corrupt = (model.to_tokens(text) for text in ("return g(x", "return g[x"))
    answer, wrong = (torch.tensor([model.tokenizer.encode(text).ids[-1]]) for text in ")]")
    metric = LogitDifference(answer, wrong, torch.tensor([clean.shape[1] - 1]))
    hooks = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    wanted = activation_patching(model, clean, corrupt, metric, hooks)
    assert found.table["effect"].tolist() == pytest.approx(wanted["effect"].tolist(), abs=1e-5)
    assert found.table["variant"].tolist() == wanted["variant"].tolist()
    assert found.words()[1:] == [model.to_string(clean[0, i : i + 1]) for i in range(1, clean.shape[1])]
    assert list(found.changed().values()) == [model.to_string(corrupt[clean != corrupt])]
    assert told["clean"] == pytest.approx(float(wanted["clean"].iloc[0]), abs=1e-5)
    assert found.logit_attribution["value"].sum() == pytest.approx(told["clean"], abs=1e-4)
    assert {"logit lens", "untrained", "random rotation"} <= set(found.lens["variant"])


def test_a_place_is_patched_whole_over_pairs_of_any_length(source, capsys):
    found = read_patching(run_verb(source, "--pairs", "bracket", "--n", "6", "--name", "pairs", capsys=capsys)["path"])
    assert len(found.pairs) == 6
    own = found.profile[found.profile["variant"] == "patch"].set_index(["hook", "place"])["effect"]
    first, last = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"
    assert own[first, "where the prompts differ"] == pytest.approx(1, abs=1e-4), "before the first layer all is there"
    assert own[first, "last token"] == pytest.approx(0, abs=1e-4)
    assert own[last, "last token"] == pytest.approx(1, abs=1e-4), "after the last all is where it is read"
    assert own[last, "where the prompts differ"] == pytest.approx(0, abs=1e-4)
    assert found.crossing is not None
    assert set(found.profile["variant"]) == {"patch", "random direction"}
    mapped = found.prompts[found.prompts["mapped"]]
    assert len(set(mapped.groupby("pair").size())) == 1
    assert len(set(mapped[mapped["differs"]].groupby("position").size())) == 1


def test_a_profile_weighs_pairs_and_not_groups_of_them(source):
    run = Run.open(source)
    model = run.model()
    pairs = python_minimal_pairs("bracket", 8, 0, model.tokenizer)
    prompts = Prompts.of(pairs)
    assert len(alike(prompts)) > 1
    hook = "blocks.0.hook_resid_post"
    found = by_place(model, prompts, [hook])
    line = found[(found["variant"] == "patch") & (found["place"] == "last token")].iloc[0]
    values = []
    for i in range(len(pairs)):
        n = int(pairs.position[i]) + 1
        clean, corrupt = pairs.clean[i : i + 1, :n], pairs.corrupt[i : i + 1, :n]
        _, cache = model.run_with_cache(clean)

        def patch(value, hook, cache=cache):
            value[:, -1] = cache[hook.name][:, -1]
            return value

        logits = model.run_with_hooks(corrupt, fwd_hooks=[(hook, patch)])[0, -1]
        values.append(float(logits[pairs.answer[i]] - logits[pairs.wrong[i]]))
    assert line["value"] == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert line["sequences"] == 8


def profile_of(rows):
    """What patching a whole place restores, of hooks by the three places."""
    lines = [(hook, place, effect) for hook, *effects in rows for place, effect in zip(PLACES, effects, strict=True)]
    return pd.DataFrame(lines, columns=["hook", "place", "effect"]).assign(variant="patch")


@pytest.mark.parametrize(
    ("rows", "crosses", "everywhere"),
    [
        ([("0.pre", 1.0, 0.0, 0.0), ("0.post", 0.7, 0.0, 0.3), ("1.post", 0.0, 0.0, 1.0)], "1.post", False),
        ([("0.z", 0.04, 0.0, 0.14), ("1.z", 0.0, 0.0, 0.84)], None, False),
        ([("h", 1.0, 1.0, 1.0)], None, True),
        ([("h", 0.999, 1.001, 1.0), ("c", 1.0, 0.3, 1.0)], None, False),
    ],
    ids=["a stream", "heads, which hold nothing", "a state that is all there is", "one state of two"],
)
def test_an_effect_crosses_where_one_place_holds_it_and_then_the_other(rows, crosses, everywhere):
    unused = pd.DataFrame()
    found = Patching("patching", unused, profile_of(rows), unused, unused, None, None, None, {})
    assert found.crossing == crosses
    assert found.is_everywhere == everywhere


def test_what_was_asked_and_which_heads_matter_is_told(source, capsys):
    cli.main(["patch", "--run", str(source), *TYPED, "--by", "position", "head", "--name", "told"])
    told = capsys.readouterr().out
    assert "the answer: ')', not ']'" in told
    assert "share of the effect restored" in told
    assert "largest effects (share restored)" in told


def test_a_killed_experiment_goes_on_from_the_next_part(source, capsys, monkeypatch):
    def stop(*args, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(patching, "logit_lens", stop)
        assert cli.main(["patch", "--run", str(source), *TYPED, "--name", "killed"]) == 130
    with monkeypatch.context() as patched:
        patched.setattr(patching, "activation_patching", None)  # its table is there already
        told = run_verb(source, *TYPED, "--name", "killed", capsys=capsys)
    assert read_patching(told["path"]).lens is not None


@pytest.mark.parametrize("method", ["attribution", "ablation"])
def test_other_methods_have_their_controls(source, method, capsys):
    told = run_verb(source, *TYPED, "--method", method, "--by", "head", "--name", method, capsys=capsys)
    found = read_patching(told["path"])
    assert len(found.table["hook"].unique()) == 2
    assert set(found.table["variant"]) == {method, "random direction"}
    assert found.profile is None
    cli.main(["patch", "--run", str(source), *TYPED, "--method", method, "--by", "head", "--name", method])
    assert "random direction" in capsys.readouterr().out


def test_examples_of_a_task_without_tokens_are_held_to_their_targets(tmp_path, capsys):
    task = FlipFlop(n_steps=8)
    data = task.dataset(n_train=20, n_test=10, seed=0)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape))
    train(model, data, TrainConfig(n_steps=2, batch_size=8), run=tmp_path / "flip", task=task)
    found = read_patching(run_verb(tmp_path / "flip", "--examples", "--n", "3", capsys=capsys)["path"])
    assert len(found.pairs) == 3
    assert found.lens is found.logit_attribution is found.profile is None
    assert set(found.table["hook"]) == {"blocks.0.rnn.hook_h"}
    prompts, subject = example_prompts(Run.open(tmp_path / "flip").dataset(), 3, seed=0), load_model(tmp_path / "flip")
    for name, data in (("clean", prompts.clean), ("corrupt", prompts.corrupt)):
        said = subject(data.tokens)
        error = torch.nn.functional.mse_loss(said, prompts.clean.targets, reduction="none").mean((1, 2))
        np.testing.assert_allclose(found.pairs[name], -error.detach(), rtol=1e-5, err_msg="both are asked the same")


def test_vectors_are_measured_by_their_error():
    prompts = example_prompts(FlipFlop(n_steps=6).dataset(4, 4), 3, seed=0)
    output = torch.randn(3, 6, prompts.clean.targets.shape[-1], generator=torch.Generator().manual_seed(0))
    value = measured(prompts.metric, output, batch_of(prompts.clean, torch.arange(3)))
    wanted = -torch.nn.functional.mse_loss(output, prompts.clean.targets, reduction="none").mean((1, 2))
    torch.testing.assert_close(value, wanted)
    with pytest.raises(ValueError, match="not asked for vectors"):
        prompts.metric(output, {"input": torch.zeros(3, 6, dtype=torch.long)})


def test_examples_are_measured_where_they_last_differ():
    data = Copy(n_symbols=6, min_length=3, max_length=4).dataset(8, 12)
    prompts = example_prompts(data, 5, seed=0)
    rows = torch.arange(len(prompts))
    for side, answer in ((prompts.clean, prompts.answer), (prompts.corrupt, prompts.wrong)):
        assert side.tokens[rows, prompts.position + 1].equal(answer)
    after = torch.arange(data.tokens.shape[1]) > (prompts.position + 1)[:, None]
    assert prompts.clean.tokens[after].equal(prompts.corrupt.tokens[after]), "from there on both say the same"
    assert prompts.clean.mask.equal(prompts.corrupt.mask)


def test_a_decoder_with_a_source_is_patched_on_both_sides(tmp_path, capsys):
    task = Copy(n_symbols=6, min_length=3, max_length=4)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, attention="luong_dot", **task.shape))
    train(model, task.dataset(20, 10, seed=0), TrainConfig(n_steps=2, batch_size=8), run=tmp_path / "c", task=task)
    found = read_patching(run_verb(tmp_path / "c", "--examples", "--n", "3", capsys=capsys)["path"])
    assert found.axes["encoder_blocks.0.hook_out"] == "source"
    assert found.axes["decoder_blocks.0.hook_out"] == "target"
    assert set(found.prompts["axis"]) == {"target", "source"}


def test_what_does_not_add_up_to_a_logit_is_left_out(tmp_path, capsys):
    """Of a post-norm transformer there is a lens, but no direct attribution."""
    task = Copy(n_symbols=6, min_length=3, max_length=4)
    cfg = EncoderDecoderTransformerConfig(n_layers=1, d_model=8, n_heads=2, d_mlp=8, **task.shape)
    data = task.dataset(20, 10, seed=0)
    train(EncoderDecoderTransformer(cfg), data, TrainConfig(n_steps=2, batch_size=8), run=tmp_path / "ed", task=task)
    found = read_patching(run_verb(tmp_path / "ed", "--examples", "--n", "2", capsys=capsys)["path"])
    assert found.logit_attribution is None
    assert found.lens is not None
    assert {"encoder_blocks.0.hook_resid_post", "decoder_blocks.0.hook_resid_post"} <= set(found.table["hook"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "prompts are wanted from one place"),
        (["--clean", "x"], "give both --clean and --corrupt"),
        (["--clean", "return g(x", "--corrupt", "return"], "tokens: patching wants as many in both"),
        (["--clean", "return", "--corrupt", "return"], "the prompts are the same"),
        (["--clean", "", "--corrupt", "x"], "the clean prompt is empty"),
        (["--clean", "g(", "--corrupt", "g[", "--answer", "self.return"], "tokens ("),
        (["--clean", "g(", "--corrupt", "g[", "--answer", "x", "--wrong", "x"], "both prompts are answered 'x'"),
        ([*TYPED, "--hooks", "gone"], "no hook named 'gone'"),
        (["--pairs", "bracket", "--examples"], "prompts are wanted from one place"),
        (["--examples", "--answer", "x"], "have answers of their own"),
        ([*TYPED, "--controls", "0"], "controls"),
        ([*TYPED, "--steps", "4"], "--steps is of --method attribution or rotation: this one is patching"),
        ([*TYPED, "--ablation", "zero"], "--ablation is of --method ablation"),
        ([*TYPED, "--set", "a=0.0"], "--set is of --method ablation: this one is patching"),
        ([*TYPED, "--method", "ablation", "--set", "a=0.0", "--by", "head"], "leave out --hooks and --by"),
        ([*TYPED, "--method", "ablation", "--set", "0.0,0.1"], "is not NAME=PLACE,PLACE"),
        ([*TYPED, "--method", "ablation", "--set", "a=0.0,"], "is not NAME=PLACE,PLACE"),
        ([*TYPED, "--method", "ablation", "--set", "a=0.0", "--set", "a=0.1"], "two sets are named 'a'"),
        ([*TYPED, "--method", "ablation", "--set", "a=2.0"], "there is no head 2.0"),
        ([*TYPED, "--method", "ablation", "--set", "a=0.2"], "has no head 2"),
        ([*TYPED, "--method", "ablation", "--set", "a=gone"], "no hook named 'gone'"),
        ([*TYPED, "--n", "4"], "typed prompts are one pair"),
        ([*TYPED, "--method", "attribution", "--steps", "0"], "steps"),
        ([*TYPED, "--batch-size", "0"], "prompts a pass"),
        ([*TYPED, "--by", "head", "--hooks", "hook_embed"], "has no heads"),
    ],
)
def test_what_is_wrong_is_one_sentence(source, options, sentence, capsys):
    assert cli.main(["patch", "--run", str(source), "--name", "wrong", *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.strip().count("\n") == 0
    assert not (source / "analyses/wrong").exists()


def test_another_call_at_the_same_place_is_refused(source, capsys):
    first = run_verb(source, *TYPED, "--name", "kept", capsys=capsys)
    assert run_verb(source, *TYPED, "--name", "kept", capsys=capsys)["id"] == first["id"]
    assert cli.main(["patch", "--run", str(source), "--pairs", "quote", "--name", "kept"]) == 2
    assert "choose another --name, or add --replace" in capsys.readouterr().err


def test_what_is_no_intervention_is_named(source):
    with pytest.raises(ArtifactError, match="is no intervention"):
        read_patching(source / "model")


def test_integrated_gradients_are_those_of_the_function(source, capsys):
    options = (*TYPED, "--method", "attribution", "--steps", "5", "--batch-size", "1", "--name", "integrated")
    found = read_patching(run_verb(source, *options, capsys=capsys)["path"]).table
    model = Run.open(source).model()
    clean, corrupt = (model.to_tokens(text) for text in ("return g(x", "return g[x"))
    answer, wrong = (torch.tensor([model.tokenizer.encode(text).ids[-1]]) for text in ")]")
    metric = LogitDifference(answer, wrong, torch.tensor([clean.shape[1] - 1]))
    wanted = attribution_patching(model, clean, corrupt, metric, found["hook"].unique().tolist(), steps=5)
    assert set(found["variant"]) == {"integrated gradients", "random direction"}
    assert found["effect"].tolist() == pytest.approx(wanted["effect"].tolist(), abs=1e-5)


def test_a_set_is_taken_out_together(source, capsys):
    sets = ("--set", "both=0.0,1.1", "--set", "second=blocks.1.attn.hook_z")
    told = run_verb(source, *TYPED, "--method", "ablation", *sets, "--name", "sets", capsys=capsys)
    found = read_patching(told["path"]).table
    model = Run.open(source).model()
    clean = model.to_tokens("return g(x")
    answer, wrong = (torch.tensor([model.tokenizer.encode(text).ids[-1]]) for text in ")]")
    metric = LogitDifference(answer, wrong, torch.tensor([clean.shape[1] - 1]))
    z = [f"blocks.{layer}.attn.hook_z" for layer in range(2)]
    wanted = ablate(model, clean, metric, {"both": [(z[0], 0), (z[1], 1)], "second": [z[1]]}, ablation="mean")
    assert found["hook"].tolist() == ["both", "both", "second", "second"]
    assert found["variant"].tolist() == ["ablation", "random direction"] * 2
    assert found["effect"].tolist() == pytest.approx(wanted["effect"].tolist(), abs=1e-5)
    assert found["places"].unique().tolist() == [f"{z[0]}[0], {z[1]}[1]", z[1]]
    cli.main(["patch", "--run", str(source), *TYPED, "--method", "ablation", *sets, "--name", "sets"])
    assert f"{z[0]}[0], {z[1]}[1]" in capsys.readouterr().out


def test_what_verbs_offer_is_what_there_is():
    assert offered.ABLATIONS == stand_ins.ABLATIONS
    assert (*patching.METHODS, "rotation") == offered.METHODS
    assert tuple(minimal_pairs.KINDS) == offered.PAIR_KINDS
    assert set(offered.PARTS) < set(hook_parts.COLUMNS)
