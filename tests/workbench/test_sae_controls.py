"""The dictionaries that learn nothing, against scikit-learn, brute force and least squares."""

from itertools import combinations

import numpy as np
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
    linear_dictionary,
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


def test_rows_in_half_precision_have_the_moments_of_their_numbers(x):
    half = (100 * (x - 50)).half()
    torch.testing.assert_close(
        Moments.of([half]).covariance, torch.cov(half.double().T, correction=0), rtol=1e-5, atol=1e-2
    )


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


@pytest.fixture(scope="module")
def pairs():
    """Rows, and what a map with a bend in it makes of them."""
    generator = torch.Generator().manual_seed(5)
    read = torch.randn(3000, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 3
    bend = torch.randn(6, 5, generator=generator)
    return read, (read @ bend).relu() @ torch.randn(5, 4, generator=generator) + 1


TRANSCODER = SAEConfig(d_in=6, d_sae=40, k=2, d_out=4, hook_name="a", hook_name_out="b", skip=True)


def least_squares(read, written):
    """Its predictions, by NumPy."""
    x = np.c_[read.double().numpy(), np.ones(len(read))]
    return torch.from_numpy(x @ np.linalg.lstsq(x, written.double().numpy(), rcond=None)[0]).float()


def test_a_transcoders_linear_control_is_least_squares(pairs):
    sae = linear_dictionary(TRANSCODER, Moments.of([torch.cat(pairs, 1)]))
    torch.testing.assert_close(sae(pairs[0]), least_squares(*pairs), rtol=1e-3, atol=1e-3)
    assert evaluate_sae(sae, [pairs])["l0"] == 0
    with pytest.raises(ValueError, match="an SAE's is the identity"):
        linear_dictionary(CFG, Moments.of([pairs[0]]))


def test_a_transcoders_other_controls_are_the_dictionaries_of_that_prediction(pairs):
    """With every latent kept they are the linear map; with fewer, what an SAE's control makes of its output."""
    moments, foretold = Moments.of([torch.cat(pairs, 1)]), least_squares(*pairs)
    for make in (pca_dictionary, neuron_dictionary):
        all_of_it = make(SAEConfig(d_in=6, d_sae=40, k=4, d_out=4), moments)
        torch.testing.assert_close(all_of_it(pairs[0]), foretold, rtol=1e-3, atol=1e-3)
        some = make(TRANSCODER, moments)
        of_prediction = make(SAEConfig(d_in=4, d_sae=40, k=2), Moments.of([foretold]))
        assert (some.cfg.d_sae, some.cfg.k, some.cfg.skip) == (8, 2, False)
        errors = [(foretold - made).square().sum(1) for made in (some(pairs[0]), of_prediction(foretold))]
        torch.testing.assert_close(*errors, rtol=1e-2, atol=1e-2)
    random = random_dictionary(TRANSCODER, moments, [pairs])
    made = random(pairs[0]) - random.b_dec
    best = (made * (pairs[1] - random.b_dec)).sum() / made.square().sum()
    assert best.item() == pytest.approx(1, abs=1e-4)
    sae = build_sae(TRANSCODER)
    controls = control_dictionaries(sae, lambda: [{"a": pairs[0], "b": pairs[1]}])
    by_name = compare_dictionaries(controls, lambda: [pairs]).set_index("dictionary")["explained_variance"]
    assert 0 < by_name["random"] < by_name["PCA"] < by_name["linear"] < 1
    assert by_name["neurons"] < by_name["PCA"]


def test_a_crosscoders_controls_are_those_of_its_layers_side_by_side(x):
    layers = x.unflatten(1, (2, 3))
    sae = build_sae(SAEConfig(d_in=3, d_sae=40, k=2, n_layers=2, hook_names=("a", "b")))
    controls = control_dictionaries(sae, lambda: [layers])
    flat = control_dictionaries(build_sae(CFG), lambda: [x])
    assert controls.keys() == flat.keys() == {"PCA", "random", "neurons"}
    named = {"a": layers[:, 0], "b": layers[:, 1]}
    for name, control in controls.items():
        torch.testing.assert_close(control(layers).flatten(1), flat[name](x))
        assert evaluate_sae(control, [named]) == pytest.approx(evaluate_sae(flat[name], [x]))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_where_there_is_no_k_the_controls_are_as_sparse_as_the_dictionary(x, architecture):
    sae = build_sae(SAEConfig(d_in=6, d_sae=12, architecture=architecture)).requires_grad_(False)
    sae.b_dec.copy_(x.mean(0))
    sae.encoder_bias.fill_(-1)
    l0 = evaluate_sae(sae, [x])["l0"]
    assert 1.5 < l0 < 5
    controls = control_dictionaries(sae, lambda: x.split(500))
    assert {control.cfg.k for control in controls.values()} == {round(l0)}
    assert {control.cfg.architecture for control in controls.values()} == {"topk"}


def test_a_dictionary_denser_than_its_hook_is_wide_has_controls_that_are_exact(x):
    sae = build_sae(SAEConfig(d_in=6, d_sae=60, architecture="standard")).requires_grad_(False)
    sae.b_enc.fill_(200)  # all of them always
    controls = control_dictionaries(sae, lambda: [x])
    assert controls["PCA"].cfg.k == 12
    assert evaluate_sae(controls["PCA"], [x])["explained_variance"] == pytest.approx(1, abs=1e-4)


def test_a_transcoder_is_measured_against_what_it_should_write(pairs):
    sae = build_sae(TRANSCODER)
    read, written = pairs
    error = (written - sae(read)).double().square().sum(1).mean().item()
    got = evaluate_sae(sae, [(read, written)])
    assert got["mse"] == pytest.approx(error, rel=1e-5)
    variance = written.double().var(0, correction=0).sum().item()
    assert got["explained_variance"] == pytest.approx(1 - error / variance, rel=1e-5)
    assert got["l0"] == 2
    with pytest.raises(ValueError, match="pairs"):
        evaluate_sae(sae, [read])
