"""A transformer's graph, its edges cut one by one and together, and what a circuit keeps."""

import numpy as np
import pytest
import torch
from edges_by_hand import removing

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.compiled import EMBED, Circuit, Edge, Node, compiled_induction
from workbench.circuits import EdgeAblation, Graph, acdc, edge_attribution, every_subset, faithfulness, smallest
from workbench.interventions.hook_parts import named

V, N = 12, 16
OUT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def compiled():
    return compiled_induction(V, N)


def small_model(**changes):
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_ctx": N, "d_vocab": V, "seed": 3, "initializer_range": 0.5}
    return Transformer(TransformerConfig(**(shape | changes))).eval()


def tokens(n=5, seed=0, length=9):
    drawn = torch.randint(1, V, (n, length), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn


def periodic(n=8, seed=0):
    """BOS, and four tokens in a random order again and again: what induction is for."""
    generator, rows = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        rows.append(torch.cat([torch.zeros(1).long(), (1 + torch.randperm(V - 1, generator=generator)[:4]).repeat(4)]))
    return torch.stack(rows)[:, :N]


def last_logits(output):
    return output[:, -1, 1] - output[:, -1, 2]


def rival(output, batch):
    return last_logits(output)


def test_the_compiled_transformers_graph_is_the_one_that_comes_with_it(compiled):
    model, circuit = compiled
    assert Graph.of(model).edges == circuit.all_edges


def test_mlps_read_and_write_and_embedded_positions_are_senders_where_there_are_any():
    graph = Graph.of(small_model())
    assert len(graph.senders) == 2 + 2 * (2 + 1)
    assert len(graph.receivers) == 2 * (6 + 1) + 1
    # Six inputs and an MLP a layer, after 2, 4, 5 and 7 senders, and the output after all 8.
    assert len(graph.edges) == len(set(graph.edges)) == 6 * 2 + 4 + 6 * 5 + 7 + 8
    assert Node("hook_pos_embed") not in Graph.of(small_model(positional_embedding_type="rotary")).senders
    mlp = Edge(Node("blocks.0.hook_mlp_out"), Node(OUT))
    assert graph.number[mlp] in graph.after(Node("blocks.0.hook_mlp_in"))
    assert graph.after(Node(OUT)) == []


def test_without_an_edge_under_zero_ablation_as_plain_hooks_that_cut_edges_say(compiled):
    model, circuit = compiled
    data = periodic(4)
    cuts = EdgeAblation.of(model, data, ablation="zero", bos=True)
    generator = torch.Generator().manual_seed(1)
    sets = [{edge} for edge in circuit.all_edges[::5]]
    sets += [{e for e in circuit.all_edges if torch.rand((), generator=generator) < 0.4} for _ in range(4)]
    cut = torch.stack([cuts.graph.mask(edges) for edges in sets])
    found = cuts.measured(last_logits, cut, batch_size=12)
    for edges, ours in zip(sets, found, strict=True):
        with model.hooks(removing(edges)):
            assert torch.allclose(ours.float(), last_logits(model(data)), atol=1e-4)


@pytest.mark.parametrize("ablation", ["zero", "mean", "position mean", "resample"])
def test_with_every_edge_cut_nothing_is_left_of_the_sequences_themselves(ablation):
    model = (
        small_model().double()
    )  # what is left of a stream of which all is cut is rounding, and a norm makes it larger
    cuts = EdgeAblation.of(model, tokens(), tokens(seed=1), ablation=ablation, bos=True)
    every = torch.ones(1, len(cuts.graph.edges), dtype=torch.bool)
    found = cuts.measured(last_logits, every)[0]
    with torch.no_grad():
        if ablation == "resample":  # the biases of the layers are nobody's: they stay, and are the same
            assert torch.allclose(found, last_logits(model(tokens(seed=1))), atol=1e-5)
        else:
            assert torch.allclose(found, found[:1].expand_as(found), atol=1e-5)
            assert not torch.allclose(found, last_logits(model(tokens())), atol=1e-2)


def test_means_are_those_of_the_reference_and_leave_out_bos_unless_it_is_asked_for():
    model, data = small_model(), tokens()
    _, cache = model.run_with_cache(data, names_filter=["blocks.0.hook_mlp_out"])
    written = cache["blocks.0.hook_mlp_out"]
    for bos, first in ((False, 1), (True, 0)):
        given = {a: EdgeAblation.of(model, data, ablation=a, bos=bos) for a in ("mean", "position mean")}
        here = {a: cuts.stand_ins(torch.arange(1))["blocks.0.hook_mlp_out"][0, :, 0] for a, cuts in given.items()}
        assert torch.allclose(here["mean"].float(), written[:, first:].mean((0, 1)), atol=1e-6)
        assert torch.allclose(here["position mean"][first:].float(), written[:, first:].mean(0), atol=1e-6)


def test_at_padding_and_unless_asked_at_bos_no_edge_is_cut():
    model, data = small_model(), tokens()
    mask = torch.ones_like(data, dtype=torch.bool)
    mask[:, 6:] = False
    padded = Dataset(tokens=data.masked_fill(~mask, 0), mask=mask)
    every = torch.ones(1, len(Graph.of(model).edges), dtype=torch.bool)

    def at(position):
        return lambda output, batch: output[:, position, 1]

    whole = model(padded.tokens).detach()[..., 1]
    cuts = {bos: EdgeAblation.of(model, padded, ablation="zero", bos=bos) for bos in (False, True)}
    assert torch.allclose(cuts[False].measured(at(0), every)[0].float(), whole[:, 0], atol=1e-6)
    assert not torch.allclose(cuts[True].measured(at(0), every)[0].float(), whole[:, 0], atol=1e-3)
    last = EdgeAblation.of(model, padded, ablation="zero")
    only_output = last.graph.mask(e for e in last.graph.edges if e.receiver.hook == OUT)[None]
    assert torch.allclose(last.measured(at(7), only_output)[0].float(), whole[:, 7], atol=1e-6)
    assert not torch.allclose(last.measured(at(3), only_output)[0].float(), whole[:, 3], atol=1e-3)


def test_a_batch_of_any_size_and_a_metric_of_either_kind_give_the_same():
    model = small_model()
    cuts = EdgeAblation.of(model, tokens(7), tokens(7, seed=1))
    cut = torch.eye(len(cuts.graph.edges), dtype=torch.bool)[::9]
    expected = cuts.measured(last_logits, cut, batch_size=1000)
    assert expected.std(0).max() > 1e-3
    for metric, size in ((last_logits, 3), (rival, 3), (rival, 20)):
        assert torch.allclose(cuts.measured(metric, cut, batch_size=size), expected, atol=1e-5)


def test_resampling_without_counterparts_is_drawn_by_the_seed_in_every_search():
    model, data, metric = small_model(), tokens(6), last_logits
    graph = Graph.of(model)
    some = graph.edges[:2]
    searches = {
        "edge_attribution": lambda s: edge_attribution(model, data, None, metric, n_controls=0, seed=s)["score"],
        "acdc": lambda s: acdc(model, data, None, "KL", 0.05, n_controls=0, seed=s)["rise"],
        "faithfulness": lambda s: faithfulness(model, data, None, metric, {"two": some}, n_controls=0, seed=s)["value"],
        "every_subset": lambda s: every_subset(model, data, None, some, seed=s)["distance"],
    }
    for name, search in searches.items():
        first, second, again = (search(seed).to_numpy() for seed in (0, 1, 0))
        assert np.array_equal(first, again, equal_nan=True), name
        assert np.nanmax(np.abs(first - second)) > 1e-4, name
    cuts = EdgeAblation.of(model, data, None, seed=1)
    cut = graph.mask(some)[None]
    none_kept = every_subset(model, data, None, some, metric, seed=1)["distance"].iloc[0]
    by_hand = (cuts.measured(metric, cut) - cuts.measured(metric, torch.zeros_like(cut))).abs().mean()
    assert float(none_kept) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_circuit_is_faithful_and_complete_and_random_ones_of_its_size_are_not(compiled):
    model, circuit = compiled
    data = periodic()
    answer = data.roll(-1, 1)

    def logit(output, batch):
        return output.gather(-1, answer[batch["seq"]][..., None])[:, 6:-1, 0].mean(1)

    table = faithfulness(model, data, None, logit, {"known": circuit.edges}, ablation="zero", bos=True, n_controls=5)
    ours = table[table["variant"] == "circuit"].set_index("left")["share"]
    assert ours["its edges alone"] == pytest.approx(1, abs=1e-5)
    assert ours["all but its edges"] == pytest.approx(0, abs=1e-5)
    random = table[(table["variant"] == "random circuit") & (table["left"] == "its edges alone")]
    assert len(random) == 5
    assert random["share"].max() < 0.5
    assert set(table["ablation"]) == {"zero"}
    assert set(table["edges"]) == {8}


def test_what_acdc_keeps_is_handed_on_as_it_is(compiled):
    model, circuit = compiled
    data, how = periodic(3), {"ablation": "zero", "bos": True}
    answer = data.roll(-1, 1)

    def logit(output, batch):
        return output.gather(-1, answer[batch["seq"]][..., None])[:, 6:-1, 0].mean(1)

    table = acdc(model, data, None, "KL", 0.01, **how)
    kept = table[table["kept"] & (table["variant"] == "acdc")]
    pairs = kept[["sender", "receiver"]].to_numpy().tolist()
    found = faithfulness(model, data, None, logit, {"lines": kept, "pairs": pairs}, n_controls=0, **how)
    alone = found[found["left"] == "its edges alone"]
    assert alone["edges"].tolist() == [8, 8]
    assert alone["share"].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert smallest(every_subset(model, data, None, kept, rest="cut", **how), 1e-4)["size"].tolist() == [8]
    assert set(Graph.of(model).named_edges(kept)) == circuit.edges


def test_edges_that_cannot_be_meant_are_refused(compiled, as_in_a_script):
    model, data = compiled[0], periodic(2)
    graph, embed, out = Graph.of(model), "hook_embed", OUT
    table = acdc(model, data, None, "KL", 0.01, ablation="zero", bos=True)
    ours = table[table["variant"] == "acdc"]
    refused = {
        "circuit 'found' has no edges": ours[ours["rise"] > 1e9],
        "several searches .variant acdc, random edges": table[table["kept"]],
        "edges that were not kept": ours,
        "has no receiver": ours[["sender"]],
        "no sender is called hook_embd, the closest are hook_embed": [("hook_embd", out)],
        r"no receiver is called blocks.1.attn.hook_q_input, the closest are .*hook_q_input\[": [
            (embed, "blocks.1.attn.hook_q_input")
        ],
        "hook_k_input.0. is read before .* is written": [
            ("blocks.1.attn.hook_result[0]", "blocks.0.attn.hook_k_input[0]")
        ],
        "'hook_embed' is no edge": (embed, out),
    }
    for sentence, edges in refused.items():
        with pytest.raises(ValueError, match=sentence):
            faithfulness(model, data, None, last_logits, {"found": edges}, ablation="zero")
    with pytest.raises(ValueError, match="by name"):
        faithfulness(model, data, None, last_logits, ours, ablation="zero")
    for take in (graph.mask, lambda none: every_subset(model, data, None, none)):
        with pytest.raises(ValueError, match="has no edges"):
            take([])


def test_no_smaller_set_of_a_receivers_edges_does_than_the_circuits(compiled):
    model, circuit = compiled
    graph, data = Graph.of(model), periodic(3)
    for receiver in (Node("blocks.1.attn.hook_k_input", 0), Node("blocks.1.attn.hook_k_input", 1)):
        among = [graph.edges[i] for i in graph.before(receiver)]
        table = every_subset(model, data, None, among, ablation="zero", bos=True)
        assert len(table) == 2**5
        assert table["size"].is_monotonic_increasing
        best = smallest(table, 1e-4)
        ours = {f"{named(e.sender)} → {named(e.receiver)}" for e in circuit.edges if e.receiver == receiver}
        assert [set(edges) for edges in best["edges"]] == [ours]


def test_of_the_circuits_own_edges_none_can_be_spared(compiled):
    model, circuit = compiled
    table = every_subset(model, periodic(3), None, circuit.edges, rest="cut", ablation="zero", bos=True)
    assert smallest(table, 1e-4)["size"].tolist() == [8]
    assert table["distance"].iloc[:-1].min() > 0.1


def test_bad_input_is_one_plain_sentence(compiled, as_in_a_script):
    model, circuit = compiled
    data = periodic(2)
    recurrent = Recurrent(RecurrentConfig(cell="gru", n_layers=1, d_model=4, d_vocab=V))
    with pytest.raises(ValueError, match="a Recurrent has no graph"):
        Graph.of(recurrent)
    with pytest.raises(ValueError, match="there is no ablation 'none'"):
        EdgeAblation.of(model, data, ablation="none")
    with pytest.raises(ValueError, match="each needs its own"):
        EdgeAblation.of(model, data, data[:1])
    with pytest.raises(ValueError, match="no sequence of the reference has position 4"):
        EdgeAblation.of(model, data, data[:, :4], ablation="position mean")
    with pytest.raises(ValueError, match="nothing but BOS"):
        EdgeAblation.of(model, data[:, :1], ablation="zero")
    foreign = Edge(EMBED, Node("blocks.7.hook_mlp_in"))
    with pytest.raises(ValueError, match="no edge from hook_embed to blocks.7.hook_mlp_in"):
        faithfulness(model, data, None, last_logits, {"a": [foreign]}, ablation="zero")
    with pytest.raises(ValueError, match="there is nothing to keep"):
        faithfulness(model, data, None, lambda o: o[:, 0, 0] * 0, {"a": circuit.edges}, ablation="zero")
    with pytest.raises(ValueError, match="2\\^71 subsets"):
        every_subset(model, data, None, circuit.all_edges, ablation="zero")
    with pytest.raises(ValueError, match="'kept' or 'cut'"):
        every_subset(model, data, None, circuit.edges, rest="else", ablation="zero")
    assert isinstance(circuit, Circuit)
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())
