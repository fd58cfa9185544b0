"""Copying: the target is the source, forward or backward, and the alignment says which symbol is said where."""

import numpy as np
import pytest
from labelled_examples import examples_of

from models.tasks import Copy


@pytest.mark.parametrize("reverse", [False, True])
def test_the_target_is_the_source_and_the_alignment_is_true(reverse):
    task = Copy(n_symbols=5, min_length=1, max_length=7, reverse=reverse)
    lengths = set()
    for example in examples_of(task.dataset(100, seed=1)):
        source, target = example.source, example.tokens
        lengths.add(len(source))
        assert target == [0, *(reversed(source) if reverse else source), task.eos]
        for t, row in enumerate(example.labels):
            if t == 0:
                assert row == {"aligned_source": None, "n_left": None}
            elif t >= len(source):
                assert row == {"aligned_source": None, "n_left": 0}
            else:
                assert source[row["aligned_source"]] == target[t + 1]
                assert row["aligned_source"] == (len(source) - 1 - t if reverse else t)
                assert row["n_left"] == len(source) - t
        for index, row in enumerate(example.source_labels):
            assert row["index"] == index
            assert target[row["said_at"] + 1] == source[index]
            assert row["said_at"] == (len(source) - 1 - index if reverse else index)
    assert lengths == set(range(1, 8))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_draw_tells_the_alignment_of_the_first_symbol_too(reverse):
    drawn = Copy(reverse=reverse).draw(20, np.random.default_rng(0))
    lengths = drawn.source_mask.sum(1)
    assert drawn.truth["aligned_source"][:, 0].tolist() == (lengths - 1 if reverse else lengths * 0).tolist()
    assert (drawn.truth["aligned_source"].count(1) == lengths).all()
