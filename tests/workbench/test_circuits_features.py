"""Latents as nodes of a circuit: exact where a dictionary is the neurons themselves, and nothing lost with errors."""

import numpy as np
import pandas as pd
import pytest
import torch

from models import Recurrent, RecurrentConfig, Transformer, TransformerConfig
from tests.small_saes import small_sae
from workbench.circuits import Neurons, feature_circuit, feature_edges, feature_faithfulness
from workbench.sae import SAEConfig, build_sae

V, D = 11, 8
FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"


def small_model(**changes):
    shape = {"n_layers": 3, "d_model": D, "n_heads": 2, "n_ctx": 10, "d_vocab": V, "seed": 3, "initializer_range": 0.5}
    return Transformer(TransformerConfig(**(shape | changes))).eval()


def tokens(n=4, seed=0):
    drawn = torch.randint(1, V, (n, 6), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn


def gap(output):
    return output[:, -1, 1] - output[:, -1, 2]


def gap_of_batch(output, batch):
    return gap(output)


def saes():
    return {FIRST: small_sae("topk", hook_name=FIRST), SECOND: small_sae("standard", hook_name=SECOND)}


def two_sided():
    """A dictionary that leaves nothing out: a latent for each coordinate, and one for its opposite."""
    sae = build_sae(SAEConfig(d_in=D, d_sae=2 * D, architecture="standard", hook_name=FIRST))
    eye = torch.cat([torch.eye(D), -torch.eye(D)])
    with torch.no_grad():
        sae.W_dec.copy_(eye)
        sae.W_enc.copy_(eye.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae


def ours(table):
    return table[table["seed"].isna()]


def by_unit(table, hook=FIRST):
    of = ours(table)
    of = of[of["hook"] == hook]
    return dict(zip(of["unit"].fillna(-1).astype(int), of["effect"], strict=True))


def gradient_at(model, data, hook):
    kept = []
    with model.hooks([(hook, lambda value, hook: kept.append(value))]):
        (slope,) = torch.autograd.grad(gap(model(data)).sum(), kept)
    return kept[0].detach(), slope


@pytest.mark.parametrize("ablation", ["zero", "mean", "position mean", "resample"])
def test_with_neurons_for_a_dictionary_it_is_the_attribution_of_neurons_and_no_error(ablation):
    model, data, other = small_model(), tokens(), tokens(seed=1)
    x, slope = gradient_at(model, data, FIRST)
    y, _ = gradient_at(model, other, FIRST)
    means = {"mean": y[:, 1:].mean((0, 1)), "position mean": y.mean(0), "zero": torch.zeros(D), "resample": y}
    expected = ((means[ablation] - x) * slope)[:, 1:].sum(1).mean(0)
    found = by_unit(feature_circuit(model, data, other, gap, {FIRST: Neurons(D)}, ablation=ablation))
    assert found.pop(-1) == 0
    assert [found[unit] for unit in range(D)] == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_dictionary_that_leaves_nothing_out_splits_each_neuron_by_its_sign():
    model, data = small_model(), tokens()
    latents = by_unit(feature_circuit(model, data, None, gap, {FIRST: two_sided()}))
    neurons = by_unit(feature_circuit(model, data, None, gap, {FIRST: Neurons(D)}))
    assert latents.pop(-1) == pytest.approx(0, abs=1e-6)
    for unit in range(D):
        assert latents.get(unit, 0) + latents.get(unit + D, 0) == pytest.approx(neurons[unit], abs=1e-6)


def test_effects_of_all_nodes_and_the_error_are_that_of_the_whole_row():
    model, data, other = small_model(), tokens(), tokens(seed=1)
    table = feature_circuit(model, data, other, gap, saes(), ablation="resample")
    for hook in (FIRST, SECOND):
        x, slope = gradient_at(model, data, hook)
        y, _ = gradient_at(model, other, hook)
        whole = ((y - x) * slope)[:, 1:].sum((1, 2)).mean()
        assert sum(by_unit(table, hook).values()) == pytest.approx(float(whole), abs=1e-5)
        assert abs(by_unit(table, hook)[-1]) > 1e-3


def test_integrated_over_many_steps_the_effects_sum_up_to_what_ablating_everything_does():
    model, data = small_model(normalization_type=None), tokens()
    sae = saes()[FIRST]
    table = feature_circuit(model, data, None, gap, {FIRST: sae}, steps=64)
    one = feature_circuit(model, data, None, gap, {FIRST: sae})

    def nothing(value, hook):
        value = value.clone()
        value[:, 1:] = sae.b_dec
        return value

    with torch.no_grad():
        change = gap(model.run_with_hooks(data, fwd_hooks=[(FIRST, nothing)])) - gap(model(data))
    assert ours(table)["effect"].sum() == pytest.approx(float(change.mean()), rel=0.02)
    assert ours(one)["effect"].sum() != pytest.approx(float(change.mean()), rel=0.05)
    assert set(ours(table)["variant"]) == {"integrated gradients"}


def test_by_position_the_same_effects_each_where_it_is():
    model, data = small_model(), tokens()

    def effects(**how):
        table = ours(feature_circuit(model, data, None, gap, saes(), **how))
        return table.assign(unit=table["unit"].fillna(-1).astype(int))

    split = effects(by=("position",))
    assert split["position"].min() == 1  # BOS is none of it
    summed = split.groupby(["hook", "unit"])["effect"].sum()
    whole = effects().set_index(["hook", "unit"])["effect"]
    assert summed.to_dict() == pytest.approx(whole.to_dict(), abs=1e-6)
    alone = split[split["position"] == 2].set_index(["hook", "unit"])["effect"]
    assert effects(at=2).set_index(["hook", "unit"])["effect"].to_dict() == pytest.approx(alone.to_dict(), abs=1e-6)


def test_what_a_node_passes_to_all_nodes_of_the_next_stream_is_its_own_effect():
    model, data, other = small_model(), tokens(), tokens(seed=1)
    nodes = feature_circuit(model, data, other, gap, saes(), ablation="resample")
    edges = feature_edges(model, data, other, gap, saes(), nodes, ablation="resample", most=100)
    passed = ours(edges).assign(from_unit=ours(edges)["from_unit"].fillna(-1)).groupby("from_unit")["effect"].sum()
    effects = by_unit(nodes)
    assert len(passed) == len(effects)
    for unit, effect in effects.items():
        assert passed[unit] == pytest.approx(effect, abs=1e-5)
    control = edges[edges["variant"] == "random edges"]["effect"]
    assert np.sort(control) == pytest.approx(np.sort(ours(edges)["effect"]))


def test_an_edge_leaves_out_what_goes_by_way_of_hooks_in_between():
    model, data = small_model(normalization_type=None, attn_only=True), tokens()
    middle, last = SECOND, "blocks.2.hook_resid_pre"
    dictionaries = {FIRST: Neurons(D), middle: Neurons(D), "blocks.2.hook_resid_post": Neurons(D)}
    nodes = feature_circuit(model, data, None, gap, dictionaries)
    edges = ours(feature_edges(model, data, None, gap, dictionaries, nodes, most=4))
    past = edges[(edges["from_hook"] == FIRST) & (edges["to_hook"] == "blocks.2.hook_resid_post")]
    assert len(past) == 16
    assert (past["effect"] == 0).all(), "every way leads through the stream in between"
    assert edges[edges["from_hook"] == middle]["effect"].abs().max() > 1e-3
    assert last in model.hook_dict


def test_kept_nodes_keep_the_behaviour_and_no_nodes_none():
    model, data = small_model(), tokens()
    nodes = feature_circuit(model, data, None, gap, saes())
    table = feature_faithfulness(model, data, None, gap, saes(), nodes, [0, 5, 1000], n_controls=2)
    top = table[table["variant"] == "largest effects"].set_index("nodes")
    assert top["share"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert top["share"].iloc[-1] == pytest.approx(1, abs=1e-4)
    assert top["whole"].iloc[0] == pytest.approx(float(gap(model(data)).mean()), abs=1e-5)
    assert table.groupby("nodes").size().tolist() == [3, 3, 3]
    other_size = feature_faithfulness(model, data, None, gap_of_batch, saes(), nodes, [5], n_controls=2, batch_size=3)
    again = table[table["nodes"] == 5].reset_index(drop=True)
    pd.testing.assert_frame_equal(other_size, again, check_exact=False, atol=1e-4)


def test_what_is_kept_is_what_the_splice_with_all_other_latents_ablated_gives():
    from models import Dataset
    from workbench.sae.splice import ablate_latents, splice

    model, data, sae = small_model(), tokens(), small_sae("standard", hook_name=FIRST)
    nodes = feature_circuit(model, data, None, gap, {FIRST: sae})
    latents = ours(nodes)[ours(nodes)["kind"] == "latent"]
    kept = latents.reindex(latents["effect"].abs().sort_values(ascending=False).index)["unit"].head(4).tolist()
    dropped = [unit for unit in range(sae.cfg.d_sae) if unit not in kept]
    spliced = splice(model, sae, Dataset(tokens=data), edits=ablate_latents(dropped), error_term=True)
    with torch.no_grad():
        expected = gap(model.run_with_hooks(data, fwd_hooks=spliced.hooks)).mean()
    how = {"keep_errors": True, "n_controls": 0}
    table = feature_faithfulness(model, data, None, gap, {FIRST: sae}, nodes, [4], **how)
    assert float(table["value"].iloc[0]) == pytest.approx(float(expected), abs=1e-5)


def test_the_states_of_a_recurrence_are_nodes_at_every_step():
    model = Recurrent(RecurrentConfig(cell="gru", n_layers=1, d_model=D, d_vocab=V, seed=1)).eval()
    data, hook = tokens(), "blocks.0.rnn.hook_h"
    table = feature_circuit(model, data, None, gap, {hook: Neurons(D)}, by=("position",))
    assert set(ours(table)["position"].dropna()) == {1, 2, 3, 4, 5}
    # To first order: the whole state of the last step a little smaller.
    step = 1e-3

    def shrink(value, hook):
        return value * (1 - step) if hook.ctx["t"] == 5 else None

    with torch.no_grad():
        change = (gap(model.run_with_hooks(data, fwd_hooks=[(hook, shrink)])) - gap(model(data))).mean() / step
    last = ours(table)[ours(table)["position"] == 5]
    assert last["effect"].sum() == pytest.approx(float(change), rel=0.02)


def test_the_control_is_written_along_random_directions_as_long():
    model, data = small_model(), tokens()
    table = feature_circuit(model, data, None, gap, saes(), n_controls=2, seed=3)
    control = table[table["variant"] == "random direction"]
    assert control["seed"].unique().tolist() == [3, 4]
    for _, of in control.groupby("seed"):
        assert of[["hook", "unit"]].reset_index(drop=True).equals(ours(table)[["hook", "unit"]].reset_index(drop=True))
        assert not np.allclose(of["effect"], ours(table)["effect"], atol=1e-3)
    pd.testing.assert_frame_equal(table, feature_circuit(model, data, None, gap, saes(), n_controls=2, seed=3))


def test_batches_of_any_size_and_metrics_of_either_kind_give_the_same():
    model, data = small_model(), tokens()
    expected = by_unit(feature_circuit(model, data, None, gap, saes(), steps=2))
    for metric in (gap, gap_of_batch):
        found = by_unit(feature_circuit(model, data, None, metric, saes(), steps=2, batch_size=3))
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_metric_that_counts_sequences_differently_is_given_all_of_them_in_order(steps):
    def weighted(output):
        return gap(output) * torch.arange(1.0, 1 + len(output))

    model, data = small_model(), tokens()
    whole, parts = (
        by_unit(feature_circuit(model, data, None, weighted, saes(), steps=steps, batch_size=size)) for size in (5, 2)
    )
    assert parts == pytest.approx(whole, abs=1e-6)


def test_bad_input_is_one_plain_sentence(as_in_a_script):
    model, data = small_model().train(), tokens()
    given = (model, data, None, gap)
    with pytest.raises(ValueError, match="no dictionaries"):
        feature_circuit(*given, {})
    with pytest.raises(ValueError, match="no hook named"):
        feature_circuit(*given, {"blocks.9.hook_resid_post": Neurons(D)})
    with pytest.raises(ValueError, match="has rows of 5 numbers, but 8 stand there"):
        feature_circuit(*given, {FIRST: Neurons(5)})
    with pytest.raises(ValueError, match="is a crosscoder"):
        feature_circuit(*given, {FIRST: small_sae(kind="crosscoder")})
    with pytest.raises(ValueError, match="no sequence of the reference has position"):
        feature_circuit(model, data, data[:, :3], gap, saes(), ablation="position mean")
    with pytest.raises(ValueError, match="by has"):
        feature_circuit(*given, {FIRST: Neurons(D)}, by=("head",))
    nodes = feature_circuit(*given, {FIRST: Neurons(D)}, by=("position",))
    with pytest.raises(ValueError, match="not by position"):
        feature_faithfulness(*given, {FIRST: Neurons(D)}, nodes, [1])
    nodes = feature_circuit(*given, {FIRST: Neurons(D)})
    with pytest.raises(ValueError, match="one hook alone"):
        feature_edges(*given, {FIRST: Neurons(D)}, nodes)
    with pytest.raises(ValueError, match="nothing to keep"):
        feature_faithfulness(model, data, None, lambda o: o[:, 0, 0], {FIRST: Neurons(D)}, nodes, [1])
    assert model.training
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())
