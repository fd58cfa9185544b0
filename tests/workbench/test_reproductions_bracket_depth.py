"""The truth about strings whose depth was edited, and a planted counter, which follows the edit exactly."""

import numpy as np
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig
from models.tasks.dyck import Dyck
from workbench.probing.cause import DIRECTION, EDIT, METRIC, READ, READ_LATER
from workbench.reproductions.bracket_depth import (
    ALL,
    CHANGED,
    COEFFICIENTS,
    DEEPEST,
    MEANS,
    N_DRAWS,
    PATTERN,
    UNREAD,
    answers,
    chosen_steps,
    edit_depth,
    mean_steps,
    read_out,
    states_of,
    truth_if,
)

STATE = "blocks.0.rnn.hook_h"


def tokens_of(string):
    return torch.tensor([[0] + [{"(": 1, ")": 2, ".": 0}[c] for c in string]])


def edited_at(tokens, t):
    return torch.arange(tokens.shape[1])[None] == t


def true_at(where):
    return where[0].nonzero()[:, 0].tolist()


def test_the_truth_about_a_string_with_one_more_or_one_less_open():
    tokens = tokens_of("(())()((..")
    mask = torch.arange(11)[None] < 9
    was, now, asked = truth_if(tokens, mask, edited_at(tokens, 2), 1)
    assert true_at(was & mask) == [0, 4, 6]
    assert true_at(now & asked) == []  # one stays open
    assert true_at(asked) == [2, 3, 4, 5, 6, 7, 8]
    _, now, asked = truth_if(tokens, mask, edited_at(tokens, 2), -1)
    assert true_at(now & asked) == [3]
    assert true_at(asked) == [2, 3]  # then a bracket would be closed that was never opened
    tokens = tokens_of("((())(")
    _, now, asked = truth_if(tokens, torch.ones(1, 7, dtype=torch.bool), edited_at(tokens, 3), -1)
    assert true_at(now & asked) == [5]
    assert true_at(asked) == [3, 4, 5, 6]


def test_what_is_asked_is_what_the_longer_or_shorter_string_would_show():
    """Against strings that have the bracket: put in, or left out, just before the step."""
    data = Dyck(max_depth=25, max_length=20).dataset(60, seed=0)
    depths = states_of(counter(), data, STATE).depths
    for by in (1, -1):
        at = chosen_steps(depths, by, 0)
        _, now, asked = truth_if(data.tokens, data.mask, at, by)
        n = 0
        for row in at.any(1).nonzero()[:, 0].tolist():
            t = int(at[row].nonzero())
            depth = by
            for position, token in enumerate(data.tokens[row].tolist()):
                depth += {0: 0, 1: 1, 2: -1}[token]
                if asked[row, position]:
                    assert position >= t
                    assert depth >= 0
                    assert bool(now[row, position]) == (depth == 0)
                    n += 1
        assert n > 50


def test_one_step_is_chosen_in_each_string_that_has_one():
    depths = torch.tensor([[-1, 1, 2, 3, 2, 1, 0], [-1, 1, 0, 1, 0, -1, -1], [-1, 1, 2, 1, 0, -1, -1]])
    up, down = chosen_steps(depths, 1, 0), chosen_steps(depths, -1, 0)
    assert up.sum(1).tolist() == [1, 1, 1]
    assert down.sum(1).tolist() == [1, 0, 1]
    assert (depths[up] >= 1).all()
    assert (depths[down] >= 2).all()
    deep = torch.arange(-1, 14)[None].expand(300, -1)
    seen = deep[chosen_steps(deep, 1, 0)]
    assert seen.unique().tolist() == list(range(1, DEEPEST + 1))
    assert not torch.equal(chosen_steps(deep, 1, 0), chosen_steps(deep, 1, 1))


def test_only_answers_that_should_change_are_counted_or_all_of_them():
    tokens = tokens_of("((())())")
    batch = {"input": tokens, "mask": torch.ones_like(tokens, dtype=torch.bool), "edited": edited_at(tokens, 2)}
    true_of_fact = torch.nn.functional.one_hot((torch.arange(9)[None] == 8).long(), 2).float()
    true_of_edit = torch.nn.functional.one_hot(
        torch.isin(torch.arange(9)[None], torch.tensor([5, 7])).long(), 2
    ).float()
    for output, changed, every in ((true_of_fact, 0.0, 0.0), (true_of_edit, 1.0, 1.0)):
        assert answers(-1, CHANGED)(output, batch).item() == changed
        assert answers(-1, ALL)(output, batch).item() == every
    half = true_of_edit.clone()
    half[0, 7] = torch.tensor([1.0, 0.0])
    assert answers(-1, CHANGED)(half, batch).item() == 0.5
    assert answers(-1, ALL)(half, batch).item() == 0


def counter():
    """A ReLU network whose first unit is one more than the depth; the others hold the last token."""
    made = Recurrent(RecurrentConfig(cell="rnn", nonlinearity="relu", d_model=5, d_vocab=3, d_out=2))
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
        made.embed.W_E[:, 0] = torch.tensor([1.0, 1.0, -1.0])
        made.embed.W_E[:, 1:4] = torch.eye(3)
        made.blocks[0].rnn.W_ih.copy_(torch.eye(5))
        made.blocks[0].rnn.W_hh[0, 0] = 1
        made.unembed.W_U[0, 1] = -1
        made.unembed.b_U[1] = 1.5
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def strings():
    return Dyck(max_depth=25, max_length=30).dataset(800, 100, seed=0)


@pytest.fixture(scope="module")
def states(strings):
    return [states_of(counter(), strings.split(split), STATE) for split in ("train", "test")]


def test_a_planted_counter_is_read_and_its_mean_states_lie_on_a_line(states):
    fit, test = states
    torch.testing.assert_close(fit.rows[:, 0].double(), fit.depth + 1)
    assert torch.equal(test.depths[test.depths >= 0].double(), test.depth)
    scores = read_out(fit, test, 0)
    assert scores["r2"] > 0.9999
    assert abs(scores["r2_shuffled"]) < 0.05
    steps = mean_steps(fit)
    np.testing.assert_allclose(steps["length"], 1, atol=0.2)
    assert min(steps["cosine"][1:]) > 0.9


@pytest.mark.usefixtures("as_in_a_script")
def test_and_follows_every_edit_that_its_probe_reads_and_none_that_it_does_not(states):
    fit, test = states
    found = edit_depth(counter(), STATE, fit, test, 0)
    metric = found[found["measure"] == METRIC]
    assert set(found["edit"]) == {COEFFICIENTS, PATTERN, MEANS}
    assert set(found["by"]) == {1, -1}
    assert set(found["depth"]) >= {1, 2, 3, 4}
    assert found["depth"].max() <= DEEPEST
    edits = metric[metric["variant"] == EDIT]
    assert set(edits["judged"]) == {CHANGED, ALL}
    assert (edits["value"] == 1).all()
    assert (edits["unedited"] == 0).all()
    unread = metric[metric["variant"] == UNREAD]
    assert (unread["value"] == 0).all()
    assert sorted(unread["draw"].unique()) == list(range(N_DRAWS))
    assert metric.loc[metric["variant"] == DIRECTION, "value"].mean() < 0.5
    moved = found[(found["variant"] == EDIT) & found["measure"].isin([READ, READ_LATER])]
    np.testing.assert_allclose(moved["effect"], moved["by"], atol=1e-3)
    assert isinstance(test.strings, Dataset)
