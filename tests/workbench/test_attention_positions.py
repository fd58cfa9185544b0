"""Positions, planted: waves are found at their frequency, rotations in the pair that has them."""

import numpy as np
import pytest
import torch

from models import Transformer, TransformerConfig
from models.compiled import compiled_induction
from workbench.attention.positions import position_pattern, position_profiles, position_spectrum, rotary_frequencies


def subject(**shape):
    config = {"n_layers": 1, "d_model": 12, "n_heads": 2, "d_head": 8, "n_ctx": 20, "d_vocab": 5, "attn_only": True}
    return Transformer(TransformerConfig(**(config | {"normalization_type": None} | shape))).eval()


@pytest.mark.parametrize("length", [20, 15])
def test_planted_waves_are_found_at_their_frequencies_with_their_power(length):
    model = subject()
    t = 2 * torch.pi * torch.arange(length) / length
    with torch.no_grad():
        model.W_pos.normal_(generator=torch.Generator().manual_seed(0))  # what lies beyond the length
        model.W_pos[:length] = 0
        model.W_pos[:length, 3] = 5 + 2 * torch.cos(3 * t)
        model.W_pos[:length, 7] = torch.sin(5 * t + 0.3)
    table = position_spectrum(model, length=length, n_shuffles=200).set_index("frequency")
    want = np.zeros(length // 2)
    want[2], want[4] = 4 / 5, 1 / 5
    assert table["value"].to_numpy() == pytest.approx(want, abs=1e-6)
    assert table.loc[3, "period"] == length / 3
    assert (table.loc[[3], "value"] > table.loc[[3], "random_high"]).all()
    assert table.loc[3, "percentile"] == 100


def test_the_last_frequency_of_an_even_number_of_positions_counts_once():
    model = subject()
    with torch.no_grad():
        model.W_pos.zero_()
        model.W_pos[:, 0] = torch.tensor([1.0, -1.0]).repeat(10)  # power 20
        model.W_pos[:, 1] = 2**0.5 * torch.cos(2 * torch.pi * 4 * torch.arange(20) / 20)  # as much
    assert position_spectrum(model, n_shuffles=1).set_index("frequency")["value"][[4, 10]].tolist() == pytest.approx(
        [0.5, 0.5]
    )


def test_random_positions_have_no_frequency_of_their_own():
    table = position_spectrum(subject(d_model=64), n_shuffles=200)
    assert 20 < table["percentile"].mean() < 80
    assert table["random_mean"].sum() == pytest.approx(1)


def test_by_position_alone_the_compiled_previous_token_head_looks_one_back():
    model, _ = compiled_induction(5, 7)
    pattern = position_pattern(model, 0, 0)
    assert pattern.shape == (7, 7)
    assert pattern.sum(1).tolist() == pytest.approx([1] * 7)
    assert pattern.argmax(1).tolist() == [0, 0, 1, 2, 3, 4, 5]
    found = position_profiles(model, n_random=10).set_index(["layer", "head", "to"])
    assert found.loc[(0, 0, "1"), ["value", "percentile"]].tolist() == [1, 100]
    assert found.loc[(0, 1, "0"), "value"] == 1
    assert found.loc[(0, 2, "2"), "value"] == 1
    # No position, and so an even spread over all it sees, is what the induction head would look at.
    assert found.loc[(1, 0, "0"), "value"] < 0.5


@pytest.mark.parametrize("kind", ["standard", "rotary"])
def test_the_pattern_is_the_models_own_where_every_token_is_alike(kind):
    model = subject(positional_embedding_type=kind, normalization_type="LN", n_layers=2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.embed.W_E[:] = model.embed.W_E[0].clone()
    name = "blocks.0.attn.hook_pattern"
    _, cache = model.run_with_cache(torch.zeros(1, 9, dtype=torch.int64), names_filter=[name])
    found = position_pattern(model, 0, 1, length=9)
    torch.testing.assert_close(found.float(), cache[name][0, 1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adjacent", [False, True])
def test_a_head_whose_scores_go_through_one_rotated_pair_uses_its_frequency_alone(adjacent):
    model = subject(positional_embedding_type="rotary", rotary_dim=6, rotary_adjacent_pairs=adjacent, rotary_base=100.0)
    pair = [2, 3] if adjacent else [1, 4]
    with torch.no_grad():
        for W in (model.blocks[0].attn.W_Q, model.blocks[0].attn.W_K):
            W[1] = 0
            W[1, :2, pair] = torch.eye(2)
    table = rotary_frequencies(model, n_random=50)
    own = table[table["head"] == 1].set_index("pair")
    assert own["value"].tolist() == pytest.approx([0, 1, 0, 0])
    assert own.loc[1, "frequency"] == pytest.approx(100 ** (-2 / 6))
    assert own.loc[1, "percentile"] == 100
    assert own.loc[1, "wavelength"] == pytest.approx(2 * np.pi * 100 ** (2 / 6))
    rest = table[table["pair"].isna()]  # two entries of the eight are not turned
    assert len(rest) == 2
    assert rest["wavelength"].isna().all()
    other = table[table["head"] == 0]
    assert other["value"].sum() == pytest.approx(1)
    assert other["random_mean"].sum() == pytest.approx(1)


def test_what_has_no_positions_is_refused():
    none, rotary = (subject(positional_embedding_type=kind) for kind in ("none", "rotary"))
    for call, words in (
        (lambda: position_spectrum(rotary), "no table"),
        (lambda: position_pattern(none, 0, 0), "know nothing of positions"),
        (lambda: rotary_frequencies(none), "not rotary"),
        (lambda: position_pattern(rotary, 0, 0, length=21), "length is 21"),
        (lambda: position_profiles(rotary, distances=21), "distances is 21"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
