"""Positions against the paper's formulas, transformers' own rotations and TransformerLens's native model."""

import math

import pytest
import torch
from native_oracle import native_of, random_tokens, subject
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj_rotation
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama_rotation

from models.positions import Rotary, sinusoids


def test_sinusoids_are_the_papers():
    table = sinusoids(50, 8)
    for position in (0, 1, 7, 49):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoids_are_neither_trained_nor_saved():
    model = subject(positional_embedding_type="sinusoidal")
    assert torch.equal(model.W_pos, sinusoids(12, 16))
    assert not any("pos_embed" in name for name in (*model.state_dict(), *model.tl_parameters()))
    assert model.double().W_pos.dtype == torch.float64


def test_centred_sinusoids_become_weights_of_the_folded_copy():
    model = subject(positional_embedding_type="sinusoidal")
    assert model.folded().cfg.positional_embedding_type == "standard"
    assert model.folded(center_writing_weights=False).cfg.positional_embedding_type == "sinusoidal"
    assert subject(positional_embedding_type="rotary").folded().cfg.positional_embedding_type == "rotary"


def angles(n_ctx, width, base=10000.0):
    return torch.arange(n_ctx)[:, None] * base ** -(torch.arange(0, width, 2) / width)


def test_half_split_rotation_is_llamas():
    x = torch.randn(2, 9, 3, 8, generator=torch.Generator().manual_seed(0))
    table = angles(9, 8).repeat(1, 2)[None]
    ours = Rotary(9, 8, 10000.0, adjacent_pairs=False)(x, slice(0, 9))
    heads_first = x.transpose(1, 2)
    theirs, _ = llama_rotation(heads_first, heads_first, table.cos(), table.sin())
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=1e-5)


def test_adjacent_rotation_is_gpt_js():
    x = torch.randn(2, 9, 3, 8, generator=torch.Generator().manual_seed(0))
    angle = angles(9, 8)[None]
    ours = Rotary(9, 8, 10000.0, adjacent_pairs=True)(x, slice(0, 9))
    assert torch.allclose(ours, gptj_rotation(x, angle.sin(), angle.cos()), atol=1e-5)


@pytest.mark.parametrize("rotary_dim", [4, 8])
def test_half_split_model_is_the_native_one_with_its_pairs_moved_together(rotary_dim):
    """The native model has adjacent pairs alone: entry i goes to 2i, and i + rotary_dim/2 to 2i + 1."""
    shape = {"positional_embedding_type": "rotary", "n_heads": 2, "rotary_dim": rotary_dim}
    half = subject(unembed_bias=False, **shape)
    adjacent = subject(unembed_bias=False, rotary_adjacent_pairs=True, **shape)
    pairs = torch.arange(rotary_dim).view(2, -1).T.flatten()
    order = torch.cat([pairs, torch.arange(rotary_dim, 8)])
    with torch.no_grad():
        for block in adjacent.blocks:
            for weight in (block.attn.W_Q, block.attn.W_K, block.attn.b_Q, block.attn.b_K):
                weight.copy_(weight[..., order])
    tokens = random_tokens()
    assert torch.allclose(half(tokens), native_of(adjacent)(tokens), atol=1e-5)


@pytest.mark.parametrize("adjacent", [False, True])
def test_rotary_hooks_are_queries_and_keys_after_the_rotation(adjacent):
    model = subject(positional_embedding_type="rotary", rotary_dim=2, rotary_adjacent_pairs=adjacent)
    tokens = random_tokens()
    _, cache = model.run_with_cache(tokens)
    for letter in "qk":
        before, after = cache[f"blocks.0.attn.hook_{letter}"], cache[f"blocks.0.attn.hook_rot_{letter}"]
        turn = torch.complex(before[..., 0], before[..., 1]) * torch.exp(1j * torch.arange(9.0))[:, None]
        assert torch.allclose(torch.view_as_real(turn), after[..., :2], atol=1e-5)
        assert torch.equal(before[..., 2:], after[..., 2:])
    q, k = (cache[f"blocks.0.attn.hook_rot_{letter}"].transpose(1, 2) for letter in "qk")
    seen = torch.ones(9, 9).tril().bool()
    scores = (q @ k.transpose(-1, -2) / math.sqrt(4)).masked_fill(~seen, -math.inf)
    assert torch.allclose(cache["blocks.0.attn.hook_attn_scores"], scores, atol=1e-5)
    edited = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_rot_q", lambda value, hook: value * 2)])
    assert not torch.allclose(edited, model(tokens), atol=1e-3)


@pytest.mark.parametrize("kind", ["rotary", "none"])
def test_a_score_depends_on_distance_alone(kind):
    model = subject(positional_embedding_type=kind, n_layers=1)
    tokens = torch.tensor([[5, 7, 5, 7, 5, 7]])
    _, cache = model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_attn_scores")
    scores = cache["blocks.0.attn.hook_attn_scores"][0]
    assert torch.allclose(scores[:, 3, 0], scores[:, 5, 2], atol=1e-5)
    assert torch.allclose(scores[:, 3, 0], scores[:, 5, 0], atol=1e-5) == (kind == "none")
