"""Row-wise estimators keep scikit-learn's contract."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes import LDAProbe, LogisticProbe, MassMeanProbe, MLPProbe, RidgeProbe, SparseProbe
from probes.erasure import INLP, LEACE, MeanProjection

LEFT_OUT = "a row of weight two is left out as one, where two rows are left out one after the other"
ONE_COLUMN = "one column does not tell three blobs apart, which the check asks"
CHECKED_TYPES = {
    "check_do_not_raise_errors_in_init_or_set_params": "these tests check the types of all parameters at run time"
}
EXPECTED = {
    "RidgeProbe": {"check_sample_weight_equivalence_on_dense_data": LEFT_OUT},
    "SparseProbe": {"check_classifiers_train": ONE_COLUMN},
}
ROW_WISE = [
    *(
        LogisticProbe(),
        RidgeProbe(),
        RidgeProbe([1.0]),
        MassMeanProbe(),
        LDAProbe(),
        SparseProbe(),
        MLPProbe(max_epochs=20),
    ),
    *(LEACE(), INLP(), MeanProjection()),
]


@parametrize_with_checks(ROW_WISE, expected_failed_checks=lambda e: CHECKED_TYPES | EXPECTED.get(type(e).__name__, {}))
def test_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("probe", [LogisticProbe(), LDAProbe(0.1), MassMeanProbe(), SparseProbe(20)])
def test_pipelines_and_cross_validation(probe):
    x, y = load_digits(return_X_y=True)
    scores = cross_val_score(make_pipeline(StandardScaler(), probe), x[:600], y[:600], cv=3)
    assert scores.mean() > 0.75


def test_a_grid_is_searched():
    x, y = load_digits(return_X_y=True)
    found = GridSearchCV(LogisticProbe(), {"C": [1e-6, 1e-2]}, cv=3).fit(x[:300], y[:300] > 4)
    assert found.best_params_ == {"C": 1e-2}
    assert np.isfinite(found.best_score_)
