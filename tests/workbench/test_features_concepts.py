"""Label columns become statements that mean what they say."""

import numpy as np
import pyarrow as pa

from workbench.features.naming.concepts import concepts_of


def concepts(table: dict, n: int, min_positives: int = 1) -> dict[str, np.ndarray]:
    found = concepts_of(pa.table(table), np.ones(n, bool), min_positives)
    return dict(zip(found.names, found.matrix.T, strict=True))


def test_each_kind_of_column():
    found = concepts(
        {
            "inside_def": pa.array([True, False, None, False]),
            "bracket": pa.array(["(", None, "open_square", "("]).dictionary_encode(),
            "depth": pa.array([0, 2, None, 9], pa.int16()),
        },
        4,
    )
    expected = {
        "inside def": [1, 0, 0, 0],
        'bracket is "("': [1, 0, 0, 1],
        "bracket is open square": [0, 0, 1, 0],
        "depth = 2": [0, 1, 0, 0],
        "depth ≥ 1": [0, 1, 0, 1],
        "depth ≥ 3": [0, 0, 0, 1],
    }
    # Depth 0 holds where "inside def" does, and the bounds above 3 where ≥ 3 does: each is kept once.
    assert {name: column.tolist() for name, column in found.items()} == expected


def test_a_concept_must_hold_and_fail_often_enough_where_it_is_chosen():
    table = pa.table({"rare": pa.array([True] * 3 + [False] * 97), "usual": pa.array([True] * 98 + [False] * 2)})
    fit = np.arange(100) < 50
    assert concepts_of(table, fit, 3).names == ["rare"]
    assert concepts_of(table, fit, 4).names == []
    assert concepts_of(table, ~fit, 2).names == ["usual"]


def test_the_line_number_is_no_concept():
    assert concepts({"line": pa.array([1, 2, 3, 4], pa.int16())}, 4) == {}


def test_a_measured_quantity_is_told_by_its_quarters_on_the_fitting_rows():
    x = np.arange(400.0)
    fit = x <= 200
    found = concepts_of(pa.table({"x": x}), fit)
    assert found.names == ["x ≥ 50", "x ≥ 100", "x ≥ 150", "x < 50"]
    assert np.array_equal(found.matrix[:, 1].astype(bool), x >= np.median(x[fit]))
