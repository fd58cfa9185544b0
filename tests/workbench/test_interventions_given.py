"""What interventions are given is read in one way by all of them, and what cannot be is said before anything is run."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.spiking import integrator
from workbench.circuits import edge_attribution, feature_circuit
from workbench.circuits.feature_nodes import Neurons
from workbench.interventions import (
    TunedLens,
    ablate,
    activation_patching,
    attribution_patching,
    direct_logit_attribution,
    edit_at,
    fit_rotation,
    logit_lens,
    path_patching,
)
from workbench.interventions.edits import add
from workbench.interventions.metrics import LogitDifference, TargetLoss
from workbench.interventions.pairs import aligned
from workbench.interventions.subspace import Subspace

Z, RESID = "blocks.0.attn.hook_z", "blocks.0.hook_resid_pre"
PATTERN, SCORES = "blocks.0.attn.hook_pattern", "blocks.0.attn.hook_attn_scores"


def tokens(n, seed, length=6):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(1, 9, (n, length), generator=generator)
    return torch.cat([torch.zeros(n, 1, dtype=torch.int64), drawn], 1)


CLEAN, CORRUPT = tokens(4, 0), tokens(4, 1)
ANSWER, WRONG = torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6, 7, 8])


@torch.no_grad()
def loud(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return model.eval()


def transformer(**how):
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_ctx": 12, "d_vocab": 9, "d_mlp": 12}
    return loud(Transformer(TransformerConfig(**shape | how)))


@pytest.fixture(scope="module")
def model():
    return transformer()


def patch(model, **how):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "metric": TargetLoss(), "hooks": Z, "by": (), "n_controls": 1} | how
    return activation_patching(model, **given)


def attribute(model, **how):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "metric": TargetLoss(), "hooks": Z, "by": (), "n_controls": 1} | how
    return attribution_patching(model, **given)


def take_out(model, **how):
    given = {"data": CLEAN, "metric": TargetLoss(), "hooks": Z, "by": (), "n_controls": 1} | how
    return ablate(model, **given)


def patch_paths(model, **how):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "metric": TargetLoss(), "n_controls": 0} | how
    return path_patching(model, **given, senders=["hook_embed"], receivers=["blocks.1.hook_resid_post"])


EVERY = {"patching": patch, "attribution": attribute, "ablation": take_out, "paths": patch_paths}
OF_ROWS = {name: EVERY[name] for name in ("patching", "attribution", "ablation")}


def numbers(table):
    return table[["value", "effect"]].to_numpy(float)


@pytest.mark.parametrize("analyse", EVERY.values(), ids=EVERY)
def test_positions_are_named_alike_everywhere(model, analyse, as_in_a_script):
    mask = torch.tensor([False, False, True, False, True, False, False])
    expected = numbers(analyse(model, positions=[2, 4]))
    for same in (range(2, 5, 2), (np.int64(2), 4), torch.tensor([4, 2]), np.array([2, 4]), mask, mask.expand(4, 7)):
        assert np.array_equal(numbers(analyse(model, positions=same)), expected)
    one = numbers(analyse(model, positions=2))
    assert np.array_equal(one, numbers(analyse(model, positions=[2])))
    assert not np.array_equal(one, expected)
    for wrong, said in ((7, "no position 7"), ([-1], "no position -1"), ([0.5], "whole numbers"), ([], "at least one")):
        with pytest.raises(ValueError, match=said):
            analyse(model, positions=wrong)


@pytest.mark.parametrize("analyse", OF_ROWS.values(), ids=OF_ROWS)
def test_parts_are_named_alike_everywhere(model, analyse, as_in_a_script):
    for name in ("position", "head", "unit"):
        assert np.array_equal(numbers(analyse(model, by=name)), numbers(analyse(model, by=(name,))))
    expected = numbers(analyse(model, heads=[1]))
    for same in (np.array([1]), torch.tensor([1]), range(1, 2)):
        assert np.array_equal(numbers(analyse(model, heads=same)), expected)
    for wrong in ([0.7], ["0"], 1):
        with pytest.raises(ValueError, match="whole numbers"):
            analyse(model, heads=wrong)


def test_what_is_told_apart_may_be_named_by_itself(model):
    pieces = {RESID: Neurons(8)}
    for analyse in (
        partial(logit_lens, model, CLEAN),
        partial(direct_logit_attribution, model, CLEAN, 1),
        partial(feature_circuit, model, CLEAN, CORRUPT, TargetLoss(), pieces),
    ):
        pd.testing.assert_frame_equal(analyse(by="position"), analyse(by=("position",)))
        with pytest.raises(ValueError, match="by has 'token'"):
            analyse(by=("token",))


@pytest.mark.parametrize("analyse", EVERY.values(), ids=EVERY)
def test_what_cannot_be_is_said_before_anything_is_run(analyse, as_in_a_script):
    model, runs = transformer(), []
    model.add_hook("hook_embed", lambda value, hook: runs.append(1))
    for how, said in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"n_controls": -1}, "n_controls is -1"),
        ({"metric": "loss"}, "metric is 'loss'"),
        ({"metric": None}, "metric is None"),
    ):
        with pytest.raises(ValueError, match=said):
            analyse(model, **how)
    with pytest.raises(TypeError, match="seed is 'x'"):
        analyse(model, seed="x")
    assert not runs


TAKING = {
    "patching": lambda model, given: patch(model, clean=given, corrupt=given),
    "ablation": lambda model, given: take_out(model, data=given),
    "lens": lambda model, given: logit_lens(model, given),
    "logit attribution": lambda model, given: direct_logit_attribution(model, given, 1),
}


@pytest.mark.parametrize("analyse", TAKING.values(), ids=TAKING)
def test_what_are_no_sequences_is_said(model, analyse, as_in_a_script):
    for given, said in (
        ("abc", "not a str"),
        ([[0, 1]], "not a list"),
        (torch.tensor([0, 1, 2]), r"not \[3\]"),
        (CLEAN[:0], "there are no sequences"),
    ):
        with pytest.raises(ValueError, match=said):
            analyse(model, given)


def test_a_place_has_no_more_parts_than_there_are(model, as_in_a_script):
    for place in ((Z, 0, 1, 2, 3), (Z, 0.5), (Z, "0")):
        with pytest.raises(ValueError, match="is no place"):
            take_out(model, hooks={"one": [place]})
    for place in (("hook_embed", None, 1), ("blocks.0.attn.hook_result", 0.5)):
        with pytest.raises(ValueError, match="no sender or receiver"):
            path_patching(model, CLEAN, CORRUPT, TargetLoss(), [place], ["blocks.1.hook_resid_post"])


def test_logit_differences_count_from_the_end_too(model):
    """Where a run is taken up in the middle as where it is made anew: −1 is the last of all positions."""
    metrics = [LogitDifference(ANSWER, WRONG, torch.full((4,), at)) for at in (-1, 6, -3, 4)]
    last, same, third, same_third = (patch(model, metric=m, hooks=RESID, by=("position",)) for m in metrics)
    assert np.array_equal(numbers(last), numbers(same))
    assert np.array_equal(numbers(third), numbers(same_third))
    assert np.abs(last["effect"]).max() > 0.1
    with model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: None)]):  # runs are made anew
        np.testing.assert_allclose(
            numbers(patch(model, metric=metrics[0], hooks=RESID, by=("position",))), numbers(last), atol=1e-5
        )


def test_a_logit_difference_that_is_not_there_is_said(model):
    for wrong, said in (
        (LogitDifference(ANSWER, WRONG, torch.full((4,), 7)), "outputs have 0 to 6"),
        (LogitDifference(ANSWER, WRONG, torch.full((4,), -8)), "outputs have 0 to 6"),
        (LogitDifference(ANSWER[:2], WRONG[:2], torch.full((2,), 6)), "is of 2 sequences"),
        (LogitDifference(ANSWER + 5, WRONG, torch.full((4,), 6)), "numbered 0 to 8"),
    ):
        with pytest.raises(ValueError, match=said):
            patch(model, metric=wrong)


def test_a_kind_of_logit_difference_is_called_as_it_is(model):
    class Tenfold(LogitDifference):
        def __call__(self, output, batch):
            return 10 * super().__call__(output, batch)

    position = torch.full((4,), 6)
    plain, tenfold = (patch(model, metric=m(ANSWER, WRONG, position), hooks=RESID) for m in (LogitDifference, Tenfold))
    np.testing.assert_allclose(tenfold["value"], 10 * plain["value"], rtol=1e-4)
    np.testing.assert_allclose(tenfold["effect"], plain["effect"], rtol=1e-4)


def test_pairs_may_be_padded_differently(model):
    lengths = torch.tensor([5, 4, 5, 3])
    sets = []
    for seed, width in ((0, 9), (1, 6)):
        real = torch.arange(width) < lengths[:, None]
        sets.append(Dataset(tokens=tokens(4, seed, width - 1) * real, mask=real))
    clean, corrupt = aligned(*sets)
    assert clean.mask.equal(corrupt.mask)
    assert clean.tokens.shape == (4, 5)
    alike = [Dataset(tokens=data.tokens[:, :5], mask=data.mask[:, :5]) for data in sets]
    assert np.array_equal(
        numbers(patch(model, clean=sets[0], corrupt=sets[1])), numbers(patch(model, clean=alike[0], corrupt=alike[1]))
    )


@pytest.mark.parametrize("analyse", OF_ROWS.values(), ids=OF_ROWS)
def test_a_row_of_one_number_has_no_random_direction(analyse):
    narrow = loud(Recurrent(RecurrentConfig(cell="rnn", d_model=1, d_vocab=9)))
    for model, hook, variants in ((narrow, "blocks.0.hook_out", 1), (transformer(), RESID, 2)):
        table = analyse(model, hooks=hook, by=("position",))
        assert table["variant"].nunique() == variants


@pytest.mark.parametrize("hook", [PATTERN, SCORES])
@pytest.mark.parametrize("ablation", ["zero", "mean", "position mean", "resample"])
def test_ablated_attention_sees_no_later_key(model, hook, ablation):
    """Whatever comes after a position, the metric there is the same, of the ablation and of its control."""
    later = CLEAN.clone()
    later[:, 4:] = later[:, 4:] % 8 + 1
    how = {"metric": lambda output: output[:, 3, 0], "hooks": hook, "ablation": ablation, "reference": CORRUPT}
    first, second = (take_out(model, data=data, **how) for data in (CLEAN, later))
    np.testing.assert_allclose(numbers(first), numbers(second), atol=1e-5)
    assert np.isfinite(numbers(first)).all()
    assert np.abs(first["effect"]).min() > 1e-5


@pytest.mark.parametrize("hook", [PATTERN, SCORES])
def test_what_is_masked_by_the_least_number_is_masked(model, hook):
    """As scores are in some models of the hub, rather than with −∞."""
    least = torch.finfo(torch.float32).min
    expected = take_out(model, hooks=hook, ablation="mean", bos=True)
    with model.hooks(fwd_hooks=[(SCORES, lambda value, hook: value.clamp(min=least))]):
        found = take_out(model, hooks=hook, ablation="mean", bos=True)
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-5)


def test_without_scores_a_head_looks_alike_at_all_it_sees(model):
    seen = []
    with model.hooks(fwd_hooks=[(PATTERN, lambda value, hook: seen.append(value[-4:]))]):
        take_out(model, hooks=SCORES, ablation="zero", bos=True, n_controls=0, by=())
    uniform = torch.ones(7, 7).tril() / torch.arange(1, 8)[:, None]
    torch.testing.assert_close(seen[-1], uniform.expand(4, 2, 7, 7))


@pytest.mark.parametrize("ablation", ["mean", "position mean", "resample"])
def test_a_reference_has_as_many_keys(model, ablation):
    with pytest.raises(ValueError, match="is of 7 keys, but of 5 in the reference"):
        take_out(model, hooks=PATTERN, ablation=ablation, reference=CORRUPT[:, :5], positions=[1, 2])


@pytest.mark.parametrize("hook", [PATTERN, SCORES])
@pytest.mark.parametrize("by", [(), ("unit",)])
def test_attribution_to_attention_sees_no_later_key(model, hook, by):
    """At the first two positions nothing differs, and whatever a control does, it does to keys that are seen."""
    clean, corrupt = CLEAN.clone(), CORRUPT.clone()
    clean[:, 1] = corrupt[:, 1]
    later = clean.clone()
    later[:, 4:] = later[:, 4:] % 8 + 1
    how = {"corrupt": corrupt, "metric": lambda output: output[:, 3, 0], "hooks": hook, "by": by, "n_controls": 3}
    first, second = (attribute(model, clean=data, **how) for data in (clean, later))
    units = first["unit"].isna() | (first["unit"] < 4)
    np.testing.assert_allclose(numbers(first)[units], numbers(second)[units], atol=1e-5)
    assert np.abs(first.loc[first["variant"] == "random direction", "effect"]).max() > 1e-3


def test_a_gap_is_looked_for_before_gradients(model):
    backward = []
    with (
        model.hooks(bwd_hooks=[("hook_embed", lambda value, hook: backward.append(1))]),
        pytest.raises(ValueError, match="no gap"),
    ):
        attribute(model, corrupt=CLEAN, steps=3)
    assert not backward


def test_a_subject_without_gradients_is_named():
    generator = torch.Generator().manual_seed(0)
    rates = [Dataset(tokens=torch.rand(3, 6, 1, generator=generator)) for _ in range(2)]
    subject = integrator(20)
    hook = next(iter(subject.hook_dict))
    with pytest.raises(ValueError, match="no gradient leads from .* to the output of this SpikingNetwork"):
        attribute(
            subject, clean=rates[0], corrupt=rates[1], hooks=hook, by=("position",), metric=lambda o: o.sum((1, 2))
        )


def test_double_precision_stays_within_a_subspace():
    model = transformer(dtype=torch.float64)
    metric = LogitDifference(ANSWER, WRONG, torch.full((4,), 6))
    whole = Subspace.along(torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q)
    line = patch(model, metric=metric, hooks=RESID, within=whole, bos=True, n_controls=0).iloc[0]
    assert line["value"] == pytest.approx(line["clean"], abs=1e-12)


def test_an_edit_that_makes_no_number_is_said(model):
    far = add(Subspace.along(torch.ones(8)), 1e39)
    with (
        pytest.raises(ValueError, match=f"NaN or infinite values at {RESID}"),
        model.hooks(fwd_hooks=edit_at(model, CLEAN, RESID, far)),
    ):
        model(CLEAN)


def test_parts_of_half_precision_sum_to_the_logit_or_are_refused():
    model = transformer(dtype=torch.bfloat16)
    table = direct_logit_attribution(model, CLEAN, 1, 2, n_controls=0)
    assert table["value"].sum() == pytest.approx(table["logit"].iloc[0], abs=0.05 * table["value"].abs().sum())
    writer = 30 * torch.randn(8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    with (
        model.hooks(fwd_hooks=[("blocks.0.hook_resid_mid", lambda value, hook: value + writer)]),
        pytest.raises(ValueError, match="something else writes"),
    ):
        direct_logit_attribution(model, CLEAN, 1, 2, n_controls=0)


def test_directions_and_slopes_are_found_whatever_the_caller_has_said(model):
    """Under `no_grad` and in inference mode as outside of them."""
    targets = torch.where(torch.arange(7) == 6, CORRUPT, -100)
    pieces = {RESID: Neurons(8)}

    def found():
        return [
            fit_rotation(model, CLEAN, CORRUPT, targets, RESID, 2, n_steps=2, n_controls=0).subspace.write,
            TunedLens.fit(model, CLEAN, n_steps=2).A,
            torch.tensor(numbers(attribute(model))),
            torch.tensor(edge_attribution(model, CLEAN, CORRUPT, TargetLoss(), n_controls=0)["score"]),
            torch.tensor(feature_circuit(model, CLEAN, CORRUPT, TargetLoss(), pieces, n_controls=0)["effect"]),
        ]

    expected = found()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            same = found()
        for ours, theirs in zip(same, expected, strict=True):
            assert ours.equal(theirs)
    assert all(each.any() for each in expected)
