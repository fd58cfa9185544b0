"""The way from one listed feature to the next."""

import pandas as pd

from apps.feature_list import neighbours_in


def test_the_way_from_one_feature_to_the_next() -> None:
    chosen = pd.DataFrame({"feature": [7, 1, 2]})
    assert neighbours_in(chosen, 7) == (None, 1, 1)
    assert neighbours_in(chosen, 1) == (7, 2, 2)
    assert neighbours_in(chosen, 2) == (1, None, 3)
    assert neighbours_in(chosen, 3) == (None, 7, None), "from outside the list the way leads to its beginning"
    assert neighbours_in(chosen.head(0), 3) == (None, None, None)
