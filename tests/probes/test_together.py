"""Several labels of the same rows told by one fit: as if each had been fitted by itself."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from probes import LDAProbe, LogisticProbe, MassMeanProbe
from probes.base import taken
from probes.together import fit_labels


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((600, 8))


@pytest.fixture(scope="module")
def codes(rows):
    """A label of two classes, one of four, and one of three of which class 1 has no row."""
    noisy = rows + 0.7 * np.random.default_rng(1).standard_normal(rows.shape)
    three = np.where(noisy[:, 2] > 0.5, 2, 0)
    return {"two": (noisy[:, 0] > 0.4).astype(int), "four": np.digitize(noisy[:, 1], [-1, 0, 1]), "three": three}


def test_one_against_the_rest_is_scikit_learns(rows, codes):
    found = LogisticProbe(multi_class="one_vs_rest", tol=1e-8).fit(rows, codes["four"])
    expected = OneVsRestClassifier(LogisticRegression(tol=1e-10, max_iter=1000)).fit(rows, codes["four"])
    np.testing.assert_allclose(found.coef_, np.concatenate([e.coef_ for e in expected.estimators_]), atol=1e-5)
    np.testing.assert_allclose(found.predict_proba(rows), expected.predict_proba(rows), atol=1e-6)
    np.testing.assert_array_equal(found.predict(rows), expected.predict(rows))


def test_class_weights_count_against_the_rest_too(rows, codes):
    doubled = np.concatenate([np.arange(600), np.flatnonzero(codes["four"] == 3)])
    options = {"multi_class": "one_vs_rest", "tol": 1e-8}
    weighted = LogisticProbe(class_weight={0: 1, 1: 1, 2: 1, 3: 2}, **options).fit(rows, codes["four"])
    repeated = LogisticProbe(**options).fit(rows[doubled], codes["four"][doubled])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)


def test_labels_that_share_a_fit_are_told_as_if_alone(rows, codes):
    probe = LogisticProbe(multi_class="one_vs_rest", tol=1e-8)
    together = fit_labels(probe, rows, codes)
    assert together.shared is not None
    assert not together.alone
    told, probabilities = together.tell(rows), together.probabilities(rows)
    for name, values in codes.items():
        alone = LogisticProbe(multi_class="one_vs_rest", tol=1e-8).fit(rows, values)
        np.testing.assert_array_equal(told[name].classes, alone.predict(rows))
        np.testing.assert_allclose(probabilities[name], alone.predict_proba(rows), atol=1e-5)
    np.testing.assert_allclose(
        told["two"].decision, LogisticProbe(tol=1e-8).fit(rows, codes["two"]).decision_function(rows), atol=1e-4
    )


@pytest.mark.parametrize("probe", [LogisticProbe(), LDAProbe(), MassMeanProbe()], ids=str)
def test_labels_of_several_classes_have_a_fit_of_their_own_where_the_probe_solves_them_jointly(probe, rows, codes):
    found = fit_labels(probe, rows, codes)
    assert set(found.alone) == {"four"}
    assert set(found.places) == {"two", "three"}
    assert set(found.tell(rows)["three"].classes) == {0, 2}
    np.testing.assert_array_equal(found.tell(rows)["four"].classes, found.alone["four"].predict(rows))


def test_an_unknown_way_with_classes_is_refused(rows, codes):
    with pytest.raises(ValueError, match="multi_class is 'ovr': it must be multinomial or one_vs_rest"):
        LogisticProbe(multi_class="ovr").fit(rows, codes["four"])


def test_rows_that_follow_one_another_are_taken_without_a_copy(rows):
    assert np.shares_memory(taken(rows, np.arange(10, 50)), rows)
    np.testing.assert_array_equal(taken(rows, np.arange(10, 50)), rows[10:50])
    np.testing.assert_array_equal(taken(rows, np.array([3, 5, 4])), rows[[3, 5, 4]])
    assert len(taken(rows, np.arange(0))) == 0
