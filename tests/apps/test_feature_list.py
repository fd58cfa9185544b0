"""Which features are listed, and in which order."""

import pandas as pd
import pytest

from apps.feature_list import Filters, choose, neighbours_in, with_gain


@pytest.fixture
def table() -> pd.DataFrame:
    return with_gain(
        pd.DataFrame(
            {
                "feature": [0, 1, 2, 3],
                "name": ["in docstring", "this token is: 'self'", "no concept found", "in docstring (dead)"],
                "top_tokens": ["the a", "self .*", "x y", ""],
                "kind": ["syntax", "token", "none", "syntax"],
                "dead": [False, False, False, True],
                "density": [0.1, 0.01, 0.001, 0.0],
                "f1": [0.6, 0.9, 0.1, 0.0],
                "neuron_f1": [0.2, 0.8, 0.1, 0.0],
                "lift": [3.0, 50.0, 1.0, 0.0],
                "max": [1.0, 2.0, 3.0, 0.0],
                "precision": 0.5,
                "recall": 0.5,
            }
        )
    )


def listed(table: pd.DataFrame, **changes) -> list[int]:
    return choose(table, Filters(**changes))["feature"].tolist()


def test_dead_features_are_left_out_unless_asked_for(table: pd.DataFrame) -> None:
    assert 3 not in listed(table)
    assert 3 in listed(table, live_only=False)


def test_every_word_must_be_found_in_name_tokens_or_number(table: pd.DataFrame) -> None:
    assert listed(table, text="DOCSTRING") == [0]
    assert listed(table, text="self token") == [1]
    assert listed(table, text="self docstring") == []
    assert listed(table, text="2") == [2]
    assert listed(table, text=".*") == [1], "what is searched for is no pattern"


def test_each_filter_filters(table: pd.DataFrame) -> None:
    assert listed(table, kinds=("token", "none"), order="number") == [1, 2]
    assert listed(table, density=(0.005, 0.05)) == [1]
    assert listed(table, min_f1=0.5, order="number") == [0, 1]
    assert listed(table, min_gain=0.2) == [0]


def test_orders_and_their_reverse(table: pd.DataFrame) -> None:
    assert listed(table) == [0, 1, 2]
    assert listed(table, reverse=True) == [2, 1, 0]
    assert listed(table, order="name") == [0, 2, 1]
    assert listed(table, order="density") == [0, 1, 2]
    assert listed(table, order="maximum") == [2, 1, 0]


def test_the_way_from_one_feature_to_the_next(table: pd.DataFrame) -> None:
    chosen = choose(table, Filters())
    assert neighbours_in(chosen, 0) == (None, 1, 1)
    assert neighbours_in(chosen, 1) == (0, 2, 2)
    assert neighbours_in(chosen, 2) == (1, None, 3)
    assert neighbours_in(chosen, 3) == (None, 0, None), "from outside the list the way leads to its beginning"
