"""`workbench heads`: one survey, whole, controls beside every number; what is wrong in one sentence."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from models import (
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    TrainConfig,
    Transformer,
    TransformerConfig,
    train,
)
from models.artifacts import ArtifactError
from models.dataset import Dataset
from models.tasks import Copy, Dyck
from workbench.attention import head_scores, head_svd, rollout, token_pairs, value_weighted
from workbench.attention.composition import composition_scores
from workbench.cli import main as cli
from workbench.experiments import heads, heads_weights
from workbench.experiments.heads_results import read_heads
from workbench.runs import Run

# What is told of weights and values, each beside its control.
_WEIGHTS = (
    "QK pair",
    "OV pair",
    "singular value",
    "virtual head",
    "learned positions",
    "by position alone",
    "Values move",
)


def trained(path, task, model):
    train(
        model, task.dataset(n_train=40, n_test=20, seed=0), TrainConfig(n_steps=2, batch_size=16), run=path, task=task
    )
    return path


@pytest.fixture(scope="module")
def brackets(tmp_path_factory):
    task = Dyck(max_length=12)
    shape = {name: value for name, value in task.shape.items() if name != "d_out"}
    model = Transformer(TransformerConfig(n_layers=2, d_model=16, n_heads=2, attn_only=True, **shape))
    return trained(tmp_path_factory.mktemp("runs") / "brackets", task, model)


def run_verb(path, *options, capsys):
    assert cli.main(["heads", "--run", str(path), "--tokens", "200", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_survey_is_what_the_functions_give(brackets, capsys):
    told = run_verb(brackets, capsys=capsys)
    found = read_heads(told["path"])
    run = Run.open(brackets)
    model, untrained = run.model(), run.model(step=0)
    data = run.dataset().sample(200, test_share=1.0, seed=0).split("test")
    wanted = head_scores(model, data, untrained=untrained)
    same = ["hook", "head", "text", "score"]
    both = found.scores.merge(wanted, on=same, suffixes=("", "_wanted"))
    assert len(both) == len(wanted) == len(found.scores) > 0
    assert both["value"].to_numpy() == pytest.approx(both["value_wanted"].to_numpy())
    assert both["control"].to_numpy() == pytest.approx(both["control_wanted"].to_numpy())
    assert found.composition is not None
    assert found.composition["value"].tolist() == pytest.approx(composition_scores(model)["value"].tolist())
    assert "untrained" in found.composition
    assert set(found.importance["variant"]) == {"ablation", "random direction"}
    assert set(found.importance["ablation"]) == {"mean"}
    share = found.importance[found.importance["variant"] == "ablation"].set_index(["layer", "head"])["share"]
    previous = wanted[(wanted["text"] == "real") & (wanted["score"] == "previous_token")]
    by_hand = sum(line.value * share[line.layer, line.head] for line in previous.itertuples())
    weighted = found.weighted.set_index(["text", "score"]).loc[("real", "previous_token")]
    assert weighted["value"] == pytest.approx(by_hand)
    assert weighted["ablation"] == "mean"
    assert told["heads"] == 4
    best = wanted[(wanted["text"] == "real") & (wanted["score"] == "previous_token")].nlargest(1, "value").iloc[0]
    assert told["best"]["real: previous_token"] == f"{best['layer']}.{best['head']}"


def test_kept_patterns_are_the_subject_s(brackets, capsys):
    found = read_heads(run_verb(brackets, capsys=capsys)["path"])
    run = Run.open(brackets)
    data = run.dataset().sample(200, test_share=1.0, seed=0).split("test")
    n = int(data.mask[1].sum())
    _, cache = run.model().eval().run_with_cache(data.tokens[1:2, :n])
    wanted = cache["blocks.1.attn.hook_pattern"][0]
    assert found.pattern("blocks.1.attn.hook_pattern", 1).shape == wanted.shape
    torch.testing.assert_close(found.pattern("blocks.1.attn.hook_pattern", 1), wanted.detach(), atol=0.003, rtol=0)
    assert len(found.words_of(1)) == n
    assert len({sequence for _, sequence in found.patterns}) == heads.KEPT


def test_a_person_reads_the_best_heads_beside_their_controls(brackets, capsys):
    assert cli.main(["heads", "--run", str(brackets), "--tokens", "200"]) == 0
    said = capsys.readouterr().out
    for words in (
        "previous_token",
        "entropy (lowest)",
        "K-composition",
        "mean ablation of",
        "random direction",
        *_WEIGHTS,
    ):
        assert words in said


def held_out(path):
    return Run.open(path).dataset().sample(200, test_share=1.0, seed=0).split("test")


def test_what_weights_say_of_every_head_is_what_the_functions_give(brackets, capsys):
    found = read_heads(run_verb(brackets, capsys=capsys)["path"])
    model, data = Run.open(brackets).model(), held_out(brackets)
    common = heads_weights.commonest(data, model.cfg.d_vocab)
    assert set(common.tolist()) == set(data.tokens[data.mask].tolist()), "fewer than are kept: all that occur"
    for layer, head, circuit in ((0, 1, "QK"), (1, 0, "OV")):
        own = {"layer": layer, "head": head, "circuit": circuit}
        pairs, directions = (
            table.loc[(table[list(own)] == pd.Series(own)).all(axis=1)] for table in (found.pairs, found.directions)
        )
        wanted = token_pairs(model, layer, head, circuit, k=10, tokens=common, n_random=1)
        assert pairs["value"].tolist() == pytest.approx(wanted["value"].tolist())
        assert pairs["from_text"].tolist() == wanted["from_text"].tolist()
        assert {"head", "random matrices"} == set(pairs["variant"])
        wanted = head_svd(model, layer, head, circuit, k=5)
        assert directions["value"].tolist() == pytest.approx(wanted["value"].tolist())
    assert len(found.virtual) == 4 + 4
    assert found.spectrum["value"].sum() == pytest.approx(1)
    assert set(found.profiles["to"]) == {"first", "0", "1", "2", "3"}
    assert found.rotary is None, "positions are learned"
    for table in (found.singular, found.spectrum, found.profiles):
        assert table[["random_mean", "random_high"]].notna().all(axis=None)


def test_what_attention_moves_in_kept_sequences_is_the_subject_s(brackets, capsys):
    found = read_heads(run_verb(brackets, capsys=capsys)["path"])
    model, data = Run.open(brackets).model(), held_out(brackets)
    hook, n = "blocks.1.attn.hook_pattern", int(data.mask[1].sum())
    wanted = value_weighted(model, data.select(torch.arange(2)), hook)[1, :, :n, :n]
    torch.testing.assert_close(found.values[hook, 1].float(), wanted, atol=1e-4, rtol=2e-3)
    rolled = rollout(model, data.select(torch.arange(2)))[1, :n, :n]
    torch.testing.assert_close(found.rollout("target", "attention", "trained", 1), rolled, atol=0.003, rtol=0)
    control = found.rollout("target", "attention", "control", 1)
    assert not torch.allclose(control, rolled, atol=1e-3), "another subject's"
    assert {weights for _, weights, _, _ in found.rollouts} == {"attention", "value"}
    shift = found.moved[(found.moved["measure"] == "shift") & (found.moved["hook"] == hook)]
    A, M = found.pattern(hook, 0)[:, 1:], found.values[hook, 0].float()[:, 1:]
    moved = [(A - M / M.sum(-1, keepdim=True)).abs().sum(-1) / 2]
    for row in range(1, heads.KEPT):
        A, M = found.pattern(hook, row)[:, 1:], found.values[hook, row].float()[:, 1:]
        moved.append((A - M / M.sum(-1, keepdim=True)).abs().sum(-1) / 2)
    assert shift["value"].tolist() == pytest.approx(torch.cat(moved, 1).mean(1).tolist(), abs=0.005)
    assert (shift["control_low"] <= shift["control_high"]).all()


def test_a_survey_of_before_these_parts_still_opens(brackets, capsys):
    told = run_verb(brackets, "--name", "older", capsys=capsys)
    newer = {
        *(heads_weights.PAIRS, heads_weights.DIRECTIONS, heads_weights.SINGULAR, heads_weights.VIRTUAL),
        *(heads_weights.SPECTRUM, heads_weights.PROFILES, heads.MOVED, heads.VALUES, heads.ROLLOUTS),
    }
    for name in newer:
        (brackets / "analyses/older" / name).unlink()
    found = read_heads(told["path"])
    assert found.pairs is found.directions is found.singular is found.virtual is found.spectrum is None
    assert found.profiles is found.moved is found.values is found.rollouts is None
    assert found.standout().beyond in (True, False)


def test_rotations_are_asked_of_where_positions_are_rotary(tmp_path):
    shape = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_vocab": 9, "n_ctx": 8, "attn_only": True}
    model = Transformer(TransformerConfig(positional_embedding_type="rotary", **shape))
    tokens = torch.randint(0, 9, (4, 8), generator=torch.Generator().manual_seed(0))
    heads_weights.survey_weights(model, None, Dataset(tokens), tmp_path, 0)
    made = {path.name for path in tmp_path.iterdir()}
    assert {heads_weights.ROTARY, heads_weights.PROFILES} <= made
    assert heads_weights.SPECTRUM not in made, "no positions are added"
    assert not {heads_weights.VIRTUAL, heads_weights.COMPOSITION} & made, "one layer has no pairs"


def test_the_head_that_stands_out_is_farthest_above_its_control(brackets, capsys):
    found = read_heads(run_verb(brackets, capsys=capsys)["path"])
    shares = found.scores[~found.scores["score"].isin(["entropy", "distance"])]
    odds = shares[["value", "control_high"]].clip(0.001, 0.999).transform(lambda p: p / (1 - p))
    best = found.standout()
    assert (best.value / (1 - best.value)) / (best.control / (1 - best.control)) == pytest.approx(
        (odds["value"] / odds["control_high"]).max()
    )
    raised = found.scores.assign(control_high=2.0)
    assert not dataclasses.replace(found, scores=raised).standout().beyond
    bits = pd.DataFrame(
        {"hook": "h", "layer": 0, "head": [0, 1], "text": "real", "score": "entropy", "value": [2.0, 0.5],
         "control": 3.0, "control_low": 2.5, "control_high": 3.5}
    )  # fmt: skip
    best = dataclasses.replace(found, scores=bits).standout()
    assert (best.head, best.value, best.control, best.beyond) == (1, 0.5, 2.5, True)


def test_the_same_call_keeps_what_is_there_and_another_is_refused(brackets, capsys, monkeypatch):
    first = run_verb(brackets, "--name", "kept", capsys=capsys)
    with monkeypatch.context() as patched:
        patched.setattr(heads, "head_scores", None)
        assert run_verb(brackets, "--name", "kept", capsys=capsys)["id"] == first["id"]
    assert cli.main(["heads", "--run", str(brackets), "--name", "kept", "--tokens", "90"]) == 2
    assert "n_tokens 200, not 90" in capsys.readouterr().err


def test_a_killed_survey_goes_on_from_the_next_part(brackets, capsys, monkeypatch):
    def stop(*args, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(heads_weights, "composition_scores", stop)
        assert cli.main(["heads", "--run", str(brackets), "--tokens", "200", "--name", "killed"]) == 130
    with monkeypatch.context() as patched:
        patched.setattr(heads, "head_scores", None)  # it is there already
        told = run_verb(brackets, "--name", "killed", capsys=capsys)
    assert read_heads(told["path"]).composition is not None


def test_what_heads_cost_stands_in_a_line_each_with_the_ablation_s_name(brackets, capsys):
    found = read_heads(run_verb(brackets, capsys=capsys)["path"])
    costs = found.costs()
    assert costs.columns.tolist() == ["hook", "layer", "head", "ablation", "cost", "random_cost"]
    assert set(costs["ablation"]) == {"mean"}
    for line in costs.itertuples():
        of = found.importance[(found.importance["hook"] == line.hook) & (found.importance["head"] == line.head)]
        by_variant = of.groupby("variant")["effect"].mean()
        assert (line.cost, line.random_cost) == pytest.approx((by_variant["ablation"], by_variant["random direction"]))


def test_without_the_subject_before_training_alignments_are_held_against_random_weights(tmp_path):
    task = Copy(n_symbols=6, min_length=3, max_length=5)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, attention="bahdanau", **task.shape))
    heads.survey_heads(model, None, task.dataset(4), tmp_path, heads.SurveySettings("mean", 1))
    for name in ("alignments.parquet", "alignment.parquet"):
        table = pd.read_parquet(tmp_path / name)
        assert {"trained", "untrained"} <= set(table["variant"])
    weights = [of["weight"].to_numpy() for _, of in pd.read_parquet(tmp_path / "alignments.parquet").groupby("variant")]
    assert not np.allclose(*weights, atol=1e-3)


def test_a_decoder_s_alignments_are_held_against_the_truth(tmp_path, capsys):
    task = Copy(n_symbols=6, min_length=3, max_length=5)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, attention="bahdanau", **task.shape))
    found = read_heads(run_verb(trained(tmp_path / "copy", task, model), capsys=capsys)["path"])
    assert found.copying is found.composition is found.importance is None
    assert set(found.alignments["variant"]) == {"trained", "untrained"}
    sums = found.alignments.groupby(["variant", "sequence", "target"])["weight"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5)
    assert set(found.aligned["variant"]) == {"trained", "untrained", "uniform"}
    assert found.alignments["right"].any()
    assert set(found.axes.values()) == {("target", "source")}


@pytest.mark.parametrize(("options", "sentence"), [(["--tokens", "0"], "tokens"), (["--seed", "-1"], "seed")])
def test_what_is_wrong_is_one_sentence(brackets, options, sentence, capsys):
    assert cli.main(["heads", "--run", str(brackets), "--name", "wrong", *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert sentence in said


def test_a_subject_without_attention_is_refused_before_anything_is_made(tmp_path, capsys):
    task = Dyck(max_length=12)
    path = trained(tmp_path / "gru", task, Recurrent(RecurrentConfig(cell="gru", d_model=8, **task.shape)))
    assert cli.main(["heads", "--run", str(path)]) == 2
    assert "a Recurrent like this has no attention" in capsys.readouterr().err
    assert not (path / "analyses").exists()


def test_what_is_no_survey_or_damaged_is_named(brackets, tmp_path, capsys):
    told = run_verb(brackets, "--name", "torn", capsys=capsys)
    with pytest.raises(ArtifactError, match="is no survey of heads"):
        read_heads(brackets / "model")
    (brackets / "analyses/torn/words.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"lacks words\.parquet"):
        read_heads(told["path"])


def test_sequences_that_are_kept_are_bounded():
    from workbench.attention.streaming import PatternHook

    hooks = [PatternHook(f"blocks.{i}.attn.hook_pattern", i, "target", "target") for i in range(2)]
    long = Dataset(torch.ones(9, 400, dtype=torch.long))
    kept = heads.kept_sequences(long, hooks)
    assert kept.tokens.shape == (heads.KEPT, heads.LONGEST)
    assert len(heads.kept_sequences(long, hooks * 500)) == 1
