"""Dyck: strings are well nested, and depth, partner and innermost bracket are a stack's."""

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import NOTHING, Dyck

TASKS = [
    Dyck(max_length=20),
    Dyck(n_types=3, max_length=20, objective="next"),
    Dyck(n_types=2, max_depth=2, min_length=9, max_length=15, p_open=0.8),
    Dyck(min_length=100, max_length=200),
    Dyck(max_depth=1, max_length=3),
]
each_task = pytest.mark.parametrize("task", TASKS)


@each_task
def test_labels_are_those_of_a_stack(task):
    n, lengths, deepest = task.n_types, set(), 0
    for example in examples_of(task.dataset(80, seed=1)):
        brackets = example.tokens[1:-1] if task.objective == "next" else example.tokens[1:]
        stack: list[int] = []
        partner: dict[int, int] = {}
        for t, token in enumerate(brackets, 1):
            assert 1 <= token <= 2 * n
            if token <= n:
                stack.append(t)
            else:
                opener = stack.pop()
                assert example.tokens[opener] == token - n
                partner |= {opener: t, t: opener}
            row = example.labels[t]
            assert row["depth"] == len(stack) <= task.max_depth
            assert row["is_open"] == (token <= n)
            assert row["bracket_type"] == (token - 1) % n
            assert row["innermost"] == (stack[-1] if stack else None)
            deepest = max(deepest, len(stack))
        assert not stack
        lengths.add(len(brackets))
        assert [row["matching_bracket"] for row in example.labels[1 : len(brackets) + 1]] == [
            partner[t] for t in range(1, len(brackets) + 1)
        ]
        if task.objective == "next":
            assert example.tokens[-1] == task.eos
            assert example.labels[-1] == {"depth": 0} | dict.fromkeys(
                ["is_open", "bracket_type", "matching_bracket", "innermost"]
            )
        else:
            assert example.targets == [NOTHING, *(int(row["depth"] == 0) for row in example.labels[1:])]
    assert task.min_length <= min(lengths)
    assert max(lengths) <= task.max_length
    assert len(lengths) > 1 or task.max_length < 4
    assert deepest == task.max_depth or task.max_depth > 5


@pytest.mark.parametrize("task", [Dyck(n_types=3, max_length=12, max_depth=3, objective="next")])
def test_a_token_may_follow_just_when_the_string_can_still_be_ended(task):
    """Tried by hand on a stack, for every position and every token."""
    batch = task.batch(60, 0)
    legal = task.legal(batch["input"])
    kinds = set()
    for row, tokens in enumerate(batch["input"].tolist()):
        stack: list[int] = []
        for t, token in enumerate(tokens):
            if 1 <= token <= 3:
                stack.append(token)
            elif 4 <= token <= 6:
                assert stack.pop() == token - 3
            ended = task.eos in tokens[: t + 1]
            may = [False] * 8
            if not ended:
                may[1:4] = [len(stack) < 3] * 3
                may[7] = not stack
                if stack:
                    may[stack[-1] + 3] = True
            assert legal[row, t].tolist() == may
            kinds.add(tuple(may))
    assert len(kinds) == 1 + 1 + 3 + 3


def test_any_legal_token_is_right_and_a_wrong_partner_is_not():
    task = Dyck(n_types=2, objective="next")
    batch = task.batch(40, 0)
    legal = task.legal(batch["input"]).float()
    assert task.accuracy(legal, batch) == 1
    assert task.accuracy(1 - legal, batch) == 0
    depth = torch.from_numpy(task.draw(40, np.random.default_rng([0, 2, 0])).truth["depth"].astype(np.int64))
    always_close_the_first_type = torch.nn.functional.one_hot(torch.full_like(batch["input"], 3), 6).float()
    hit, asked = task.hits(always_close_the_first_type, batch)
    assert not hit[depth == 0].any()
    assert 0.3 < hit[asked & (depth > 0)].float().mean() < 0.7
    assert asked.sum() == batch["mask"].sum() - 40, "after EOS nothing is asked"


def test_lengths_are_drawn_alike_and_opening_more_nests_deeper():
    lengths = Dyck(min_length=2, max_length=9).batch(4000, 0)["mask"].sum(1) - 1
    assert sorted(set(lengths.tolist())) == [2, 4, 6, 8]
    assert torch.bincount(lengths)[2::2].min() > 850
    flat, deep = (Dyck(p_open=p).draw(500, np.random.default_rng(0)).truth["depth"].mean() for p in (0.3, 0.7))
    assert deep > 2 * flat


def test_one_type_is_counting():
    """Depth is opening minus closing brackets so far."""
    drawn = Dyck().draw(50, np.random.default_rng(0))
    counts = np.cumsum(drawn.tokens == 1, axis=1) - np.cumsum(drawn.tokens == 2, axis=1)
    assert np.array_equal(drawn.truth["depth"], counts)
