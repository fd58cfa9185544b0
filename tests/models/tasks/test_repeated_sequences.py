"""Repeated sequences: where the repeat is, where induction must look, and that nothing else gives the answer."""

from math import log

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import RepeatedSequences

TASKS = [
    RepeatedSequences(),
    RepeatedSequences(n_symbols=10, min_period=2, max_period=7, max_prefix=3, n_ctx=40),
    RepeatedSequences(n_symbols=20, min_period=20, max_period=20, max_prefix=0, n_ctx=41),
]
each_task = pytest.mark.parametrize("task", TASKS)


@each_task
def test_induction_looks_after_the_latest_earlier_occurrence(task):
    periods, prefixes = set(), set()
    for example in examples_of(task.dataset(80, seed=2)):
        tokens, in_repeat = example.tokens, [row["in_repeat"] for row in example.labels]
        start = in_repeat.index(True)
        assert in_repeat == [None, *[False] * (start - 1), *[True] * (len(tokens) - start)]
        assert len(set(tokens[:start])) == start, "nothing before the repeat comes twice"
        period = start - tokens.index(tokens[start])
        periods.add(period)
        prefixes.add(start - period - 1)
        for t, row in enumerate(example.labels):
            if t < start:
                assert row["induction_source"] is None
                continue
            assert tokens[t] == tokens[t - period]
            earlier = max(s for s in range(t) if tokens[s] == tokens[t])
            assert row["induction_source"] == earlier + 1
            if t + 1 < len(tokens):
                assert tokens[row["induction_source"]] == tokens[t + 1]
        assert start + period <= len(tokens), "it is repeated at least once as a whole"
    assert periods == set(range(task.min_period, task.max_period + 1))
    assert prefixes == set(range(task.max_prefix + 1))


def test_no_fixed_offset_and_no_position_gives_the_answer():
    """Copying from any one offset is right for a small share of examples; and no symbol is favoured."""
    task = RepeatedSequences()
    tokens = task.batch(2000, 0)["input"]
    asked = task.in_repeat(tokens)[:, :-1]
    rows, queries = asked.nonzero(as_tuple=True)
    best = 0.0
    for offset in range(task.n_ctx):
        read = tokens[rows, (queries - offset).clamp(min=0)]
        best = max(best, float((read == tokens[rows, queries + 1]).float().mean()))
    assert best < 0.2
    share = torch.bincount(tokens[:, 1:].flatten(), minlength=65)[1:] / tokens[:, 1:].numel()
    assert share.min() > 0.8 / 64
    assert share.max() < 1.2 / 64


@each_task
def test_the_repeat_is_read_off_the_tokens(task):
    drawn = task.draw(200, np.random.default_rng(5))
    tokens = torch.from_numpy(drawn.tokens)
    assert np.array_equal(task.in_repeat(tokens).numpy(), drawn.truth["in_repeat"])


def test_only_the_repeat_counts_and_copying_by_induction_is_right_there():
    task = RepeatedSequences()
    drawn = task.draw(50, np.random.default_rng(0))
    tokens = torch.from_numpy(drawn.tokens)
    source = torch.from_numpy(drawn.truth["induction_source"].filled(0))
    logits = torch.nn.functional.one_hot(tokens.gather(1, source), 65).float()
    assert task.accuracy(logits, {"input": tokens}) == 1
    hit, asked = task.hits(logits, {"input": tokens})
    assert asked.sum() == drawn.truth["in_repeat"][:, :-1].sum()
    assert not hit[~asked].any()


def test_chance_is_a_uniform_guess():
    task = RepeatedSequences()
    assert task.chance_loss == log(64)
    uniform = torch.zeros(1, 64)
    assert float(torch.nn.functional.cross_entropy(uniform, torch.tensor([5]))) == pytest.approx(task.chance_loss)
