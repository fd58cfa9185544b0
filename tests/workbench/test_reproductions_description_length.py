"""A label and a control task that are told as well, whose codes are not as long."""

import pandas as pd
import pytest

from workbench.reproductions import description_length as result
from workbench.reproductions.planted_words import PlantedWords


def test_what_has_to_be_learnt_by_heart_takes_more_bits_and_what_nothing_tells_takes_most():
    rows = PlantedWords(n_words=25, n_tags=4, d=32, noise=0.2).draw(800, 400, 0)
    found = pd.DataFrame(result.measured(rows, result.LINEAR, seed=0)).set_index("task")
    assert found["accuracy"]["label"] - found["accuracy"]["control task"] < 0.02
    assert found["accuracy"]["control task"] > 0.97
    bits = found["bits"]
    assert bits["label"] < bits["control task"] < bits["shuffled labels"]
    assert bits["shuffled labels"] > found["bits_of_frequencies"]["shuffled labels"]
    assert found["compression"]["label"] == pytest.approx(800 * 2 / bits["label"])


def table(**changes):
    lines = []
    for rows in ("planted", "trained", "untrained"):
        for seed in (0, 1):
            for task in result.TASKS:
                numbers = {"accuracy": 0.95, "bits": 5000.0 if task == "label" else 12_000.0, "compression": 3.0}
                numbers |= {"bits_of_frequencies": 30_000.0, "rows_sent": 9000, "probe": result.LINEAR}
                numbers |= changes if seed and task == "label" else {}
                lines.append({"rows": rows, "seed": seed, "task": task} | numbers)
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("changes", "passed"),
    [({}, [True, True]), ({"accuracy": 0.92}, [False, True]), ({"bits": 7000.0}, [True, False])],
)
def test_every_seed_must_reach_the_bars(changes, passed):
    rows = result.rows_of(table(**changes))
    assert [row.passed for row in rows if row.bar] == passed * 2
    assert sum("compression" in row.result for row in rows) == 7
