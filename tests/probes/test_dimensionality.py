"""Dimensions of a population: known spectra, few rows, and curved surfaces."""

import numpy as np
import pytest
import torch

from probes.dimensionality import participation_ratio, two_nn_dimension, variance_dimension


def test_the_plain_ratio_is_that_of_the_eigenvalues():
    rng = np.random.default_rng(0)
    for shape in ((200, 12), (10, 40)):
        X = rng.standard_normal(shape) * np.arange(1, shape[1] + 1) + 5
        eigenvalues = np.linalg.eigvalsh(np.cov(X.T))
        wanted = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
        assert participation_ratio(X, corrected=False) == pytest.approx(wanted)
        assert participation_ratio(torch.from_numpy(X), corrected=False) == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_the_correction_finds_the_truth_from_few_rows_of_any_distribution(kind):
    rng = np.random.default_rng(1)
    scale = np.linspace(1, 2, 60)
    truth = (scale**2).sum() ** 2 / (scale**4).sum()
    draw = rng.standard_normal if kind == "normal" else lambda size: rng.exponential(size=size) - 1
    found = np.array(
        [
            [participation_ratio(X), participation_ratio(X, corrected=False)]
            for X in (draw((40, 60)) * scale for _ in range(120))
        ]
    )
    assert np.median(found[:, 0]) == pytest.approx(truth, rel=0.05)
    assert found[:, 1].mean() < 0.5 * truth


def test_as_many_components_as_hold_the_share():
    rng = np.random.default_rng(2)
    X = np.linalg.qr(rng.standard_normal((50, 4)) - 0.0)[0]
    X = np.linalg.qr(X - X.mean(0))[0] * np.sqrt([5, 3, 1.5, 0.5])
    assert [variance_dimension(X, share=s) for s in (0.4, 0.5, 0.79, 0.9, 0.96, 1.0)] == [1, 1, 2, 3, 4, 4]
    assert variance_dimension(X.T @ rng.standard_normal((50, 200)), share=0.999) <= 3


@pytest.mark.parametrize("d", [1, 2, 5])
def test_two_neighbours_tell_the_dimension_of_a_curved_surface(d):
    rng = np.random.default_rng(3)
    angles = rng.uniform(0, 2 * np.pi, (1500, d))
    torus = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) @ rng.standard_normal((2 * d, 30))
    assert two_nn_dimension(torus + 100) == pytest.approx(d, rel=0.12)
    assert two_nn_dimension(np.repeat(torus, 2, axis=0)) == pytest.approx(two_nn_dimension(torus))


def test_blocks_of_rows_change_nothing(monkeypatch):
    X = np.random.default_rng(4).standard_normal((300, 5))
    whole = two_nn_dimension(X), participation_ratio(X)
    monkeypatch.setattr("probes.dimensionality.BLOCK_BYTES", 1)
    monkeypatch.setattr("probes.rows.CHUNK_BYTES", 1)
    np.testing.assert_allclose((two_nn_dimension(X), participation_ratio(X)), whole)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: participation_ratio(np.ones((9, 3))), "does not vary"),
        (lambda: variance_dimension(np.ones((9, 3))), "does not vary"),
        (lambda: participation_ratio(np.ones((3, 3))), "with 4 rows or more"),
        (lambda: participation_ratio(np.full((9, 3), np.nan)), "NaN"),
        (lambda: variance_dimension(np.eye(4), share=0.0), "above 0 and at most 1"),
        (lambda: two_nn_dimension(np.ones((9, 3))), "1 different rows"),
        (lambda: two_nn_dimension(np.arange(9.0)[:, None][[0, 1, 2, 3]], discarded=1.0), "from 0 to below 1"),
        (lambda: two_nn_dimension(np.stack(np.meshgrid(*[np.arange(4.0)] * 2), -1).reshape(-1, 2)), "lattice"),
    ],
)
def test_what_has_no_dimension_is_refused(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()
