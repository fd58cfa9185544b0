"""The search from the output backwards, and how well scores recover a circuit that is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models import Transformer, TransformerConfig
from models.compiled import Circuit, compiled_induction
from workbench.circuits import EdgeAblation, Graph, acdc, edge_recovery, falls_at
from workbench.circuits.acdc import search
from workbench.circuits.distance import Divergence, distances
from workbench.interventions.hook_parts import named

V = 12


@pytest.fixture(scope="module")
def compiled():
    return compiled_induction(V, 16)


def periodic(n=6, seed=0):
    generator, rows = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        rows.append(torch.cat([torch.zeros(1).long(), (1 + torch.randperm(V - 1, generator=generator)[:4]).repeat(3)]))
    return torch.stack(rows)


def small_model(**changes):
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_ctx": 12, "d_vocab": V, "seed": 3, "initializer_range": 0.5}
    return Transformer(TransformerConfig(**(shape | changes))).eval()


def tokens(n=4, seed=0):
    drawn = torch.randint(1, V, (n, 6), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn


def one_by_one(graph, distance, threshold):
    """The algorithm as it is printed: every edge, one at a time, the output's first."""
    cut = torch.zeros(len(graph.edges), dtype=torch.bool)
    now = float(distance(cut[None]).mean())
    for receiver in reversed(graph.receivers):
        for edge in reversed(graph.before(receiver)):
            without = cut.clone()
            without[edge] = True
            then = float(distance(without[None]).mean())
            if then - now < threshold:
                cut, now = without, then
    return ~cut


def test_edges_tried_together_fall_as_they_do_one_by_one():
    threshold = 0.02
    cuts = EdgeAblation.of(small_model(attn_only=True), tokens(), tokens(seed=1))
    distance = distances(cuts, "KL", batch_size=128)
    expected = one_by_one(cuts.graph, distance, threshold)
    assert 0 < expected.sum() < len(expected)
    found = search(cuts.graph, distance, threshold, at_once=5)
    assert torch.equal(found.kept, expected)
    assert len(set(found.order)) == len(found.order)
    assert cuts.graph.edges[found.order[0]].receiver == cuts.graph.receivers[-1]


def test_of_the_compiled_transformer_just_the_circuit_is_left(compiled):
    model, circuit = compiled
    table = acdc(model, periodic(), None, "KL", 0.01, ablation="zero", bos=True, n_controls=2)
    ours = table[table["variant"] == "acdc"]
    kept = set(zip(ours.loc[ours["kept"], "sender"], ours.loc[ours["kept"], "receiver"], strict=True))
    assert kept == {(named(e.sender), named(e.receiver)) for e in circuit.edges}
    assert (ours.loc[ours["kept"], "rise"] >= 0.01).all()
    tried = ours["order"].notna()
    assert (ours.loc[~ours["kept"] & tried, "rise"] < 0.01).all()
    assert sorted(ours.loc[tried, "order"]) == list(range(tried.sum()))
    control = table[table["variant"] == "random edges"].groupby("seed")["kept"]
    assert control.sum().tolist() == [8, 8]
    assert table.columns.tolist()[:4] == ["sender", "receiver", "ablation", "threshold"]


def test_edges_into_what_nobody_listens_to_fall_untried(compiled):
    model, _ = compiled
    table = acdc(model, periodic(), None, "KL", 0.01, ablation="zero", bos=True, n_controls=1)
    ours = table[table["variant"] == "acdc"].set_index(["sender", "receiver"])
    graph = Graph.of(model)
    untried = 0
    for receiver in graph.receivers:
        heard = [(named(graph.edges[i].sender), named(graph.edges[i].receiver)) for i in graph.after(receiver)]
        deaf = bool(heard) and not ours.loc[heard, "kept"].any()
        into = [(named(graph.edges[i].sender), named(receiver)) for i in graph.before(receiver)]
        assert ours.loc[into, "order"].isna().eq(deaf).all()
        assert ours.loc[into, "rise"].isna().eq(deaf).all()
        untried += deaf * len(into)
    assert 0 < untried < len(ours)
    assert ours["order"].max() + 1 == len(ours) - untried
    control = table[table["variant"] == "random edges"]
    assert control[["order", "rise"]].isna().all(axis=None)


def test_a_metric_is_kept_whichever_way_it_would_go(compiled):
    model, circuit = compiled
    data = periodic()
    answer = data.roll(-1, 1)
    answer[:, :5] = 0  # nothing has been there before

    def logit(output, batch):
        return output.gather(-1, answer[batch["seq"]][..., None])[:, :-1, 0].mean(1)

    for metric in (logit, lambda output, batch: -logit(output, batch)):
        table = acdc(model, data, None, metric, 0.1, ablation="zero", bos=True, n_controls=0)
        kept = set(zip(table.loc[table["kept"], "sender"], table.loc[table["kept"], "receiver"], strict=True))
        assert kept == {(named(e.sender), named(e.receiver)) for e in circuit.edges}


def test_the_divergence_is_that_of_the_whole_models_output_from_the_cut_ones():
    model, data = small_model(), tokens()
    divergence = Divergence.of(EdgeAblation.of(model, data, ablation="zero"))
    other = small_model(seed=9)(data).detach()
    found = divergence(other, {"input": data, "seq": torch.arange(4)})
    p, q = model(data).detach().double().softmax(-1), other.double().softmax(-1)
    assert torch.allclose(found.double(), (p * (p / q).log()).sum(-1)[:, 1:].mean(1), atol=1e-6)


def test_a_sweep_gives_each_edge_the_largest_threshold_at_which_it_stays(compiled):
    model, _ = compiled
    table = acdc(model, periodic(), None, "KL", [1e-3, 0.05, 1.0, 50.0], ablation="zero", bos=True, n_controls=0)
    scores = falls_at(table)
    assert len(scores) == 71
    assert set(scores["score"]) <= {0.0, 1e-3, 0.05, 1.0}  # at 50 nats nothing is needed
    kept = table[table["kept"]].groupby(["sender", "receiver"])["threshold"].max()
    found = scores[scores["score"] > 0].set_index(["sender", "receiver"])["score"]
    assert found.to_dict() == kept.to_dict()


def scored(circuit, seed=0):
    """Scores of which some are tied and some negative."""
    rng = np.random.default_rng(seed)
    score = rng.integers(-3, 4, len(circuit.all_edges)).astype(float)
    edges = {"sender": [named(e.sender) for e in circuit.all_edges]}
    edges |= {"receiver": [named(e.receiver) for e in circuit.all_edges]}
    return pd.DataFrame(edges | {"score": score, "ablation": "zero", "variant": "a", "seed": pd.NA})


def test_the_area_is_that_of_the_sizes_of_scores_whatever_their_order(compiled):
    _, circuit = compiled
    table = scored(circuit)
    truth = np.array([edge in circuit.edges for edge in circuit.all_edges])
    shuffled = table.sample(frac=1, random_state=1)
    found = edge_recovery(pd.concat([shuffled, scored(circuit, 5).assign(variant="b")]), circuit)
    assert found["variant"].tolist() == ["a", "b"]
    assert found["auc"][0] == pytest.approx(roc_auc_score(truth, table["score"].abs()))
    assert found.loc[0, ["true_edges", "edges"]].tolist() == [8, 71]


def test_bad_input_is_one_plain_sentence(compiled, as_in_a_script):
    model, circuit = compiled
    for threshold in (0.0, -1.0, float("nan"), []):
        with pytest.raises(ValueError, match="above 0"):
            acdc(model, periodic(), None, "KL", threshold, ablation="zero")
    with pytest.raises(ValueError, match="'loss' is unknown"):
        acdc(model, periodic(), None, "loss", ablation="zero")
    with pytest.raises(ValueError, match="no position that is asked"):
        Divergence.of(EdgeAblation.of(model, periodic()[:, :1], ablation="zero", bos=True))
    with pytest.raises(ValueError, match="each of the circuit's 71 edges once"):
        edge_recovery(scored(circuit).iloc[1:], circuit)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        edge_recovery(scored(circuit), Circuit(frozenset(), circuit.all_edges))
    assert Graph.of(model).edges == circuit.all_edges
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
