"""Population vector and optimal linear estimator: closed forms, the bias of one and how the other corrects it."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.population import OptimalLinearEstimator, PopulationVector
from probes.tuning import TuningCurves

CHECKED_TYPES = {
    "check_do_not_raise_errors_in_init_or_set_params": "these tests check the types of all parameters at run time"
}


@parametrize_with_checks(
    [PopulationVector(), OptimalLinearEstimator(5, fit_intercept=True)], expected_failed_checks=lambda _: CHECKED_TYPES
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def cosine(n, preferred, seed=0, baseline=20.0, modulation=15.0, noise=0.0):
    """Rates of cosine-tuned neurons for angles all round."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    r = baseline + modulation * np.cos(angle[:, None] - preferred)
    return r + noise * rng.standard_normal(r.shape), angle


def turn(a, b):
    return (a - b + np.pi) % (2 * np.pi) - np.pi


def test_even_directions_give_the_angle_and_what_was_fitted():
    preferred = np.arange(8) * np.pi / 4
    r, angle = cosine(500, preferred)
    decoder = PopulationVector(period=2 * np.pi).fit(r, angle)
    np.testing.assert_allclose(turn(decoder.predict(r), angle), 0, atol=1e-9)
    np.testing.assert_allclose(turn(decoder.preferred_, preferred), 0, atol=1e-9)
    np.testing.assert_allclose(decoder.baseline_, 20)
    np.testing.assert_allclose(decoder.modulation_, 15)
    for given in ({"preferred": preferred}, {"preferred": preferred, "baseline": np.full(8, 20.0)}):
        np.testing.assert_allclose(
            turn(PopulationVector(period=2 * np.pi, **given).fit(r, angle).predict(r), angle), 0, atol=1e-9
        )


def test_of_vectors_it_is_the_sum_of_the_formula():
    rng = np.random.default_rng(1)
    c = rng.standard_normal((50, 3))
    c /= np.linalg.norm(c, axis=1, keepdims=True)
    x = rng.standard_normal((400, 3))
    b, m = rng.uniform(5, 10, 50), rng.uniform(1, 4, 50)
    r = b + m * (x @ c.T)
    decoder = PopulationVector().fit(r, x)
    np.testing.assert_allclose(decoder.preferred_, c, atol=1e-9)
    np.testing.assert_allclose(decoder.predict(r), 3 / 50 * ((r - b) / m) @ c, atol=1e-9)
    given = PopulationVector(preferred=2 * c, baseline=b, modulation=m).fit(r, x)
    np.testing.assert_allclose(given.predict(r), decoder.predict(r), atol=1e-9)


def test_a_neuron_that_prefers_the_other_way_than_is_said_votes_so():
    preferred = np.arange(8) * np.pi / 4
    r, angle = cosine(300, preferred)
    flipped = PopulationVector(preferred=(preferred + np.pi) % (2 * np.pi), period=2 * np.pi).fit(r, angle)
    np.testing.assert_allclose(turn(flipped.predict(r), angle), 0, atol=1e-9)


def test_its_error_falls_with_the_root_of_the_number_of_neurons():
    sizes, missed = [16, 64, 256, 1024], []
    for n_neurons in sizes:
        preferred = np.arange(n_neurons) * 2 * np.pi / n_neurons
        r, angle = cosine(1500, preferred, noise=15.0)
        decoder = PopulationVector(preferred=preferred, period=2 * np.pi).fit(r, angle)
        missed.append(np.sqrt(np.mean(turn(decoder.predict(r), angle) ** 2)))
    slope = np.polyfit(np.log(sizes), np.log(missed), 1)[0]
    assert abs(slope + 0.5) < 0.05
    np.testing.assert_allclose(missed[-1], np.sqrt(2 / 1024), rtol=0.1)  # σ √(2/N) / m for directions all round


def test_uneven_directions_bend_it_and_the_optimal_estimator_corrects_that():
    preferred = np.random.default_rng(0).vonmises(0, 4.0, 60)
    r, angle = cosine(6000, preferred, noise=2.0)
    vector = PopulationVector(period=2 * np.pi).fit(r[:3000], angle[:3000])
    optimal = OptimalLinearEstimator(36, period=2 * np.pi).fit(r[:3000], angle[:3000])
    at = angle[3000:]
    bias, rest = [], []
    for decoder, found in ((vector, bias), (optimal, rest)):
        missed = turn(decoder.predict(r[3000:]), at)
        found += [missed[np.abs(turn(at, where)) < 0.2].mean() for where in np.arange(8) * np.pi / 4]
    assert np.abs(bias).max() > 0.3
    assert np.abs(rest).max() < 0.1 * np.abs(bias).max()


@pytest.mark.parametrize("decoder", [PopulationVector(period=360), OptimalLinearEstimator(36, period=360)])
def test_intervals_cover_what_they_say(decoder):
    r, angle = cosine(6000, np.arange(20) * np.pi / 10, noise=15.0)
    degrees = np.rad2deg(angle)
    decoder.fit(r[:3000], degrees[:3000])
    found, std = decoder.predict(r[3000:], return_std=True)
    missed = (found - degrees[3000:] + 180) % 360 - 180
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.02


def test_neurons_without_tuning_have_no_vote_and_silent_ones_are_told():
    preferred = np.arange(8) * np.pi / 4
    r, angle = cosine(800, preferred, noise=3.0)
    rng = np.random.default_rng(2)
    more = np.c_[r, rng.standard_normal((800, 20)), np.full(800, 2.0)]
    with pytest.warns(UserWarning, match=r"1 of 29 neurons never change in training \(28\): they are left out"):
        strict = PopulationVector(level=0.001, period=2 * np.pi).fit(more, angle)
    assert strict.voting_.tolist() == [True] * 8 + [False] * 21
    np.testing.assert_allclose(strict.predict(more), PopulationVector(period=2 * np.pi).fit(r, angle).predict(r))
    with pytest.warns(UserWarning, match="no neuron is tuned"):
        PopulationVector(level=1e-6).fit(rng.standard_normal((50, 3)), rng.standard_normal(50))


def test_a_direction_and_a_speed_are_read_side_by_side():
    rng = np.random.default_rng(3)
    r, angle = cosine(2000, np.arange(16) * np.pi / 8, noise=2.0)
    speed = rng.uniform(0, 1, 2000)
    X = np.c_[r, 5 + 10 * speed[:, None] + rng.standard_normal((2000, 6))]
    decoder = PopulationVector(level=1e-4, period=(None, 2 * np.pi)).fit(X, np.c_[speed, angle])
    assert decoder.voting_[:16].tolist() == [[False, True]] * 16
    assert decoder.voting_[16:].tolist() == [[True, False]] * 6
    assert decoder.score(X, np.c_[speed, angle]) > 0.95


def curves_of(rates, x, period=None):
    half = (x[1] - x[0]) / 2
    edges = np.append(x - half, x[-1] + half)
    return TuningCurves(rates, np.full(len(x), 10.0), (edges,), (period,), 0.1)


def test_the_estimator_is_the_formula():
    x = np.linspace(-1, 1, 41)
    rates = 40 * np.exp(-((x - np.linspace(-1, 1, 12)[:, None]) ** 2) / 0.1)
    found = OptimalLinearEstimator.from_curves(curves_of(rates, x))
    f = rates * 0.1
    Q = np.diag(f.mean(1)) + f @ f.T / 41
    D = np.linalg.solve(Q, f @ x / 41)
    np.testing.assert_allclose(found.coef_, D, rtol=1e-9)
    np.testing.assert_allclose(found.covariance_, [[(x**2).mean() - D @ (f @ x / 41)]], rtol=1e-9)
    rng = np.random.default_rng(0)
    which = rng.integers(41, size=40_000)
    counts = rng.poisson(f.T[which])
    estimate, std = found.predict(counts, return_std=True)
    np.testing.assert_allclose(np.mean((estimate - x[which]) ** 2), std[0] ** 2, rtol=0.03)
    fitted = OptimalLinearEstimator(41, noise="poisson").fit(counts, x[which])
    np.testing.assert_allclose(fitted.coef_, D, atol=0.02)
    shift = OptimalLinearEstimator.from_curves(curves_of(rates, x + 50), fit_intercept=True)
    np.testing.assert_allclose(shift.predict(counts) - 50, found.predict(counts), atol=0.2)


def test_given_curves_of_a_ring_tell_their_own_error():
    angle = np.arange(72) * 5.0 + 2.5
    rates = 30 * np.exp(2 * (np.cos(np.deg2rad(angle - np.arange(16)[:, None] * 22.5)) - 1))
    found = OptimalLinearEstimator.from_curves(curves_of(rates, angle, 360.0))
    rng = np.random.default_rng(0)
    which = rng.integers(72, size=20_000)
    estimate, std = found.predict(rng.poisson(rates.T[which] * 0.1), return_std=True)
    missed = (estimate - angle[which] + 180) % 360 - 180
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": np.ones(3)}, "give preferred too"),
        ({"preferred": np.ones((3, 2))}, r"preferred has the shape \(3, 2\): it must be \(3, 1\)"),
        ({"preferred": np.zeros((3, 1))}, "it points nowhere"),
        ({"preferred": np.ones((3, 1)), "modulation": np.zeros(3)}, "a modulation is not above zero"),
        ({"preferred": np.ones((3, 1)), "baseline": np.zeros(2)}, r"baseline has the shape \(2,\)"),
    ],
)
def test_directions_that_do_not_fit_are_refused(settings, message):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        PopulationVector(**settings).fit(rng.random((20, 3)), rng.random(20))


@pytest.mark.parametrize("noise", ["residual", "poisson"])
def test_neurons_that_never_change_are_left_out_of_the_estimator(noise):
    r, angle = cosine(600, np.arange(8) * np.pi / 4, noise=2.0)
    r = r.clip(0)
    plain = OptimalLinearEstimator(noise=noise, period=2 * np.pi).fit(r, angle)
    with_silent = np.c_[r, np.ones((600, 2)), np.zeros(600)]
    with pytest.warns(UserWarning, match="3 of 11 neurons never change"):
        more = OptimalLinearEstimator(noise=noise, period=2 * np.pi).fit(with_silent, angle)
    assert (more.coef_[:, 8:] == 0).all()
    np.testing.assert_allclose(more.coef_[:, :8], plain.coef_)


def test_the_estimators_grid_has_as_many_bins_as_the_other_decoders_grids():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(400, 3))
    r = x @ rng.uniform(size=(3, 12)) + rng.standard_normal((400, 12))
    for d, shape in ((1, (50,)), (2, (20, 20)), (3, (10, 10, 10))):
        assert OptimalLinearEstimator().fit(r, x[:, :d]).curves_.shape == shape


def test_noise_that_does_not_fit_is_refused():
    x = np.linspace(-1, 1, 9)
    with pytest.raises(ValueError, match="a variance, not below zero, of each of the 2 neurons"):
        OptimalLinearEstimator.from_curves(curves_of(np.ones((2, 9)), x), np.ones(3))
    with pytest.raises(ValueError, match="choose residual or poisson"):
        OptimalLinearEstimator(noise="white").fit(np.random.default_rng(0).random((9, 3)), np.arange(9.0))
