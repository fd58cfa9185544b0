"""Composition of heads, against formulas by hand, TransformerLens and the compiled circuit."""

import numpy as np
import pytest
import torch
from transformer_lens.utilities import composition_scores as theirs_of

from models import Transformer, TransformerConfig
from models.compiled import compiled_induction
from workbench.attention.composition import composition_scores, random_composition
from workbench.attention.virtual_heads import virtual_heads


def subject(seed=0, **shape):
    config = {"n_layers": 3, "d_model": 16, "n_heads": 2, "d_head": 5, "n_ctx": 8, "d_vocab": 11, "attn_only": True}
    model = Transformer(TransformerConfig(**(config | {"normalization_type": None, "seed": seed} | shape))).eval()
    return model.requires_grad_(False)


def pairs(table, kind):
    places = ["from_layer", "from_head", "to_layer", "to_head"]
    return table[table["kind"] == kind].set_index(places)["value"]


def test_every_pair_of_an_earlier_and_a_later_head_is_scored_as_transformerlens_does():
    model = subject()
    table = composition_scores(model, n_random=20)
    assert len(table) == 3 * 12
    readers = {"Q": model.QK, "K": model.QK.T, "V": model.OV}
    for kind, reads in readers.items():
        found = pairs(table, kind)
        for (layer, head, later, other), value in found.items():
            want = theirs_of(model.OV[layer, head], reads[later, other], broadcast_dims=False)
            assert value == pytest.approx(float(want), rel=1e-4)
    own = model.OV[0, 1].AB @ model.QK[2, 0].AB.mT
    norms = model.OV[0, 1].AB.norm() * model.QK[2, 0].AB.norm()
    assert pairs(table, "K")[0, 1, 2, 0] == pytest.approx(float(own.norm() / norms), rel=1e-4)


def test_in_the_compiled_circuit_the_one_k_composition_is_that_of_the_circuit():
    model, _ = compiled_induction(6, 8)
    table = composition_scores(model, n_random=100)
    k = table[(table["kind"] == "K") & (table["value"] > 0)]
    assert k[["from_head", "to_head", "percentile"]].to_numpy().tolist() == [[0, 0, 100]]
    assert not table.loc[table["kind"] == "Q", "value"].any()
    v = table[(table["kind"] == "V") & (table["value"] > 0)]
    assert v[["from_head", "to_head"]].to_numpy().tolist() == [[0, 1], [1, 2], [2, 2]]


def test_random_matrices_compose_by_the_width_of_the_stream():
    drawn = random_composition(64, 16, n=50)
    # E ‖LR‖² / (‖L‖² ‖R‖²) = 1/d for independent isotropic L and R.
    assert drawn.square().mean().sqrt() == pytest.approx(64**-0.5, rel=0.02)
    assert torch.equal(drawn, random_composition(64, 16, n=50))
    # In what is left without the mean there is one dimension less.
    assert random_composition(9, 3, n=400, centred=True).square().mean() == pytest.approx(1 / 8, rel=0.05)


def test_heads_at_initialisation_are_among_the_random_ones():
    table = composition_scores(subject(n_heads=4, normalization_type="LN"), n_random=300)
    assert 35 < table["percentile"].mean() < 65
    assert (table["value"] > table["random_high"]).mean() < 0.1


def test_the_untrained_subjects_pairs_stand_beside():
    model, before = subject(0), subject(1)
    table = composition_scores(model, ["K"], untrained=before, n_random=20)
    was = pairs(composition_scores(before, ["K"], n_random=20), "K")
    assert table["untrained"].to_numpy() == pytest.approx(was.to_numpy())
    want = [100 * (was < value).mean() for value in table["value"]]
    assert table["untrained_percentile"].to_numpy() == pytest.approx(want)
    same = composition_scores(before, ["K"], untrained=before, n_random=20)
    assert same["untrained_percentile"].mean() == pytest.approx(50)


def test_a_norms_gain_is_in_what_is_read():
    model = subject(normalization_type="RMS")
    with torch.no_grad():
        for block in model.blocks:
            block.ln1.w.uniform_(0.1, 3, generator=torch.Generator().manual_seed(0))
    found = pairs(composition_scores(model, ["K"], n_random=20), "K")[0, 1, 1, 0]
    reads = model.blocks[1].ln1.w[:, None] * model.W_K[1, 0]
    right = reads @ (model.blocks[1].ln1.w[:, None] * model.W_Q[1, 0]).mT
    left = model.blocks[0].ln1.w[:, None] * model.OV[0, 1].AB
    assert found == pytest.approx(float((left @ right).norm() / left.norm() / right.norm()), rel=1e-4)


def test_a_virtual_head_is_the_product_of_two():
    model = subject()
    table = virtual_heads(model, n_random=50)
    assert len(table) == 6 + 12
    assert table["share"].sum() == pytest.approx(1)
    W_U = (model.W_U - model.W_U.mean(-1, keepdim=True)).detach()
    whole = (model.W_E @ model.OV[0, 1].AB @ model.OV[2, 0].AB @ W_U).detach().double()
    line = table.query("from_layer == 0 and from_head == 1 and to_layer == 2 and to_head == 0").iloc[0]
    assert line["norm"] == pytest.approx(float(whole.norm()), rel=1e-4)
    eigenvalues = np.linalg.eigvals(whole.numpy())
    eigenvalues = eigenvalues[np.abs(eigenvalues) > 1e-6 * np.abs(eigenvalues).max()]
    assert line["copying"] == pytest.approx(eigenvalues.real.sum() / np.abs(eigenvalues).sum(), abs=1e-3)
    v = pairs(composition_scores(model, ["V"], n_random=20), "V")
    assert line["composition"] == pytest.approx(v[0, 1, 2, 0])
    alone = table[table["to_layer"].isna()].iloc[3]
    assert alone["norm"] == pytest.approx(float((model.W_E @ model.OV[1, 1].AB @ W_U).norm()), rel=1e-4)


def test_what_cannot_be_composed_is_said():
    for call, words in (
        (lambda: composition_scores(subject(), ["O"]), "'Q', 'K' and 'V'"),
        (lambda: composition_scores(subject(), []), "none"),
        (lambda: composition_scores(subject(n_layers=1)), "one layer"),
        (lambda: composition_scores(subject(), untrained=subject(n_heads=1)), "other layers or heads"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
