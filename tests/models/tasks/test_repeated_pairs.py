"""Pairs of repeated sequences that differ in which token came after the one that is asked about."""

import pytest
import torch

from models.tasks import RepeatedSequences, induction_pairs

TASK = RepeatedSequences(n_symbols=10, min_period=4, max_period=6, max_prefix=2, n_ctx=16)


def test_pairs_differ_in_what_came_after_the_last_token_before_and_in_nothing_else():
    pairs = induction_pairs(TASK, 200, seed=3)
    clean, corrupt = pairs.clean.tokens, pairs.corrupt.tokens
    assert torch.equal(pairs.clean.mask, pairs.corrupt.mask)
    assert ((clean != corrupt).sum(1) == 2).all()
    assert torch.equal(clean.sort(1).values, corrupt.sort(1).values)
    assert torch.equal(pairs.clean.mask.sum(1) - 1, pairs.position)
    for row in range(200):
        last = int(pairs.position[row])
        for tokens, follower in ((clean[row], pairs.answer[row]), (corrupt[row], pairs.wrong[row])):
            earlier = (tokens[:last] == tokens[last]).nonzero()[:, 0].tolist()
            assert len(earlier) == 1
            assert tokens[earlier[0] + 1] == follower
        assert clean[row, pairs.source[row]] == corrupt[row, pairs.source[row]] == pairs.answer[row]
    assert len(set((pairs.position - pairs.source).tolist())) > 2
    with pytest.raises(ValueError, match="min_period is 3"):
        induction_pairs(RepeatedSequences(n_symbols=20, min_period=3, max_period=8, n_ctx=32), 4)
