"""Planted words, whose tag a linear probe tells and whose word it does not, and the bars on that."""

import numpy as np
import pandas as pd
import pytest

from probes import LogisticProbe
from workbench.reproductions import control_tasks as result
from workbench.reproductions.planted_words import PlantedWords


def test_a_row_is_its_words_vector_and_its_tags_and_words_have_two_tags():
    rows = PlantedWords(n_words=20, n_tags=5, d=16, noise=0.0).draw(3000, 1000, seed=3)
    assert len(rows.x) == 4000
    assert rows.n_fit == 3000
    kinds = {(word, tag) for word, tag in zip(rows.word, rows.label, strict=True)}
    vectors = {tuple(x) for x in np.round(rows.x, 4)}
    assert len(vectors) == len(kinds)  # the same word with the same tag is the same row
    assert max(sum(word == w for w, _ in kinds) for word in range(20)) == 2
    differences = {}
    for word, tag in kinds:
        first = rows.x[(rows.word == word) & (rows.label == tag)][0]
        for other in (t for w, t in kinds if w == word and t > tag):
            there = rows.x[(rows.word == word) & (rows.label == other)][0]
            differences.setdefault((tag, other), []).append(there - first)
    assert any(len(found) > 1 for found in differences.values())
    for found in differences.values():  # whatever the word, its second tag adds the same vector
        np.testing.assert_allclose(found, np.broadcast_to(found[0], np.shape(found)), atol=1e-5)


def test_rarer_words_recur_and_draws_follow_from_the_seed():
    task = PlantedWords(n_words=300)
    rows, again, other = task.draw(8000, 2000, 0), task.draw(8000, 2000, 0), task.draw(8000, 2000, 1)
    np.testing.assert_array_equal(rows.x, again.x)
    assert (rows.label != other.label).any()
    assert np.isin(rows.word[8000:], rows.word[:8000]).mean() > 0.99
    counts = np.sort(np.bincount(rows.word))
    assert counts[-1] > 5 * counts[150]


def test_all_probes_are_compared_and_the_type_alone_stands_beside_them():
    rows = PlantedWords(n_words=60, d=24, n_tags=4).draw(600, 300, 0)
    few = "MLP, 512 units, a tenth of the rows"
    lines = pd.DataFrame(result.compared(rows, seed=0, names=(result.LINEAR, few))).set_index("probe")
    linear = lines.loc[result.LINEAR]
    theirs = LogisticProbe().fit(rows.x[:600], rows.label[:600]).score(rows.x[600:], rows.label[600:])
    assert linear["accuracy"] == pytest.approx(theirs, abs=0.01)
    assert linear["selectivity"] == linear["accuracy"] - linear["control"]
    assert lines.loc["majority", "accuracy"] < lines.loc["type alone", "accuracy"] < linear["accuracy"]
    assert lines.loc[few, "accuracy"] < linear["accuracy"]


def table(linear=(0.97, 0.71), large=(0.973, 0.93)):
    lines = []
    for rows in ("planted", "trained", "untrained"):
        for seed in (0, 1):
            for name, (accuracy, control) in {
                result.LINEAR: linear if seed else (0.97, 0.71),
                result.LARGE: large,
            }.items():
                numbers = {"accuracy": accuracy, "control": control, "selectivity": accuracy - control}
                lines.append({"rows": rows, "seed": seed, "probe": name} | numbers)
            lines += [
                {"rows": rows, "seed": seed, "probe": name, "accuracy": 0.5} for name in ("type alone", "majority")
            ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("changes", "passed"),
    [({}, [True, True]), ({"linear": (0.96, 0.71)}, [False, True]), ({"linear": (0.97, 0.79)}, [True, False])],
)
def test_every_seed_must_reach_the_bars(changes, passed):
    rows = result.rows_of(table(**changes))
    assert [row.passed for row in rows if row.bar] == passed * 2
    assert sum("selectivity;" in row.result for row in rows) == 4
