"""The n-gram baselines against counts worked by hand, and against entropies that are known."""

import math

import numpy as np
import pytest
import torch

from models.baselines import ngram_losses


def rows(array):
    tokens = torch.as_tensor(array)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def test_a_case_worked_by_hand():
    train, test = rows([[0, 1, 1, 2]]), rows([[0, 1]])
    losses = ngram_losses(train, test, d_vocab=3)
    unigram = (2 + 1) / (3 + 3)  # token 1 was predicted twice among three, one added to each of three kinds
    assert losses["unigram_loss"] == pytest.approx(-math.log(unigram))
    # after 0 came only 1, once: c(0,1) = 1, c(0) = 1, one kind
    assert losses["bigram_loss"] == pytest.approx(-math.log((1 + 1 * unigram) / (1 + 1)))


def test_bigrams_find_a_markov_chain_and_unigrams_do_not():
    rng = np.random.default_rng(0)
    step = rng.integers(1, 3, size=(400, 64))  # one of two successors, each equally likely
    chain = np.cumsum(step, axis=1) % 50
    losses = ngram_losses(rows(chain[:300]), rows(chain[300:]), d_vocab=50)
    assert losses["bigram_loss"] == pytest.approx(math.log(2), abs=0.05)
    assert losses["unigram_loss"] == pytest.approx(math.log(50), abs=0.05)


def test_padding_is_not_counted():
    tokens, mask = rows([[0, 1, 2, 0, 0]])
    mask[:, 3:] = False
    assert ngram_losses((tokens, mask), (tokens, mask), 3) == ngram_losses(rows([[0, 1, 2]]), rows([[0, 1, 2]]), 3)
