"""Grid scores: hexagonal maps high, square ones negative, scale and orientation found again."""

import numpy as np
import pytest

from probes.tuning import TuningCurves, autocorrelogram, grid_geometry, grid_score, tuning_score_null


def maps(rates, sizes=(1.0, 1.0)):
    rates = np.asarray(rates, float)
    edges = tuple(np.linspace(0, size, n + 1) for size, n in zip(sizes, rates.shape[1:], strict=True))
    occupancy = np.isfinite(rates).all(0).astype(float)
    return TuningCurves(rates, occupancy, edges, (None, None), 0.1)


def lattice(scale, angle=0.0, folds=3, bins=(40, 40), sizes=(1.0, 1.0), phase=(0.0, 0.0)):
    """Cosines along three directions 60° apart (hexagonal), or two 90° apart (square), of that scale."""
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n * size for n, size in zip(bins, sizes, strict=True)), indexing="ij")
    k = 2 * np.pi / scale * (2 / np.sqrt(3) if folds == 3 else 1)
    total = 0
    for i in range(folds):
        turn = np.deg2rad(angle + (30 + 60 * i if folds == 3 else 90 * i))
        total = total + np.cos(k * ((x - phase[0]) * np.cos(turn) + (y - phase[1]) * np.sin(turn)))
    return total + 3


def test_the_autocorrelogram_is_pearsons_of_overlapping_visited_bins():
    rng = np.random.default_rng(0)
    rates = rng.gamma(1, 1, (2, 7, 9))
    rates[:, 2, 3:5] = np.nan
    rates[1, 6, 8] = np.nan
    found = autocorrelogram(maps(rates), min_overlap=5)
    assert found.shape == (2, 13, 17)
    for neuron, dx, dy in [(0, 0, 0), (0, 2, -3), (1, -3, 1), (1, 4, 5), (0, 6, 8)]:
        pairs = [
            (rates[neuron, i, j], rates[neuron, i + dx, j + dy])
            for i, j in np.ndindex(7, 9)
            if 0 <= i + dx < 7 and 0 <= j + dy < 9
        ]
        a, b = np.array([pair for pair in pairs if np.isfinite(pair).all()]).T.reshape(2, -1)
        wanted = np.corrcoef(a, b)[0, 1] if len(a) >= 5 else np.nan
        np.testing.assert_allclose(found[neuron, 6 + dx, 8 + dy], wanted, atol=1e-9)


@pytest.mark.parametrize("definition", ["mean", "extremes"])
def test_hexagonal_maps_score_high_and_square_ones_below_zero(definition):
    scales, angles = (0.25, 0.35, 0.45), (0, 7, 23, 41)
    hexagonal = maps([lattice(s, a, phase=(0.1, 0.3)) for s in scales for a in angles])
    square = maps([lattice(s, a, folds=2, phase=(0.1, 0.3)) for s in scales for a in angles])
    assert grid_score(hexagonal, definition=definition).min() > 0.9
    assert grid_score(square, definition=definition).max() < 0
    # Stripes are alike at no angle of the six.
    x = np.linspace(0, 1, 40)[:, None] + np.zeros(40)
    assert grid_score(maps([1 + np.cos(2 * np.pi * x / 0.3)]), definition=definition)[0] < 0.5


def test_holes_and_uneven_bins_change_little():
    rates = lattice(0.3, 10, bins=(40, 30))
    rates[5:9, 12:15] = np.nan
    curves = maps([rates])
    assert grid_score(curves)[0] > 0.9
    geometry = grid_geometry(curves)
    assert geometry.scale[0] == pytest.approx(0.3, rel=0.03)
    wide = maps([lattice(0.4, 10, bins=(30, 40), sizes=(1.0, 2.0))], sizes=(1.0, 2.0))
    assert grid_score(wide)[0] > 0.8
    assert grid_geometry(wide).scale[0] == pytest.approx(0.4, rel=0.03)


def test_scale_and_orientation_are_found_again():
    truth = [(scale, angle) for scale in (0.2, 0.28, 0.35, 0.42) for angle in (0, 8, 27, 52)]
    found = grid_geometry(maps([lattice(scale, angle, phase=(0.2, 0.05)) for scale, angle in truth]))
    scale, angle = np.array(truth).T
    np.testing.assert_allclose(found.scale, scale, rtol=0.03)
    off = (found.orientation - angle + 30) % 60 - 30
    assert np.abs(off).max() < 2
    assert ((found.orientation >= 0) & (found.orientation < 60)).all()


def test_a_single_field_and_a_flat_map_are_no_grids():
    x, y = np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 30), indexing="ij")
    field = 10 * np.exp(-((x - 0.4) ** 2 + (y - 0.5) ** 2) / 0.02)
    found = grid_score(maps([field, np.ones((30, 30))]))
    assert np.isnan(found[0]) or found[0] < 0.5
    assert np.isnan(found[1])
    assert np.isnan(grid_geometry(maps([np.ones((30, 30))])).scale[0])


def test_the_null_tells_a_grid_cell_from_noise():
    rng = np.random.default_rng(1)
    n = 8000
    x = np.abs(np.cumsum(rng.standard_normal((n, 2)) * 0.04, axis=0) % 2 - 1)
    grid = lattice(0.4, 12, bins=(200, 200))[tuple((x * 199.999).astype(int).T)]
    X = rng.poisson(np.stack([2 * grid, np.full(n, 6.0), np.full(n, 6.0)], axis=1) * 0.1)
    null = tuning_score_null(grid_score, X, x, dt=0.1, n_shuffles=60, n_bins=25, range=[(0, 1)] * 2, smoothing=0.05)
    assert null.score[0] > 0.7
    assert null.p_value[0] < 0.03
    assert not (null.p_value[1:] < 0.03).any()  # of a map without a trough there is no score


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        (TuningCurves(np.ones((1, 5)), np.ones(5), (np.arange(6.0),), (None,), 0.1), "two linear variables"),
        (
            TuningCurves(np.ones((1, 3, 5)), np.ones((3, 5)), (np.arange(4.0), np.arange(6.0)), (None, None), 0.1),
            "4 along",
        ),
    ],
)
def test_what_is_no_map_is_refused(curves, message):
    with pytest.raises(ValueError, match=message):
        grid_score(curves)
    with pytest.raises(ValueError, match="choose mean or extremes"):
        grid_score(maps(np.ones((1, 5, 5))), definition="best")
