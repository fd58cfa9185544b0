"""Each number on a case worked by hand, and against scikit-learn."""

import pytest
import torch
from sklearn.metrics import mean_squared_error, r2_score

from workbench.sae import SAEConfig, TopK, TopKCodes, build_sae
from workbench.sae.metrics import Density, Directions, ExplainedVariance, Reading, Sparsity, measure

NO_CODES = TopKCodes(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.int64))


def read(metric, x, x_hat, codes=NO_CODES):
    metric.update(Reading(torch.tensor(x), torch.tensor(x_hat), codes))
    return metric.result()


def test_explained_variance_by_hand():
    # The mean is (2, 0): E‖x‖² − ‖E x‖² = (4 + 16)/2 + … = 10 + 0 − 4 = 6; the errors are 1 and 4, so mse = 2.5.
    x = [[0.0, 2.0], [4.0, -2.0]]
    x_hat = [[1.0, 2.0], [4.0, 0.0]]
    got = read(ExplainedVariance(), x, x_hat)
    variance = (4 + 20) / 2 - 4
    assert got == pytest.approx({"mse": 2.5, "explained_variance": 1 - 2.5 / variance})


def test_explained_variance_is_sklearns_variance_weighted_r2():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=generator) * torch.arange(1, 7) + 10
    x_hat = x + torch.randn(500, 6, generator=generator)
    metric = ExplainedVariance()
    for part, part_hat in zip(x.split(77), x_hat.split(77), strict=True):
        metric.update(Reading(part, part_hat, NO_CODES))
    got = metric.result()
    assert got["explained_variance"] == pytest.approx(r2_score(x, x_hat, multioutput="variance_weighted"), abs=1e-6)
    assert got["mse"] == pytest.approx(6 * mean_squared_error(x, x_hat), rel=1e-6)


def test_directions_by_hand():
    # A right angle at half the length, and the same direction at double the length.
    got = read(Directions(), [[2.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [0.0, 6.0]])
    assert got == pytest.approx({"cosine": 0.5, "shrinkage": 1.25, "relative_bias": 37 / 18})


def test_rows_of_length_zero_have_no_direction():
    got = read(Directions(), [[0.0, 0.0], [1.0, 0.0]], [[5.0, 5.0], [0.0, 0.0]])
    assert got["cosine"] == 0
    assert got["shrinkage"] == 0


def test_sparsity_by_hand():
    codes = TopKCodes(torch.tensor([[1.0, 2.0], [0.5, 0.0]]), torch.tensor([[0, 3], [3, 1]]))
    assert read(Sparsity(), [[0.0]] * 2, [[0.0]] * 2, codes) == {"l0": 1.5, "l1": 1.75}


def test_density_by_hand():
    codes = TopKCodes(torch.tensor([[1.0, 2.0], [0.5, 0.0]]), torch.tensor([[0, 3], [3, 1]]))
    density = Density(4)
    got = read(density, [[0.0]] * 2, [[0.0]] * 2, codes)
    assert density.density.tolist() == [0.5, 0.0, 0.0, 1.0]
    assert got == {"dead_fraction": 0.5, "ultra_low_fraction": 0.5, "rows": 2.0}


def test_a_latent_of_ultra_low_density_is_not_dead():
    density = Density(2)
    once = TopKCodes(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int64))
    read(density, [[0.0]], [[0.0]], once)
    n = 200_000
    others = TopKCodes(torch.ones(n, 1), torch.ones(n, 1, dtype=torch.int64))
    density.update(Reading(torch.zeros(n, 1), torch.zeros(n, 1), others))
    assert density.result() == {"dead_fraction": 0.0, "ultra_low_fraction": 0.5, "rows": n + 1.0}


def test_measure_does_not_depend_on_how_rows_are_batched():
    sae = build_sae(SAEConfig(d_in=8, d_sae=20, k=3))
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    assert measure(sae, [x]) == pytest.approx(measure(sae, x.split(37)))


def test_a_perfect_dictionary_explains_everything():
    weights = {"W_enc": torch.eye(4), "W_dec": torch.eye(4), "b_enc": torch.zeros(4), "b_dec": torch.zeros(4)}
    sae = TopK.from_weights(SAEConfig(d_in=4, d_sae=4, k=4), weights)
    x = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    got = measure(sae, [x])
    assert got["explained_variance"] == pytest.approx(1)
    assert got["cosine"] == pytest.approx(1)
    assert got["shrinkage"] == pytest.approx(1)
    assert got["l0"] == 4


def test_no_rows_cannot_be_measured():
    with pytest.raises(ValueError, match="no rows to measure"):
        measure(build_sae(SAEConfig(d_in=8, d_sae=20, k=3)), [])
