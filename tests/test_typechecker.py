"""What checks annotations in the tests finds every kind and shape that is wrong, on the way in and on the way out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import Float
from typechecker import OFTEN, another_test, check, jaxtyped, unchecked

from probes.dimensionality import participation_ratio

checked = jaxtyped(typechecker=check)


@checked
def means(x: Float[np.ndarray, "row d"], weights: Float[np.ndarray, " row"], result) -> Float[np.ndarray, " d"]:
    return result


RIGHT = (np.zeros((3, 4)), np.zeros(3), np.zeros(4))


def test_what_is_right_passes_and_an_axis_may_have_another_size_in_another_call():
    means(*RIGHT)
    means(np.zeros((2, 5)), np.zeros(2), result=np.zeros(5))


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, np.zeros((3, 4, 1))),
        (0, np.zeros((3, 4), int)),
        (1, np.zeros(4)),
        (1, [0.0] * 3),
        (2, np.zeros(3)),
        (2, None),
    ],
)
def test_a_wrong_shape_or_kind_is_found(place, wrong):
    given = [*RIGHT]
    given[place] = wrong
    with pytest.raises(Exception, match="means"):
        means(*given)
    with unchecked():
        means(*given)


def test_a_function_is_looked_at_so_often_in_each_test():
    for _ in range(OFTEN - 1):
        means(*RIGHT)
    with pytest.raises(Exception, match="means"):
        means(*RIGHT[:2], result=None)
    means(*RIGHT[:2], result=None)
    another_test()
    with pytest.raises(Exception, match="means"):
        means(*RIGHT[:2], result=None)


def test_sizes_named_by_an_argument_generators_and_dataclasses_are_checked_too():
    @checked
    def row(n: int) -> Float[np.ndarray, "{n}"]:  # noqa: F821
        return np.zeros(3)

    @checked
    def rows(n: int) -> Iterator[int]:
        yield n

    @checked
    @dataclass
    class Fit:
        slope: float

    assert len(row(3)) == 3
    assert [*rows(2)] == [2]
    assert Fit(slope=1).slope == 1  # an int is a float
    for wrong in (lambda: row(4), lambda: rows("2"), lambda: Fit(slope="steep")):
        with pytest.raises(Exception, match="row|rows|Fit|steep"):
            wrong()


def test_what_is_ours_is_checked_when_tests_run():
    with pytest.raises(Exception, match="participation_ratio"):
        participation_ratio(np.eye(8), corrected="yes")
