"""Attribution patching is exact where the subject is linear, and patching's first order where it is not."""

import math

import pytest
import torch
from transformer_lens.tools.analysis.attribution_patching import cache_activation_and_gradient

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from workbench.interventions.agreement import agreement
from workbench.interventions.attribution import ATTRIBUTION_COLUMNS, attribution_patching
from workbench.interventions.metrics import TargetLoss
from workbench.interventions.patching import activation_patching
from workbench.interventions.path_patching import path_patching

SHAPE = {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_ctx": 8, "d_vocab": 20, "d_mlp": 24}
RESID = [f"blocks.{layer}.hook_resid_post" for layer in range(2)]
HEADS = [f"blocks.{layer}.attn.hook_z" for layer in range(2)]
STATE = "blocks.0.rnn.hook_h"


@torch.no_grad()
def loud(model, scale=0.4):
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * scale
        parameter.copy_(noise + 1 if name.endswith(".w") else noise)
    return model.eval()


def transformer(**more):
    return loud(Transformer(TransformerConfig(**(SHAPE | more))))


def prompts(seed, n=3, pos=6):
    tokens = torch.randint(1, 20, (n, pos), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


CLEAN, CORRUPT = prompts(1), prompts(2)


def metric(output, batch=None):
    return output[:, -1, 5] - output[:, -1, 7]


def of_batch(output, batch):
    return metric(output)


def patched(model, clean, corrupt, hook, where):
    """The metric, by hand: the clean run's values where a mask `[pos, …]` says so."""
    values = model.run_with_cache(clean, names_filter=hook)[1][hook]

    def put(value, hook):
        if "t" in hook.ctx:
            at = hook.ctx["t"]
            return torch.where(where[at], values[:, at : at + 1], value)
        return torch.where(where, values, value)

    with torch.no_grad():
        return metric(model.run_with_hooks(corrupt, fwd_hooks=[(hook, put)]))


def test_it_is_exact_where_what_follows_is_linear():
    """After the last block, without a norm, the logits are linear in everything that is added to the stream."""
    model = transformer(normalization_type=None, attn_only=True, dtype=torch.float64)
    found = attribution_patching(model, CLEAN, CORRUPT, metric, HEADS[1], by=("position", "head"))
    lines = found[found["variant"] == "attribution"]
    assert len(lines) == 2 * 5
    assert (lines.loc[lines["position"] == 5, "effect"].abs() > 1e-3).all()
    for line in lines.itertuples():
        where = torch.zeros(6, 2, 8, dtype=torch.bool)
        where[line.position, line.head] = True
        expected = patched(model, CLEAN, CORRUPT, HEADS[1], where).mean().item()
        assert line.value == pytest.approx(expected, abs=1e-9)
        assert line.effect == pytest.approx((expected - line.corrupt) / (line.clean - line.corrupt), abs=1e-9)


def linear_recurrent():
    """A recurrence h ← W h + x: so small that tanh is the identity."""
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=8, d_in=3, d_out=8, dtype=torch.float64))
    loud(model, 0.3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or name.split(".")[-1].startswith("b"):
                parameter.zero_()
    return model


def test_a_step_of_a_linear_recurrence_is_exact_through_all_later_steps():
    model = linear_recurrent()
    generator = torch.Generator().manual_seed(0)
    clean, corrupt = (1e-5 * torch.randn(3, 6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    found = attribution_patching(model, Dataset(tokens=clean), Dataset(tokens=corrupt), metric, STATE)
    lines = found[found["variant"] == "attribution"].set_index("position")
    assert list(lines.index) == list(range(6))
    assert lines.loc[5, "effect"] == pytest.approx(1, abs=1e-6)  # the last state is all that is read
    for step, line in lines.iterrows():
        expected = patched(model, clean, corrupt, STATE, torch.arange(6) == step).mean().item()
        share = (expected - line["corrupt"]) / (line["clean"] - line["corrupt"])
        assert line["effect"] == pytest.approx(share, abs=1e-6)
        assert abs(line["effect"]) > 1e-4


@pytest.mark.parametrize("cell", ["gru", "lstm", "mingru"])
def test_several_steps_of_a_recurrence_are_not_asked_for_at_once(cell):
    model = loud(Recurrent(RecurrentConfig(cell=cell, d_model=8, d_vocab=20)))
    with pytest.raises(ValueError, match="one gradient cannot say"):
        attribution_patching(model, CLEAN, CORRUPT, metric, STATE, by=("unit",))
    found = attribution_patching(model, CLEAN, CORRUPT, metric, STATE, by=("position", "unit"), steps=2)
    assert len(found) == 5 * 8 * 2
    assert found["value"].notna().all()


@pytest.mark.parametrize("hook", [*RESID, *HEADS, "blocks.0.mlp.hook_post", "blocks.1.attn.hook_pattern"])
def test_a_small_step_towards_the_clean_run_moves_the_metric_as_estimated(hook):
    model = transformer(dtype=torch.float64)
    found = attribution_patching(model, CLEAN, CORRUPT, metric, hook, n_controls=0)
    values = [model.run_with_cache(tokens, names_filter=hook)[1][hook] for tokens in (CLEAN, CORRUPT)]
    for line in found.itertuples():

        def moved(amount, position=line.position):
            def put(value, hook):
                value = value.clone()
                axis = 2 if "pattern" in hook.name else 1
                at = (slice(None),) * axis + (position,)
                value[at] += amount * (values[0] - values[1])[at]
                return value

            with torch.no_grad():
                return metric(model.run_with_hooks(CORRUPT, fwd_hooks=[(hook, put)])).mean().item()

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        assert line.value - line.corrupt == pytest.approx(slope, abs=1e-6)


def test_integrated_gradients_add_up_to_the_whole_gap():
    """Completeness: all that the output hears of goes through the stream (BOS is the same in both)."""
    model = transformer(dtype=torch.float64, act_fn="gelu")
    one, many = (
        attribution_patching(model, CLEAN, CORRUPT, metric, RESID[0], by=by, steps=50, n_controls=0, bos=True)
        for by in ((), ("position",))
    )
    assert one["effect"].sum() == pytest.approx(1, abs=2e-3)
    assert many["effect"].sum() == pytest.approx(1, abs=2e-3)
    assert set(many["variant"]) == {"integrated gradients"}
    at_once = attribution_patching(model, CLEAN, CORRUPT, metric, RESID[0], n_controls=0)["effect"].sum()
    assert abs(at_once - 1) > 0.02  # which the gradient at the corrupt run alone does not


def test_everything_is_two_runs_and_one_pass_back(monkeypatch):
    model = transformer()
    runs, backs = [], []  # but for one sequence, run to see what stands at the hooks
    forward, grad = model.forward, torch.autograd.grad
    monkeypatch.setattr("workbench.interventions.gradients.run", lambda m, b: runs.append(1) or forward(b["input"]))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backs.append(1) or grad(*a, **k))
    hooks = [name for name in model.match_hooks(None) if "hook" in name and "scores" not in name]
    found = attribution_patching(model, CLEAN, CORRUPT, metric, hooks)
    assert found["hook"].nunique() == len(hooks) > 20
    assert (len(runs), len(backs)) == (2, 1)


def test_transformer_lens_has_the_same_gradients():
    model = transformer()
    names = [*RESID, *HEADS, "blocks.0.hook_mlp_out"]
    clean, corrupt = (
        cache_activation_and_gradient(model, tokens, lambda logits: metric(logits).sum(), names_filter=names)
        for tokens in (CLEAN, CORRUPT)
    )
    for name in names:
        change = clean.activations[name] - corrupt.activations[name]
        theirs = (change * corrupt.gradients[name]).flatten(2).sum(2).mean(0)
        ours = attribution_patching(model, CLEAN, CORRUPT, metric, name, n_controls=0, bos=True)
        estimate = torch.tensor((ours["value"] - ours["corrupt"]).to_numpy())
        torch.testing.assert_close(estimate.float(), theirs.detach(), atol=2e-5, rtol=1e-4)


def test_units_heads_and_positions_add_up_and_controls_move_as_far():
    model = transformer()
    whole = attribution_patching(model, CLEAN, CORRUPT, of_batch, HEADS, by=(), batch_size=2)
    assert list(whole.columns) == list(ATTRIBUTION_COLUMNS)
    for by in (("head",), ("unit",), ("position", "head", "unit")):
        parts = attribution_patching(model, CLEAN, CORRUPT, of_batch, HEADS, by=by)
        for variant in ("attribution", "random direction"):
            sums, wholes = (t[t["variant"] == variant].groupby("hook")["effect"].sum() for t in (parts, whole))
            assert sums.to_numpy() == pytest.approx(wholes.to_numpy(), abs=1e-4)
    some = attribution_patching(model, CLEAN, CORRUPT, of_batch, HEADS, by=("head", "unit"), heads=[1], units=[2, 3])
    assert set(some["head"]) == {1}
    assert set(some["unit"]) == {2, 3}


def test_agreement_is_one_with_itself_and_its_controls_are_not():
    model = transformer()
    found = attribution_patching(model, CLEAN, CORRUPT, metric, HEADS, by=("position", "head"), n_controls=1)
    true = found[found["variant"] == "attribution"].assign(variant="patch")
    said = agreement(found, true)
    ours, control = (said[said["variant"] == v] for v in ("attribution", "random direction"))
    assert ours["pearson"].to_numpy() == pytest.approx(1)
    assert ours["spearman"].to_numpy() == pytest.approx(1)
    assert list(ours["lines"]) == [20, 10, 10]
    assert (control["pearson"] < 0.95).all()
    with pytest.raises(ValueError, match="no part in common"):
        agreement(found, true.assign(hook="elsewhere"))


def test_a_metric_of_all_sequences_in_order_is_the_same_in_any_batches():
    model = transformer(dtype=torch.float64)

    def in_order(output):
        return (output[:, -1, 5].flip(0) - output[:, -1, 7]) * torch.arange(1, 1 + len(output))

    found = [
        attribution_patching(model, CLEAN, CORRUPT, in_order, [*RESID, HEADS[0]], batch_size=size) for size in (64, 2)
    ]
    for column in ("value", "effect", "clean", "corrupt"):
        torch.testing.assert_close(*(torch.tensor(table[column].to_numpy()) for table in found))
    assert (found[0]["effect"].abs() > 1e-3).any()


def test_every_run_is_asked_what_the_clean_one_is():
    """Next tokens of pairs differ: patching, its estimate and paths measure the loss of the clean ones alike."""
    model = transformer()
    args, more = (model, CLEAN, CORRUPT, TargetLoss()), {"n_controls": 0, "batch_size": 2}
    tables = [
        activation_patching(*args, RESID[:1], **more),
        attribution_patching(*args, RESID[:1], **more),
        path_patching(*args, ["hook_embed"], [RESID[1]], **more),
    ]
    asked = CLEAN[:, 1:].flatten()
    for name, tokens in (("clean", CLEAN), ("corrupt", CORRUPT)):
        expected = torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), asked).item()
        for table in tables:
            assert table[name].iloc[0] == pytest.approx(expected, abs=1e-5)


def test_the_subject_is_left_as_it_was_whatever_happens():
    model = transformer().train()
    attribution_patching(model, CLEAN, CORRUPT, metric, RESID)
    for failing in (lambda output: output[:, -1, 5] / 0 * 0, lambda output: output.sum()):
        with pytest.raises(ValueError, match="must give"):
            attribution_patching(model, CLEAN, CORRUPT, failing, RESID)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())
    with torch.inference_mode():
        assert math.isfinite(attribution_patching(model, CLEAN, CORRUPT, metric, RESID)["effect"].sum())


def test_what_cannot_be_done_is_one_sentence():
    model = transformer()
    args = (model, CLEAN, CORRUPT, metric)
    with pytest.raises(ValueError, match="did you mean"):
        attribution_patching(*args, "blocks.0.attn.hook_zz")
    with pytest.raises(ValueError, match="has no heads"):
        attribution_patching(*args, RESID, by=("head",))
    with pytest.raises(ValueError, match="no position 9"):
        attribution_patching(*args, RESID, positions=[9])
    with pytest.raises(ValueError, match="no gap"):
        attribution_patching(model, CLEAN, CLEAN, metric, RESID)
    with pytest.raises(ValueError, match="positions, not the same"):
        attribution_patching(model, CLEAN, CORRUPT[:, :5], metric, RESID)
    with pytest.raises(ValueError, match="raise batch_size"):
        attribution_patching(model, CLEAN, CORRUPT, lambda output: metric(output), RESID, batch_size=2, steps=2)
    with pytest.raises(ValueError, match="no gradient"):
        attribution_patching(model, CLEAN, CORRUPT, lambda output: metric(output).detach(), RESID)
