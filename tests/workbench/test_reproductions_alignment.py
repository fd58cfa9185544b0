"""Alignments by hand, and subjects that are trained on nothing that they are tested on."""

import numpy as np
import pytest
import torch

from models.seq2seq import Seq2Seq, Seq2SeqConfig
from models.tasks.copying import Copy
from models.tasks.dates import DateNormalisation
from workbench.attention.alignments import alignment_scores
from workbench.reproductions.alignment import greedy_exact_match, subject, unseen, where_to_look


@pytest.mark.parametrize("reverse", [False, True])
def test_copying_looks_at_the_symbol_that_is_said_next(reverse):
    drawn = Copy(min_length=3, max_length=6, reverse=reverse).draw(20, np.random.default_rng(0))
    right = where_to_look(drawn)
    for row in range(20):
        length = int(drawn.source_mask[row].sum())
        for t in range(right.shape[1]):
            expected = [] if t >= length else [length - 1 - t if reverse else t]
            assert np.flatnonzero(right[row, t]).tolist() == expected
            if expected:
                assert drawn.source[row, expected[0]] == drawn.tokens[row, t + 1]


def test_a_date_s_digits_are_read_off_their_own_part_and_separators_off_none():
    task = DateNormalisation(n_formats=1)  # D M Y
    drawn = task.draw(5, np.random.default_rng(0))
    right = where_to_look(drawn)
    for row in range(5):
        length = int(drawn.source_mask[row].sum())
        assert np.flatnonzero(right[row, 0]).tolist() == list(range(length - 4, length))
        assert np.flatnonzero(right[row, 8]).tolist() in ([0], [0, 1])
        assert not right[row, 4].any()
        assert not right[row, 10].any()


def test_scores_of_a_pattern_by_hand():
    right = np.array([[[True, True, False], [False, False, True], [False, False, False]]])
    pattern = np.array([[[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]])
    scores = alignment_scores(pattern, right)
    assert scores["position"].tolist() == [0, 1]
    np.testing.assert_allclose(scores["mass"], [0.5, 0.7])
    assert scores["argmax"].tolist() == [False, True]


def test_new_examples_have_sources_that_a_dataset_has_not():
    task = Copy(n_symbols=2, min_length=3, max_length=5)
    known = task.dataset(30, seed=0)
    drawn = unseen(task, known, 20, seed=0)
    seen = {tuple(row) for row in known.source.tolist()}
    assert len(drawn.tokens) == len(drawn.truth["aligned_source"]) == 20
    assert not seen & {tuple(row) for row in drawn.source.tolist()}


def test_a_task_that_has_nothing_new_is_refused():
    task = Copy(n_symbols=2, min_length=1, max_length=3)
    with pytest.raises(ValueError, match="are new"):
        unseen(task, task.dataset(500), 20, seed=0)


def test_greedy_exact_match_is_teacher_forced_exact_match():
    task = Copy(n_symbols=3, min_length=1, max_length=2)
    batch = task.batch(64, seed=0)
    found = []
    for seed in range(20):
        model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, seed=seed, **task.shape))
        with torch.inference_mode():
            forced = task.exact_match(model(**batch), batch)
        found.append(greedy_exact_match(model, task, batch))
        assert found[-1] == pytest.approx(forced)
    assert max(found) > 0


def test_the_subject_without_attention_is_otherwise_the_same():
    with_it, without = subject("copy", "bahdanau", 2), subject("copy", "none", 2)
    assert without.model == with_it.model | {"attention": "none"}
    assert (without.task, without.training, without.seed) == (with_it.task, with_it.training, 2)
