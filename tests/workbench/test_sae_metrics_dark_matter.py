"""The predictable part of an error: anchors whose answer is known, and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from workbench.sae import Moments, SAEConfig, TopK, build_sae, pca_dictionary
from workbench.sae.metrics import dark_matter

D = 6


def rows(n, seed, d=D):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) * torch.linspace(0.5, 2, d) + 3


def reconstructing(function, d=D):
    """A dictionary that reconstructs as the function says."""
    sae = build_sae(SAEConfig(d_in=d, d_sae=8, k=2))
    sae.forward = function
    return sae


def linear_error(A, b):
    """Every input as it is and negated, decoded by I − A: x − x̂ = (x − b) A, through codes that are never negative."""
    identity = torch.eye(D)
    W_dec = torch.cat([identity - A, A - identity])
    weights = {"W_enc": torch.cat([identity, -identity], 1), "b_enc": torch.zeros(2 * D), "W_dec": W_dec, "b_dec": b}
    return TopK.from_weights(SAEConfig(d_in=D, d_sae=2 * D, k=2 * D), weights)


def test_an_error_linear_in_x_is_predicted():
    A = 0.1 * torch.randn(D, D, generator=torch.Generator().manual_seed(0))
    x = rows(600, 0)
    sae = linear_error(A, torch.ones(D))
    torch.testing.assert_close(x - sae(x), (x - 1) @ A, rtol=1e-4, atol=1e-4)
    got = dark_matter(sae, x.split(100), rows(600, 1).split(100))
    assert got["error_r2"] > 0.99
    # Its squared length is a quadratic, of which a linear fit has the part that the mean away from zero makes.
    assert got["error_norm_r2"] < 0.99


def test_independent_noise_is_not():
    generator = torch.Generator().manual_seed(99)
    sae = reconstructing(lambda x: x + torch.randn(x.shape, generator=generator))
    got = dark_matter(sae, [rows(20_000, 0)], [rows(20_000, 1)])
    assert abs(got["error_r2"]) < 0.02
    assert abs(got["error_norm_r2"]) < 0.02
    # The baselines do not care for the error: ‖x‖² is predictable, for x is far from zero.
    assert got["x_norm_r2"] > 0.5


def test_too_few_rows_make_noise_look_worse_than_nothing():
    generator = torch.Generator().manual_seed(99)
    sae = reconstructing(lambda x: x + torch.randn(x.shape, generator=generator), d=40)
    got = dark_matter(sae, [rows(120, 0, 40)], [rows(4000, 1, 40)], rows_per_dimension=3)
    assert got["error_r2"] < -0.2


def test_a_norm_linear_in_x_is_predicted_though_the_vector_is_not():
    generator = torch.Generator().manual_seed(99)

    def forward(x):
        signs = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
        return x - signs * (x[:, :1] + 10).sqrt()  # ‖x − x̂‖² = 6 (x₀ + 10)

    got = dark_matter(reconstructing(forward), [rows(6000, 0)], [rows(6000, 1)])
    assert got["error_norm_r2"] > 0.99
    assert abs(got["error_r2"]) < 0.02


def test_it_is_scikit_learns_fit_and_score():
    sae = build_sae(SAEConfig(d_in=D, d_sae=8, k=2))
    fit, held_out = rows(1500, 0), rows(900, 1) + 0.2
    got = dark_matter(sae, fit.split(100), held_out.split(77))
    with torch.no_grad():
        targets = {
            "error_r2": lambda x: x - sae(x),
            "error_norm_r2": lambda x: (x - sae(x)).square().sum(1),
            "x_norm_r2": lambda x: x.square().sum(1),
            "x_hat_norm_r2": lambda x: sae(x).square().sum(1),
        }
        for name, target in targets.items():
            fitted = LinearRegression().fit(fit.double().numpy(), target(fit).double().numpy())
            predicted = fitted.predict(held_out.double().numpy())
            want = r2_score(target(held_out).double().numpy(), predicted, multioutput="variance_weighted")
            assert got[name] == pytest.approx(want, abs=1e-5)
    assert (got["fit_rows"], got["held_out_rows"]) == (1500, 900)


def test_inputs_that_never_vary_or_repeat_others_do_no_harm():
    sae = build_sae(SAEConfig(d_in=D + 2, d_sae=8, k=2))

    def wide(x):
        return torch.cat([x, torch.full((len(x), 1), 7.0), x[:, :1]], 1)

    fit, held_out = wide(rows(1500, 0)), wide(rows(900, 1))
    got = dark_matter(sae, [fit], [held_out])
    with torch.no_grad():
        error = [(x - sae(x)).square().sum(1).double().numpy() for x in (fit, held_out)]
    fitted = LinearRegression().fit(fit.double().numpy(), error[0])
    assert got["error_norm_r2"] == pytest.approx(
        r2_score(error[1], fitted.predict(held_out.double().numpy())), abs=1e-4
    )


def test_nothing_left_over_cannot_be_predicted():
    x, other = rows(1000, 0), rows(1000, 1)
    exact = pca_dictionary(SAEConfig(d_in=D, d_sae=8, k=D), Moments.of([x]))
    got = dark_matter(exact, [x], [other])
    assert np.isnan(got["error_r2"])
    assert np.isnan(got["error_norm_r2"])
    assert got["x_hat_norm_r2"] == pytest.approx(got["x_norm_r2"], abs=1e-4)


def test_rows_of_one_length_have_no_length_to_predict():
    unit = [torch.nn.functional.normalize(rows(1000, seed) - 3, dim=1) for seed in (0, 1)]
    got = dark_matter(build_sae(SAEConfig(d_in=D, d_sae=8, k=2)), unit[:1], unit[1:])
    assert np.isnan(got["x_norm_r2"])
    assert not np.isnan(got["error_r2"])


def test_it_needs_a_hundred_rows_a_dimension_on_either_side():
    sae = build_sae(SAEConfig(d_in=D, d_sae=8, k=2))
    with pytest.raises(ValueError, match="needs 600 rows to fit and as many held out .* there are 600 and 599"):
        dark_matter(sae, [rows(600, 0)], [rows(599, 1)])
    with pytest.raises(ValueError, match="there are 0 and 600"):
        dark_matter(sae, [], [rows(600, 1)])
    assert dark_matter(sae, [rows(60, 0)], [rows(60, 1)], rows_per_dimension=10)["fit_rows"] == 60


def test_a_transcoder_leaves_nothing_over_of_what_it_reads():
    with pytest.raises(ValueError, match="this is a transcoder"):
        dark_matter(build_sae(SAEConfig(d_in=D, d_out=D, d_sae=8, k=2)), [rows(600, 0)], [rows(600, 1)])
