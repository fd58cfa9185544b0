"""Spatial scores, place fields, direction tuning, and what they are by chance."""

import numpy as np
import pytest
from scipy.stats import kstest

from probes.tuning import (
    TuningCurves,
    TuningNull,
    coherence,
    direction_tuning,
    place_fields,
    selectivity,
    sparsity,
    spatial_information,
    tuning_curves,
    tuning_score_null,
)


def curves(rates, occupancy=None, period=None, high=1.0):
    rates = np.asarray(rates, float)
    edges = tuple(np.linspace(0, high, n + 1) for n in rates.shape[1:])
    period = (None,) * len(edges) if period is None else period
    return TuningCurves(rates, np.ones(rates.shape[1:]) if occupancy is None else occupancy, edges, period, 0.1)


def test_information_is_skaggss_sum():
    rng = np.random.default_rng(0)
    rates, time = rng.gamma(1, 5, (4, 6, 5)), rng.gamma(2, 1, (6, 5))
    rates[0, 1] = 0
    p = time / time.sum()
    for neuron, found in enumerate(spatial_information(curves(rates, time), per="second")):
        mean = (p * rates[neuron]).sum()
        terms = [p[i] * r * np.log2(r / mean) for i, r in np.ndenumerate(rates[neuron]) if r > 0]
        assert found == pytest.approx(sum(terms))
        assert spatial_information(curves(rates, time))[neuron] == pytest.approx(sum(terms) / mean)


def test_closed_forms_of_a_cell_that_fires_in_an_eighth_of_the_arena():
    rates = np.zeros((3, 4, 4))
    rates[0, 0, :2] = 16
    rates[1] = 5
    one = curves(rates)
    np.testing.assert_allclose(spatial_information(one), [3, 0, np.nan], atol=1e-12)
    np.testing.assert_allclose(spatial_information(one, per="second"), [6, 0, 0], atol=1e-12)
    np.testing.assert_allclose(sparsity(one), [1 / 8, 1, np.nan])
    np.testing.assert_allclose(selectivity(one), [8, 1, np.nan])


def test_bins_nobody_visited_have_no_say():
    rates = np.full((1, 2, 4), 3.0)
    rates[0, 0] = [12, 0, 0, 0]
    with_hole = np.concatenate([rates, np.full((1, 2, 4), np.nan)], axis=1)
    time = np.concatenate([np.ones((2, 4)), np.zeros((2, 4))])
    for score in (spatial_information, sparsity, selectivity):
        np.testing.assert_allclose(score(curves(with_hole, time)), score(curves(rates)))
    with pytest.raises(ValueError, match="rates of neuron 0 fall below zero"):
        sparsity(curves(-rates))
    with pytest.raises(ValueError, match="choose spike or second"):
        spatial_information(curves(rates), per="minute")


def test_coherence_is_the_correlation_with_the_eight_neighbours():
    rng = np.random.default_rng(1)
    rates = rng.gamma(1, 1, (2, 7, 6))
    rates[:, 2, 3] = np.nan
    rates[1] = np.where(np.isnan(rates[1]), np.nan, np.add.outer(np.arange(7.0), np.arange(6.0)))
    for neuron, found in enumerate(coherence(curves(rates))):
        pairs = []
        for i, j in np.ndindex(7, 6):
            block = rates[neuron, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            if not np.isnan(rates[neuron, i, j]):
                pairs.append(
                    (rates[neuron, i, j], (np.nansum(block) - rates[neuron, i, j]) / (np.isfinite(block).sum() - 1))
                )
        assert found == pytest.approx(np.arctanh(np.corrcoef(np.array(pairs).T)[0, 1]))
    assert coherence(curves(rates))[1] > 1
    assert np.isnan(coherence(curves(np.ones((1, 4, 4))))[0])


def test_fields_are_connected_bins_with_their_peak_and_centre():
    rates = np.zeros((2, 10, 10))
    rates[0, 1:4, 1:4] = 5
    rates[0, 2, 2] = 10
    rates[0, 6:9, 6:9] = 4
    rates[0, 0, 9] = 10  # one bin is no field
    rates[1] = 0.2
    strong, weak = place_fields(curves(rates))
    assert (strong.neuron, strong.peak, strong.bins.sum(), weak.peak) == (0, 10, 9, 4)
    np.testing.assert_allclose(strong.peak_at, [0.25, 0.25])
    np.testing.assert_allclose(strong.centre, [0.25, 0.25])
    np.testing.assert_allclose(weak.centre, [0.75, 0.75])
    assert strong.size == pytest.approx(0.09)
    assert len(place_fields(curves(rates), share=0.45)) == 1
    assert len(place_fields(curves(rates), min_bins=1)) == 3
    with pytest.raises(ValueError, match="above 0 and below 1"):
        place_fields(curves(rates), share=1.0)


def test_fields_on_a_track_are_shorter_than_those_of_an_arena_are_wide():
    x = np.linspace(0, 1, 20)
    track = 20 * np.exp(-((x - 0.5) ** 2) / (2 * 0.08**2))[None]
    (field,) = place_fields(curves(track))
    assert 3 <= field.bins.sum() < 9
    lone = np.zeros((1, 20))
    lone[0, 5:7] = 9
    assert not place_fields(curves(lone))


def test_a_field_round_the_edge_of_a_circle_is_one():
    rates = np.zeros((1, 12))
    rates[0, [10, 11, 0, 1]] = [3, 9, 9, 3]
    (field,) = place_fields(curves(rates, period=(12.0,), high=12.0), min_bins=3)
    assert field.bins.sum() == 4
    assert min(field.centre[0], 12 - field.centre[0]) < 1e-9
    assert not place_fields(curves(rates, high=12.0), min_bins=3)


def test_mean_vector_and_preferred_direction_of_von_mises_curves():
    from scipy.special import ive

    edges = np.linspace(-180, 180, 73)
    at = np.deg2rad((edges[1:] + edges[:-1]) / 2)
    preferred = np.array([-170.0, 0.0, 95.0])
    rates = np.exp(3 * np.cos(at - np.deg2rad(preferred)[:, None]))
    rates = np.concatenate([rates, np.zeros((1, 72)), np.ones((1, 72))])
    time = np.random.default_rng(2).gamma(2, 1, 72)
    found = direction_tuning(TuningCurves(rates, time, (edges,), (360.0,), 0.1))
    np.testing.assert_allclose(found.preferred[:3], preferred, atol=1e-6)
    np.testing.assert_allclose(found.length[:3], ive(1, 3) / ive(0, 3))
    assert np.isnan(found.length[3])
    np.testing.assert_array_equal(found.is_head_direction(), [True, True, True, False, False])
    assert (found.p_value[:3] < 1e-6).all()
    assert found.p_value[4] > 0.9


def test_rayleighs_p_values_are_uniform_where_there_is_no_preference():
    rng = np.random.default_rng(3)
    edges = np.linspace(0, 2 * np.pi, 37)
    spikes = rng.multinomial(30, np.full(36, 1 / 36), 2000)
    found = direction_tuning(TuningCurves(spikes / 1.0, np.ones(36), (edges,), (2 * np.pi,), 1.0))
    assert kstest(found.p_value, "uniform").statistic < 0.04
    with pytest.raises(ValueError, match="one circular variable"):
        direction_tuning(curves(np.ones((1, 4))))


def place_and_noise(seed=4, n=6000):
    rng = np.random.default_rng(seed)
    x = np.abs(np.cumsum(rng.standard_normal(n) * 0.02) % 2 - 1)
    rates = np.stack([8 * np.exp(-((x - 0.5) ** 2) / 0.01)] + [np.full(n, 1.0)] * 19, axis=1)
    return rng.poisson(rates * 0.1), x


def test_the_null_finds_the_place_cell_among_noise_and_takes_the_bias_away():
    counts, x = place_and_noise()
    null = tuning_score_null(spatial_information, counts, x, dt=0.1, n_shuffles=99, n_bins=25, min_occupancy=0.2)
    assert null.p_value[0] == 0.01
    assert null.percentile[0] == 100
    assert (null.p_value[1:] < 0.05).mean() < 0.3
    assert null.score[1:].mean() > 0.01
    assert abs(null.corrected[1:].mean()) < 0.3 * null.score[1:].mean()
    again = tuning_score_null(spatial_information, counts, x, dt=0.1, n_shuffles=99, n_bins=25, min_occupancy=0.2)
    np.testing.assert_array_equal(null.shuffled, again.shuffled)


def test_a_shuffle_is_the_curve_of_turned_positions_within_each_group(monkeypatch):
    counts, x = place_and_noise(n=400)
    groups = np.repeat([0, 1], [150, 250])
    seen = []

    def score(found):
        seen.append(found.rates)
        return found.rates.max(1)

    settings = {"dt": 0.1, "n_bins": 4, "range": (0, 1), "smoothing": 0.1}
    tuning_score_null(score, counts, x, n_shuffles=1, min_shift=5.0, seed=7, groups=groups, **settings)
    rng = np.random.default_rng(7)
    shifts = rng.integers(37, 150 - 37 + 1), rng.integers(50, 250 - 50 + 1)
    turned = np.concatenate([np.roll(x[:150], shifts[0]), np.roll(x[150:], shifts[1])])
    np.testing.assert_allclose(seen[0], tuning_curves(counts, x, **settings).rates)
    np.testing.assert_allclose(seen[1], tuning_curves(counts, turned, **settings).rates)


def test_shuffles_without_a_score_say_nothing_of_chance():
    nan = np.nan
    shuffled = np.array([[1, nan, nan, 0.5], [3, 3, nan, 0.5], [nan, nan, nan, 0.5], [nan, 1, nan, 0.5]])
    null = TuningNull(np.array([2.0, 4.0, 1.0, nan]), shuffled)
    np.testing.assert_array_equal(null.n_scored, [2, 2, 0, 4])
    np.testing.assert_allclose(null.p_value, [2 / 3, 1 / 3, 1, nan])
    np.testing.assert_allclose(null.percentile, [50, 100, nan, nan])
    np.testing.assert_allclose(null.corrected, [0, 2, nan, nan])


def test_what_cannot_be_shuffled_is_refused():
    counts, x = place_and_noise(n=40)
    with pytest.raises(ValueError, match="n_shuffles is -1"):
        tuning_score_null(sparsity, counts, x, dt=0.1, n_shuffles=-1)
    with pytest.raises(ValueError, match="fewer than four time bins"):
        tuning_score_null(sparsity, counts, x, dt=0.1, groups=np.repeat([0, 1], [37, 3]))
    with pytest.raises(ValueError, match="one number for each of 20"):
        tuning_score_null(lambda c: c.rates, counts, x, dt=0.1)
