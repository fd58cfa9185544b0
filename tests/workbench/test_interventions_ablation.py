"""What is ablated is gone, by the name it is said to be gone by; nothing else of the subject changes."""

import pytest
import torch

from models import (
    MLP,
    Dataset,
    EncoderDecoderTransformer,
    EncoderDecoderTransformerConfig,
    MLPConfig,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    Transformer,
    TransformerConfig,
)
from models.tasks import Copy
from workbench.interventions.ablation import ABLATION_COLUMNS, ablate, ablating
from workbench.interventions.metrics import TargetLoss
from workbench.interventions.pairs import run

SHAPE = {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_ctx": 8, "d_vocab": 20, "d_mlp": 24}
HEADS = [f"blocks.{layer}.attn.hook_z" for layer in range(2)]
MLP_OUT = "blocks.0.hook_mlp_out"
STATE = "blocks.0.rnn.hook_h"
ABLATIONS = ["zero", "mean", "position mean", "resample"]
TOKENS = torch.cat(
    [torch.zeros(5, 1, dtype=torch.int64), torch.randint(1, 20, (5, 6), generator=torch.Generator().manual_seed(0))], 1
)
LENGTHS = torch.tensor([7, 5, 7, 4, 6])
PADDED = Dataset(tokens=TOKENS * (torch.arange(7) < LENGTHS[:, None]), mask=torch.arange(7) < LENGTHS[:, None])


@torch.no_grad()
def loud(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return loud(Transformer(TransformerConfig(**SHAPE)))


def spread(output, batch):
    """One number a sequence of all its real positions, which differ as the logits do."""
    return (output[..., 3] * batch["mask"]).sum(1) - (output[..., 5] * batch["mask"]).sum(1)


def held(model, data, name, hooks=()):
    with model.hooks(fwd_hooks=list(hooks)):
        return model.run_with_cache(data.tokens, mask=data.mask, names_filter=name)[1][name]


@pytest.mark.parametrize("name", ABLATIONS)
def test_what_stands_in_is_what_the_name_says(model, name):
    """Each ablation, reckoned over again for one head from what the subject holds."""
    before, counted = held(model, PADDED, HEADS[0]), PADDED.counted
    after = held(model, PADDED, HEADS[0], ablating(model, PADDED, [(HEADS[0], 1)], ablation=name))
    assert torch.equal(after[:, :, 0], before[:, :, 0])
    assert torch.equal(after[~counted], before[~counted])
    for s, t in counted.nonzero().tolist():
        here, others = after[s, t, 1], [before[r, t, 1] for r in range(5) if r != s and counted[r, t]]
        if name == "resample":
            assert any(torch.equal(here, other) for other in others)
            continue
        expected = {
            "zero": torch.zeros(8),
            "mean": before[:, :, 1][counted].mean(0),
            "position mean": torch.stack([*others, before[s, t, 1]]).mean(0),
        }
        torch.testing.assert_close(here, expected[name], atol=1e-6, rtol=1e-5)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_line_is_the_subject_run_with_that_alone_ablated(model, name):
    table = ablate(model, PADDED, spread, HEADS, ablation=name, batch_size=7)
    assert list(table.columns) == list(ABLATION_COLUMNS)
    assert set(table["ablation"]) == {name}
    batch = PADDED.batch(slice(None))
    before = spread(run(model, batch), batch).mean().item()
    lines = table[table["variant"] == "ablation"]
    assert list(zip(lines["layer"], lines["head"], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for line in lines.itertuples():
        with model.hooks(fwd_hooks=ablating(model, PADDED, [(line.hook, line.head)], ablation=name)):
            expected = spread(run(model, batch), batch).mean().item()
        assert line.value == pytest.approx(expected, abs=1e-4)
        assert line.unablated == pytest.approx(before, abs=1e-4)
        assert line.effect == pytest.approx(expected - before, abs=1e-4)
        assert line.effect_low <= line.effect <= line.effect_high
    assert (lines["effect"].abs() > 1e-3).all()


def test_a_control_moves_every_row_as_far_and_elsewhere(model):
    """The random direction's displacement has the ablation's length at every row, in the same head alone."""
    table = ablate(model, PADDED, spread, {"one": [MLP_OUT]}, ablation="zero", n_controls=3)
    assert list(table["variant"]) == ["ablation", *["random direction"] * 3]
    assert list(table["seed"].fillna(-1)) == [-1, 0, 1, 2]
    assert table["effect"].nunique() == 4
    moved = []

    def after(value, hook):
        moved.append(value.clone())

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", after)]):
        ablate(model, PADDED, spread, {"one": [MLP_OUT]}, ablation="zero", n_controls=1, batch_size=5)
    as_it_is, ablated, control = (rows[PADDED.counted] for rows in moved[-3:])
    lengths = [(rows - as_it_is).norm(dim=-1) for rows in (ablated, control)]
    torch.testing.assert_close(*lengths, atol=1e-4, rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(ablated - as_it_is, control - as_it_is, dim=-1)
    assert cosine.abs().mean() < 0.7


@pytest.mark.parametrize("name", ["hook_pattern", "hook_attn_scores"])
def test_a_control_of_attention_lets_no_query_see_what_comes_later(model, name):
    seen = []

    def note(value, hook):
        seen.append(value.clone())

    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_z", note)]):
        ablate(model, TOKENS, spread, f"blocks.0.attn.{name}", ablation="zero", batch_size=5)
        changed = torch.cat([TOKENS[:, :4], TOKENS[:, 4:].flip(0)], 1)
        ablate(model, changed, spread, f"blocks.0.attn.{name}", ablation="zero", batch_size=5)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    for i in (-1, -3):  # of each head the ablation comes first, and then its control
        assert not torch.equal(first[i][:, 1:], first[-5][:, 1:])
        assert first[i].isfinite().all()
        torch.testing.assert_close(first[i][:, 1:4], second[i][:, 1:4])


def test_positions_and_units_have_lines_of_the_sequences_that_have_them(model):
    table = ablate(model, PADDED, spread, MLP_OUT, by=("position",), n_controls=0)
    assert list(table["position"]) == [1, 2, 3, 4, 5, 6]
    assert list(table["sequences"]) == [5, 5, 5, 4, 3, 2]
    units = ablate(model, PADDED, spread, "blocks.0.mlp.hook_post", by=("unit",), units=[3, 20], positions=[2, 3])
    assert list(units["unit"]) == [3, 3, 20, 20]
    some = torch.zeros(7, dtype=torch.bool)
    some[[2, 3]] = True
    masked = ablate(model, PADDED, spread, "blocks.0.mlp.hook_post", by=("unit",), units=[3, 20], positions=some)
    assert masked["value"].tolist() == units["value"].tolist()


def test_several_places_go_together_under_a_name(model):
    """Ablating two heads at once is their hooks side by side, not the sum of what each costs."""
    sets = {"both": [(HEADS[0], 0), (HEADS[1], 1)], "no MLP": MLP_OUT}
    table = ablate(model, PADDED, spread, sets, ablation="position mean").query("variant == 'ablation'")
    assert list(table["hook"]) == ["both", "no MLP"]
    assert table[["layer", "head", "position", "unit"]].isna().all().all()
    batch = PADDED.batch(slice(None))
    with model.hooks(fwd_hooks=ablating(model, PADDED, sets["both"], ablation="position mean")):
        assert table["value"].iloc[0] == pytest.approx(spread(run(model, batch), batch).mean().item(), abs=1e-4)


def test_batches_and_kinds_of_metric_change_no_number(model):
    whole = ablate(model, TOKENS, lambda o, b: o[:, -1, 3], HEADS, ablation="resample")
    for size, metric in ((1, lambda o, b: o[:, -1, 3]), (2, lambda o: o[:, -1, 3]), (64, lambda o: o[:, -1, 3])):
        some = ablate(model, TOKENS, metric, HEADS, ablation="resample", batch_size=size)
        assert some["value"].to_numpy() == pytest.approx(whole["value"].to_numpy(), abs=1e-5)


def test_a_metric_of_the_output_alone_is_given_all_sequences_in_their_order(model):
    weights = torch.arange(1.0, 6.0)
    of_all = ablate(model, TOKENS, lambda o: o[:, -1, 3] * weights, HEADS, batch_size=2)
    by_seq = ablate(model, TOKENS, lambda o, b: o[:, -1, 3] * weights[b["seq"]], HEADS, batch_size=2)
    assert of_all["value"].to_numpy() == pytest.approx(by_seq["value"].to_numpy(), abs=1e-5)


SOURCE = Copy().dataset(20, 10)
COPY = {name: Copy().shape[name] for name in ("d_vocab", "d_vocab_source")}


def others():
    seq2seq = loud(Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, **COPY)))
    cfg = {"n_layers": 1, "d_model": 8, "n_heads": 2, "d_mlp": 16, "n_ctx": Copy().shape["n_ctx"]}
    both = loud(EncoderDecoderTransformer(EncoderDecoderTransformerConfig(**cfg, **COPY)))
    for cell in ("gru", "lstm", "mingru"):
        yield cell, loud(Recurrent(RecurrentConfig(cell=cell, d_model=8, d_vocab=20))), PADDED, STATE
    yield "encoder", seq2seq, SOURCE, "encoder_blocks.0.rnn.hook_h"
    yield "decoder", seq2seq, SOURCE, "decoder_blocks.0.rnn.hook_h"
    yield "encoder-decoder", both, SOURCE, "encoder_blocks.0.hook_resid_post"
    once = loud(MLP(MLPConfig(d_mlp=8, d_vocab=20, d_model=4, n_ctx=7)))
    yield "perceptron", once, Dataset(tokens=TOKENS), "blocks.0.mlp.hook_post"


OTHERS = list(others())


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize(("subject", "data", "hook"), [s[1:] for s in OTHERS], ids=[s[0] for s in OTHERS])
def test_every_subject_can_be_ablated(subject, data, hook, name):
    positions = None if "mlp" in hook else [1, 2]
    table = ablate(
        subject, data, lambda o, b: o.flatten(1).square().mean(1), hook, by=(), positions=positions, ablation=name
    )
    assert list(table["variant"]) == ["ablation", "random direction"]
    assert table["effect"].abs().gt(1e-4).all()


def test_later_steps_go_on_from_what_stands_in():
    """A state that is zero at a step is a recurrence begun anew after it."""
    subject = OTHERS[0][1]
    with subject.hooks(fwd_hooks=ablating(subject, TOKENS, STATE, ablation="zero", positions=[3])):
        ablated = subject(TOKENS)
    torch.testing.assert_close(ablated[:, 4:], subject(TOKENS[:, 4:]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ablated[:, :3], subject(TOKENS)[:, :3], atol=1e-6, rtol=1e-5)


def test_the_reference_is_what_means_are_over(model):
    far = TOKENS.flip(0)[:3].roll(1, 1)
    far[:, 0] = 0
    after = held(model, PADDED, MLP_OUT, ablating(model, PADDED, MLP_OUT, reference=far))
    expected = held(model, Dataset(tokens=far), MLP_OUT)[:, 1:].flatten(0, 1).mean(0)
    torch.testing.assert_close(after[PADDED.counted], expected.expand(24, -1), atol=1e-6, rtol=1e-5)


def test_the_loss_of_the_targets_in_three_lines(model):
    table = ablate(model, PADDED, TargetLoss(), HEADS)
    assert table["value"].gt(0).all()
    assert model(PADDED.tokens, mask=PADDED.mask, return_type="loss") > 0


def test_what_cannot_be_done_is_one_sentence_and_the_subject_is_left_as_it_was(model):
    model.train()
    for message, change in {
        "did you mean": {"hooks": "blocks.0.attn.hook_zz"},
        "no hook was named": {"hooks": []},
        "no set of places": {"hooks": {}},
        "nothing to ablate": {"hooks": {"none": []}},
        "has no heads": {"hooks": MLP_OUT},
        "has no head 2": {"heads": [2]},
        "has no unit 8": {"units": [8]},
        "no position 7": {"positions": [7]},
        "no position was chosen": {"positions": []},
        "nothing but BOS": {"positions": [0]},
        "by has 'neuron'": {"by": ("neuron",)},
        "no other sequence to resample": {"data": TOKENS[:1], "ablation": "resample"},
        "nothing to take its mean over": {"ablation": "position mean", "reference": TOKENS[:, :4]},
        "must give a tensor": {"metric": lambda output: output.sum()},
        "must give a number": {"metric": lambda output: output[:, 0, 0] / 0},
    }.items():
        given = {"data": PADDED, "metric": spread, "hooks": HEADS} | change
        with pytest.raises(ValueError, match=message):
            ablate(model, **given)
    alone = Dataset(tokens=TOKENS[:2], mask=torch.arange(7) < torch.tensor([7, 5])[:, None])
    with pytest.raises(ValueError, match="real in no other sequence"):
        ablate(model, alone, spread, HEADS, ablation="resample")
    assert model.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    model.eval()


def test_an_unknown_ablation_names_those_there_are(model, as_in_a_script):
    with pytest.raises(ValueError, match="there are zero, mean, position mean, resample"):
        ablate(model, PADDED, spread, HEADS, ablation="median")
