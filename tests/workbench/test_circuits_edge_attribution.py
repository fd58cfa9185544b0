"""Scores of edges: slopes along masks, exact where the subject is linear, and few passes for all of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from models import Transformer, TransformerConfig
from models.compiled import compiled_induction
from workbench.circuits import EdgeAblation, edge_attribution
from workbench.circuits.edge_attribution import edge_scores
from workbench.interventions.hook_parts import named

V = 11


def small_model(**changes):
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_ctx": 12, "d_vocab": V, "seed": 3, "initializer_range": 0.5}
    return Transformer(TransformerConfig(**(shape | changes))).eval()


def tokens(n=5, seed=0):
    drawn = torch.randint(1, V, (n, 7), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn


def gap(output):
    return output[:, -1, 1] - output[:, -1, 2]


def gap_of_batch(output, batch):
    return gap(output)


def ours(table):
    return table[table["seed"].isna()]


@pytest.mark.parametrize("ablation", ["zero", "mean", "position mean", "resample"])
def test_a_score_is_the_slope_of_the_metric_as_an_edge_begins_to_be_cut(ablation):
    model = small_model().double()
    cuts = EdgeAblation.of(model, tokens(), tokens(seed=1), ablation=ablation)
    found = edge_scores(cuts, gap)
    step, seq = 1e-5, torch.arange(5)
    n = len(cuts.graph.edges)
    ends = []
    for sign in (1, -1):
        with torch.no_grad(), model.hooks(cuts.hooks(sign * step * torch.eye(n, dtype=torch.float64), seq)):
            ends.append(gap(model(tokens().repeat(n, 1))).view(n, 5))
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope.abs().max() > 0.01
    assert torch.allclose(found, slope, atol=1e-7)


def test_into_the_output_of_a_model_without_norm_it_is_the_effect_itself():
    model = small_model(normalization_type=None)
    given = (model, tokens(), tokens(seed=1))
    cuts = EdgeAblation.of(*given)
    n = len(cuts.graph.edges)
    values = cuts.measured(gap, torch.cat([torch.zeros(1, n), torch.eye(n)]).bool()).mean(1)
    effect = (values[1:] - values[0]).numpy()
    score = ours(edge_attribution(*given, gap))["score"].to_numpy()
    last = np.array([edge.receiver == cuts.graph.receivers[-1] for edge in cuts.graph.edges])
    assert (np.abs(effect[last]) > 1e-3).sum() == last.sum() - 1  # positions are the same in both
    assert score[last] == pytest.approx(effect[last], abs=1e-5)
    assert np.abs(score[~last] - effect[~last]).max() > 1e-3  # elsewhere the subject bends


def test_one_step_takes_three_passes_and_several_one_more_and_two_each():
    model, passes = small_model(), []
    model.hook_dict["hook_embed"].add_hook(lambda value, hook: passes.append("forward"), is_permanent=True)
    model.hook_dict["blocks.1.hook_resid_post"].add_hook(
        lambda value, hook: passes.append("backward"), dir="bwd", is_permanent=True
    )
    edge_attribution(model, tokens(), tokens(seed=1), gap_of_batch, steps=1)
    assert sorted(passes) == ["backward", "forward", "forward"]
    passes.clear()
    edge_attribution(model, tokens(), tokens(seed=1), gap_of_batch, steps=5)
    assert sorted(passes) == ["backward"] * 5 + ["forward"] * 7


def test_steps_take_the_slopes_at_embeddings_on_the_way_from_what_stands_in_to_what_they_are():
    model = small_model(attn_only=True)
    clean, corrupt = tokens(), tokens(seed=1)
    steps, total = 4, 0.0
    receiver = "blocks.1.attn.hook_v_input"
    names = ["hook_embed", "blocks.0.attn.hook_result"]
    writes = [model.run_with_cache(x, names_filter=names)[1] for x in (clean, corrupt)]
    change = writes[1]["blocks.0.attn.hook_result"][:, :, 1] - writes[0]["blocks.0.attn.hook_result"][:, :, 1]
    change[:, 0] = 0  # BOS
    for k in (0.5, 1.5, 2.5, 3.5):
        start, end = writes[1]["hook_embed"].clone(), writes[0]["hook_embed"]
        start[:, 0] = end[:, 0]
        read = []
        hooks = [
            ("hook_embed", lambda value, hook, k=k, a=start, b=end: a + k / steps * (b - a)),
            (receiver, lambda value, hook, read=read: read.append(value)),
        ]
        with model.hooks(hooks):
            (slope,) = torch.autograd.grad(gap(model(clean)).sum(), read)
        total = total + (change * slope[:, :, 0]).sum((1, 2)) / steps
    table = ours(edge_attribution(model, clean, corrupt, gap, steps=steps))
    edge = table[(table["sender"] == "blocks.0.attn.hook_result[1]") & (table["receiver"] == f"{receiver}[0]")]
    assert float(edge["score"].iloc[0]) == pytest.approx(float(total.mean()), abs=1e-6)
    assert set(table["variant"]) == {"integrated gradients"}


def test_a_batch_of_any_size_and_weights_that_want_no_gradient_give_the_same():
    model = small_model()
    expected = ours(edge_attribution(model, tokens(), tokens(seed=1), gap, steps=2))["score"].to_numpy()
    assert np.abs(expected).max() > 0.01
    model.requires_grad_(False)
    for metric, size in ((gap, 2), (gap_of_batch, 2), (gap_of_batch, 5)):
        table = edge_attribution(model, tokens(), tokens(seed=1), metric, steps=2, batch_size=size)
        assert ours(table)["score"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_one_step_sees_nothing_of_attention_that_is_all_or_nothing_and_several_do():
    model, circuit = compiled_induction(V, 12)
    period = 1 + torch.stack([torch.randperm(V - 1, generator=torch.Generator().manual_seed(i))[:4] for i in range(4)])
    data = torch.cat([torch.zeros(4, 1).long(), period.repeat(1, 2)], 1)
    answer = data.roll(-1, 1)

    def logit(output, batch):
        return output.gather(-1, answer[batch["seq"]][..., None])[:, 5:-1, 0].mean(1)

    into_attention = {name for name in map(named, circuit.nodes) if "q_input" in name or "k_input" in name}
    sums = {}
    for steps in (1, 30):
        table = ours(edge_attribution(model, data, None, logit, ablation="zero", steps=steps, bos=True))
        sums[steps] = table[table["receiver"].isin(into_attention)]["score"].abs().sum()
    assert sums[1] == 0
    assert sums[30] > 1


def test_the_control_is_the_same_scores_on_other_edges():
    table = edge_attribution(small_model(), tokens(), tokens(seed=1), gap, n_controls=2, seed=7)
    assert list(table.columns) == [
        *("sender", "receiver", "ablation", "steps", "variant", "seed", "score", "low", "high", "sequences")
    ]
    scores = ours(table)["score"].to_numpy()
    for seed in (7, 8):
        dealt = table[table["seed"] == seed]
        assert (dealt["variant"] == "random scores").all()
        assert np.sort(dealt["score"]) == pytest.approx(np.sort(scores))
        assert not np.allclose(dealt["score"], scores)
    assert (ours(table)["low"] <= ours(table)["score"]).all()
    again = edge_attribution(small_model(), tokens(), tokens(seed=1), gap, n_controls=2, seed=7)
    pd.testing.assert_frame_equal(table, again)


def test_bad_input_is_one_plain_sentence_and_leaves_the_model_as_it_was():
    model = small_model().train()
    with pytest.raises(ValueError, match="steps is 0"):
        edge_attribution(model, tokens(), tokens(seed=1), gap, steps=0)
    with pytest.raises(ValueError, match="no slope"):
        edge_attribution(model, tokens(), tokens(seed=1), lambda o: o.detach()[:, -1, 0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        edge_attribution(model, tokens(), tokens(seed=1), lambda o: o[:, -1, 0] * float("nan"))
    with pytest.raises(ValueError, match="for a batch of 5"):
        edge_attribution(model, tokens(), tokens(seed=1), lambda o: o.sum())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())
