"""The geometry of superposition, on arrangements whose numbers are known, and its smallest case against sampling."""

import math

import numpy as np
import pytest
import torch

from workbench.reproductions import superposition_measures as measures


def polygon(n):
    turn = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([turn.cos(), turn.sin()])


def test_only_features_that_point_the_other_way_are_pairs():
    eye = torch.eye(3)
    assert measures.in_pairs(eye) == 0
    assert measures.in_pairs(torch.cat([eye, -eye], 1)) == 1
    assert measures.in_pairs(torch.cat([eye, -eye[:, :1]], 1)) == 1 / 2


@pytest.mark.parametrize("n", [3, 5])
def test_a_polygons_angles_are_equal_in_whatever_order_its_features_stand(n):
    W = polygon(n)[:, torch.randperm(n, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(measures.angles_between(W), torch.full((n,), 360 / n, dtype=torch.float64))


def test_a_feature_that_is_not_represented_does_not_count():
    assert measures.in_pairs(torch.tensor([[1.0, -1.0, 0.1]])) == 1
    assert math.isnan(measures.in_pairs(torch.zeros(2, 3)))


def test_angles_add_up_wherever_the_first_column_points():
    W = torch.tensor([[-1.0, 0.0, 1.0], [-0.1, 1.0, 0.0]])
    assert measures.angles_between(W).sum().item() == pytest.approx(360)
    assert measures.angles_between(W)[0].item() == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("density", [0.4, 0.5, 1.0])
def test_the_expected_loss_is_the_mean_over_samples(density):
    rng = np.random.default_rng(0)
    w, b, importance = np.array([0.9, -1.1]), np.array([0.05, -0.1]), 0.6
    x = rng.random((2, 400_000)) * (rng.random((2, 400_000)) < density)
    errors = (x - np.maximum(w[:, None] * (w @ x) + b[:, None], 0)) ** 2
    sampled = (np.array([[1], [importance]]) * errors).sum(0)
    error = sampled.std() / math.sqrt(sampled.size)
    assert measures.expected_loss(w, b, density, importance) == pytest.approx(sampled.mean(), abs=4 * error + 1e-5)


def test_what_is_kept_alone_costs_the_variance_of_the_other():
    loss = measures.expected_loss(np.array([1.0, 0.0]), np.array([0, 0.3 / 2]), density=0.3, importance=0.5)
    assert loss == pytest.approx(0.5 * (0.3 / 3 - 0.3**2 / 4), rel=1e-3)


def test_an_antipodal_pair_only_pays_when_both_are_active():
    # E min(x₁, x₂)² = 1/6 for two uniform numbers, for each of the two outputs.
    loss = measures.expected_loss(np.array([1.0, -1.0]), np.zeros(2), density=0.1, importance=0.5)
    assert loss == pytest.approx(0.1**2 * 1.5 / 6, rel=1e-3)


def test_sparse_equals_are_superposed_and_dense_or_unequal_ones_are_not():
    assert measures.optimum(density=0.1, importance=1).superposed
    assert not measures.optimum(density=1, importance=0.8).superposed
    assert not measures.optimum(density=0.9, importance=0.1).superposed
    sparse = measures.optimum(density=0.01, importance=1)
    assert sparse.loss <= 0.01**2 * 2 / 6 * 1.001
    assert measures.optimum(density=1, importance=0.2).loss == pytest.approx(0.2 / 12, rel=1e-3)
