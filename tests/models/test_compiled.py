"""A hand-compiled transformer does induction exactly, by its circuit and nothing else."""

import pytest
import torch
from edges_by_hand import removing

from models.compiled import EMBED, OUTPUT, POSITION, Edge, compiled_induction

V, N = 12, 24


@pytest.fixture(scope="module")
def compiled():
    return compiled_induction(V, N)


def sequences(n=20, seed=0):
    """BOS, then a random order of some tokens again and again: `[n, N]`."""
    generator, rows = torch.Generator().manual_seed(seed), []
    for i in range(n):
        period = 1 + torch.randperm(V - 1, generator=generator)[: 4 + i % 8]
        rows.append(torch.cat([torch.zeros(1, dtype=torch.long), period.repeat(N)[: N - 1]]))
    return torch.stack(rows)


def induction(tokens):
    """What came after the last time a token was there; BOS where it was not."""
    out = torch.zeros_like(tokens)
    for row, answer in zip(tokens.tolist(), out, strict=True):
        for t in range(1, len(row)):
            before = [s for s in range(1, t) if row[s] == row[t]]
            answer[t] = row[before[-1] + 1] if before else 0
    return out


def accuracy(model, tokens, cut=()):
    """The share of positions at which what is right is likelier than all else together."""
    with model.hooks(removing(cut)):
        p = model(tokens).softmax(-1).gather(-1, induction(tokens)[..., None])
    return (p > 0.5).float().mean().item()


def test_induction_is_exact(compiled):
    model, _ = compiled
    tokens = sequences()
    assert accuracy(model, tokens) == 1
    expected = 10 * torch.nn.functional.one_hot(induction(tokens), V).float()
    assert torch.allclose(model(tokens), expected, atol=1e-5)


def test_any_order_of_distinct_tokens_says_bos_until_one_returns(compiled):
    model, _ = compiled
    tokens = torch.tensor([[0, 3, 7, 5, 9, 7, 5, 9, 7]])
    assert model(tokens).argmax(-1).tolist() == [[0, 0, 0, 0, 0, 5, 9, 7, 5]]


def test_without_all_other_edges_no_logit_changes(compiled):
    model, circuit = compiled
    tokens = sequences()
    others = set(circuit.all_edges) - circuit.edges
    assert circuit.edges < set(circuit.all_edges)
    logits = model(tokens)
    with model.hooks(removing(others)):
        assert torch.allclose(model(tokens), logits, atol=1e-5)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_without_any_edge_of_the_circuit_it_breaks(compiled):
    model, circuit = compiled
    tokens = sequences()
    assert len(circuit.edges) == 8
    for edge in circuit.edges:
        assert accuracy(model, tokens, [edge]) < 0.9, edge


def test_the_other_heads_write_what_nobody_needs(compiled):
    model, circuit = compiled
    _, cache = model.run_with_cache(sequences(), names_filter=lambda name: name.endswith("hook_result"))
    for layer in (0, 1):
        assert (cache["result", layer].abs().sum((0, 1, 3)) > 100).all()
    busy = {node.head for node in circuit.nodes if node.hook.endswith("hook_result")}
    assert busy == {0}


def test_edges_are_those_of_the_architecture(compiled):
    _, circuit = compiled
    assert len(circuit.all_edges) == len(set(circuit.all_edges)) == 9 * 2 + 9 * 5 + 8
    assert circuit.nodes >= {EMBED, POSITION, OUTPUT}


def test_a_cut_edge_is_the_receivers_loss_alone(compiled):
    model, circuit = compiled
    tokens = sequences()
    edge = next(e for e in circuit.all_edges if e.sender == EMBED and e.receiver.hook == "blocks.1.attn.hook_v_input")
    names = ["blocks.1.attn.hook_q", "blocks.1.attn.hook_k", "blocks.1.attn.hook_v"]
    _, clean = model.run_with_cache(tokens, names_filter=names)
    with model.hooks(removing([Edge(*edge)])):
        _, cache = model.run_with_cache(tokens, names_filter=names)
    for name in names[:2]:
        assert torch.equal(cache[name], clean[name])
    expected = clean[names[2]].clone()
    expected[:, :, 0] -= (model.W_E[tokens] @ model.blocks[1].attn.W_V[0]).detach()
    assert torch.allclose(cache[names[2]], expected)


def test_too_small_is_one_plain_sentence():
    with pytest.raises(ValueError, match="d_vocab is 2"):
        compiled_induction(2, 8)
