"""Errors whose predictable part is known, on rows of a recording in two halves."""

import numpy as np
import pandas as pd
import pytest

from tests.small_python_source import small_source
from workbench.reproductions import dark_matter as result


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_source(tmp_path_factory.mktemp("root"))


def test_no_document_is_in_both_halves_and_none_is_of_the_training(source):
    fit, held_out = result.halves_by_document(source)
    doc, split = (source.store.columns(name)[name].to_numpy(zero_copy_only=False) for name in ("doc", "split"))
    assert not set(doc[fit]) & set(doc[held_out])
    assert sorted([*fit, *held_out]) == np.flatnonzero(split == "test").tolist()
    assert min(len(fit), len(held_out)) > len(split) / 16


def test_the_anchors_are_found_on_these_rows(source, monkeypatch):
    halves = result.halves_by_document(source)
    found = result.anchors(source, halves)
    assert found["anchor: Ax + b"] > 0.99
    # With few rows the fit follows its own noise: never above nothing.
    assert -0.2 < found["anchor: independent noise"] < 0.02


def test_an_anchor_that_is_missed_is_told():
    numbers = dict.fromkeys(("error_norm_r2", "x_norm_r2", "x_hat_norm_r2", "explained_variance"), 0.5)
    lines = [
        {"dictionary": name, "error_r2": 0.5, "fit_rows": 10.0, "held_out_rows": 10.0} | numbers
        for name in ("trained", "random", "PCA", "neurons")
    ]
    for linear, noise, passed in ((0.995, -0.01, [True, True]), (0.98, -0.03, [False, False])):
        anchors = [
            {"dictionary": "anchor: Ax + b", "error_r2": linear},
            {"dictionary": "anchor: independent noise", "error_r2": noise},
        ]
        rows = result.rows_of(pd.DataFrame([*lines, *anchors]))
        assert [row.passed for row in rows if row.bar] == passed
