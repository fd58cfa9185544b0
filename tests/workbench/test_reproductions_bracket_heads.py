"""Where a query that is about to close a bracket may look, by hand, and the loss of what it says."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from models import Dataset
from workbench.attention.label_grids import LabelGrids
from workbench.reproductions.bracket_heads import (
    CLOSED,
    CLOSERS,
    DISTANCE,
    NESTED,
    OPENER,
    OTHERS,
    LossAt,
    closing,
    looking_for,
    rows_of,
)

TEXT = "f ( a [ i ] , b ) + c + d"  # positions 1 to 13


@pytest.fixture
def data():
    words = TEXT.split()
    depths, depth = [], 0
    for word in words:
        depth += word in "(["
        depths.append(depth)
        depth -= word in ")]"
    brackets = [word if word in "()[]" else None for word in words]
    labels = pa.table(
        {
            "bracket": pa.array([None, *brackets]).dictionary_encode(),
            "bracket_depth": pa.array([None, *depths], pa.int16()),
        }
    )
    return Dataset(torch.arange(len(words) + 1)[None], labels=labels)


def keys(data, name):
    return looking_for(name)(data.tokens, LabelGrids(data))[0].nonzero().tolist()


def test_the_opener_is_sought_from_the_position_before_the_bracket_that_closes_it(data):
    # `i` is followed by ] of 4, `b` by ) of 2; since 2 the bracket at 4 was opened, and closed.
    assert keys(data, OPENER) == [[5, 4], [8, 2]]
    assert closing(data)[0].nonzero()[:, 0].tolist() == [5, 8]
    assert keys(data, NESTED) == [[8, 2]]
    assert keys(data, CLOSED) == [[8, 4]]


def test_the_control_has_the_same_distances_from_other_queries_to_other_tokens(data):
    found = keys(data, DISTANCE)
    assert sorted(query - key for query, key in found) == [1, 6]
    assert not {query for query, _ in found} & {5, 8}
    assert not {key for _, key in found} & {0, 2, 4}


def test_the_loss_is_that_of_the_tokens_after_the_chosen_positions(data):
    output = torch.randn(1, 14, 20, generator=torch.Generator().manual_seed(0))
    batch = data.batch(slice(None)) | {"seq": torch.tensor([0])}
    logs = output.log_softmax(-1)[0]
    want = -(logs[5, 6] + logs[8, 9]) / 2
    assert float(LossAt(closing(data))(output, batch)[0]) == pytest.approx(float(want))


def tables(attention, effect, turned=0.0):
    scores = pd.DataFrame(
        [
            {"layer": 1, "head": head, "score": score, "value": value, "control_high": 0.04, "positions": 50}
            for head in (0, 1)
            for score, value in zip((OPENER, NESTED, CLOSED, DISTANCE), attention if head else (0.1,) * 4, strict=True)
        ]
    )
    lost = pd.DataFrame(
        [
            {"layer": 1, "head": head, "ablation": ablation, "variant": variant, "loss": loss}
            | {"effect": effect * head + 0.1 if variant == "ablation" else turned, "effect_low": effect * head}
            for head in (0, 1)
            for ablation in ("mean", "resample")
            for variant in ("ablation", "random direction")
            for loss in (CLOSERS, OTHERS)
        ]
    )
    return scores, lost


@pytest.mark.parametrize(
    ("attention", "effect", "passed"),
    [
        ((0.6, 0.5, 0.1, 0.1), 1.0, [True, True, True, True]),
        ((0.25, 0.1, 0.2, 0.1), 0.05, [False, False, False, False]),
    ],
)
def test_bars_are_met_by_a_head_that_looks_there_and_counts(attention, effect, passed):
    rows = rows_of(*tables(attention, effect), (1, 1))
    assert [row.passed for row in rows] == [*passed, None, None]
    assert np.all(["1.1" in rows[0].result, "0.1" in rows[3].ours])


@pytest.mark.parametrize(("turned", "passed"), [(0.4, True), (0.6, False), (-0.6, False)])
def test_a_head_is_missed_only_where_as_large_a_change_in_a_random_direction_is_not(turned, passed):
    rows = rows_of(*tables((0.6, 0.5, 0.1, 0.1), 1.0, turned), (1, 1))
    assert [row.passed for row in rows][:4] == [True, True, True, passed]
