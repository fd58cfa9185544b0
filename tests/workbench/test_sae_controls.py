"""The dictionaries that learn nothing, against scikit-learn, brute force and least squares."""

from itertools import combinations

import pytest
import torch
from sklearn.decomposition import PCA

from workbench.sae import (
    Moments,
    SAEConfig,
    TopK,
    build_sae,
    compare_dictionaries,
    control_dictionaries,
    evaluate_sae,
    neuron_dictionary,
    pca_dictionary,
    random_dictionary,
)

CFG = SAEConfig(d_in=6, d_sae=40, k=2, hook_name="blocks.0.mlp.hook_post")


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=generator)
    return torch.randn(2000, 6, generator=generator) @ mix + 50


def test_moments_do_not_depend_on_batches_and_keep_their_digits_far_from_zero(x):
    got = Moments.of(list(x.split(123)))
    exact = x.double()
    torch.testing.assert_close(got.mean, exact.mean(0))
    torch.testing.assert_close(got.covariance, torch.cov(exact.T, correction=0), rtol=1e-5, atol=1e-5)
    assert got.n == 2000
    assert Moments.of(x.split(123), max_rows=500).n == 500
    torch.testing.assert_close(Moments.of(x.split(123), max_rows=500).mean, exact[:500].mean(0))


def test_no_rows_have_no_moments():
    with pytest.raises(ValueError, match="no rows"):
        Moments.of([])


def test_with_k_of_the_full_width_pca_and_neurons_are_exact(x):
    full = SAEConfig(d_in=6, d_sae=40, k=6)
    for make in (pca_dictionary, neuron_dictionary):
        sae = make(full, Moments.of([x]))
        assert sae.cfg.d_sae == 12
        torch.testing.assert_close(sae(x), x, rtol=1e-4, atol=1e-3)


def test_the_latents_of_pca_are_scikit_learns_components(x):
    sae = pca_dictionary(CFG, Moments.of([x]))
    components = torch.from_numpy(PCA().fit(x.double().numpy()).components_).float()
    cosine = torch.linalg.vecdot(sae.W_dec[:6], components).abs()
    torch.testing.assert_close(cosine, torch.ones(6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.W_dec[6:], -sae.W_dec[:6])
    projections = (x - x.mean(0)) @ components.T
    largest = projections.abs().topk(2, dim=1).values.sort(dim=1).values
    torch.testing.assert_close(sae.encode_sparse(x).values.sort(dim=1).values, largest, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [pca_dictionary, neuron_dictionary])
def test_no_k_axes_of_the_basis_reconstruct_a_row_better(x, make):
    sae = make(CFG, Moments.of([x]))
    rows, centred = x[:50], x[:50] - sae.b_dec
    errors = (rows - sae(rows)).square().sum(1)
    for pair in combinations(range(6), 2):
        basis = sae.W_dec[list(pair)]
        other = (centred - centred @ basis.T @ basis).square().sum(1)
        assert (errors <= other + 1e-3).all()


def test_neurons_are_kept_as_they_are(x):
    sae = neuron_dictionary(CFG, Moments.of([x]))
    x_hat = sae(x)
    mean = x.mean(0)
    kept = (x_hat - mean).abs() > 1e-4
    assert (kept.sum(1) <= 2).all()
    torch.testing.assert_close(x_hat[kept], x[kept], rtol=1e-4, atol=1e-4)


def test_the_scale_of_the_random_dictionary_is_the_best_one(x):
    sae = random_dictionary(CFG, Moments.of([x]), [x])

    def error(factor):
        added = sae(x) - sae.b_dec
        return (x - sae.b_dec - factor * added).square().sum().item()

    assert error(1.0) < min(error(0.97), error(1.03))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(40))
    assert (sae.cfg.k, sae.cfg.d_sae) == (CFG.k, CFG.d_sae)


def test_the_random_dictionary_is_not_where_a_trained_one_of_the_same_seed_set_out(x):
    control = random_dictionary(CFG, Moments.of([x]), [x])
    assert not torch.allclose(control.W_dec, TopK(CFG).W_dec)


def test_the_random_dictionary_follows_its_seed(x):
    moments = Moments.of([x])
    one, two = (random_dictionary(CFG, moments, [x]) for _ in range(2))
    other = random_dictionary(SAEConfig(d_in=6, d_sae=40, k=2, seed=1), moments, [x])
    assert torch.equal(one.W_enc, two.W_enc)
    assert not torch.equal(one.W_dec, other.W_dec)


def test_the_table_has_a_line_for_each_dictionary():
    # Rows of rank two about a mean: two principal components are all there is, two neurons of six are not.
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(2000, 2, generator=generator) @ torch.randn(2, 6, generator=generator) + 5
    sae = build_sae(CFG)
    controls = control_dictionaries(sae, lambda: rows.split(256))
    assert [c.cfg.k for c in controls.values()] == [2, 2, 2]
    table = compare_dictionaries({"trained": sae, **controls}, lambda: rows.split(256))
    assert table["dictionary"].tolist() == ["trained", "PCA", "random", "neurons"]
    assert table["d_sae"].tolist() == [40, 12, 40, 12]
    assert (table["rows"] == 2000).all()
    by_name = table.set_index("dictionary")["explained_variance"]
    assert by_name["PCA"] == pytest.approx(1, abs=1e-4)
    assert by_name["neurons"] < 0.95
    assert by_name["random"] < 0.95


def test_loss_recovered_needs_model_and_dataset_both(x):
    with pytest.raises(ValueError, match="give both, or neither"):
        evaluate_sae(build_sae(CFG), [x], model=object())
