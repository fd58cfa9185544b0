"""Modular addition: the sum, the split of all pairs, and the Fourier basis."""

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import NOTHING, ModularAddition


def test_the_last_token_is_asked_for_the_sum_and_the_labels_say_the_numbers():
    task = ModularAddition(p=13)
    for example in examples_of(task.dataset(seed=1)):
        _, a, b, equals = example.tokens
        assert equals == 14
        numbers = {"a": a - 1, "b": b - 1, "c": (a - 1 + b - 1) % 13}
        assert example.labels[1:] == [numbers] * 3
        assert example.targets == [NOTHING, NOTHING, NOTHING, numbers["c"] + 1]


@pytest.mark.parametrize(("p", "share"), [(13, 0.4), (113, 0.3)])
def test_every_pair_is_in_exactly_one_part(p, share):
    data = ModularAddition(p=p, train_share=share).dataset(seed=0)
    pairs = {tuple(row) for row in data.tokens[:, 1:3].tolist()}
    assert len(data) == len(pairs) == p * p
    assert len(data.sequences("train")) == round(share * p * p)


def test_another_seed_splits_otherwise_and_numbers_may_be_asked_for():
    task = ModularAddition(p=13)
    assert not torch.equal(task.dataset(seed=0).tokens, task.dataset(seed=1).tokens)
    data = task.dataset(10, 20, seed=0)
    assert [len(data.sequences(split)) for split in ("train", "test")] == [10, 20]
    assert len(task.dataset(10, 0)) == 10


def test_the_table_of_all_pairs_is_in_order():
    table = ModularAddition(p=7).all_pairs()
    assert table.tolist() == [[0, a + 1, b + 1, 8] for a in range(7) for b in range(7)]
    assert list(range(100))[ModularAddition(p=7).numbers] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("p", [2, 3, 8, 59])
def test_the_fourier_basis_is_orthonormal_and_each_row_is_of_its_frequency(p):
    task = ModularAddition(p=p)
    basis, frequencies = task.fourier_basis(), task.fourier_frequencies()
    assert np.abs(basis @ basis.T - np.eye(p)).max() < 1e-12
    power = np.abs(np.fft.rfft(basis, axis=1)) ** 2
    assert (power.argmax(1) == frequencies).all()
    assert (power.max(1) / power.sum(1)).min() > 1 - 1e-12
    cosines = basis[[list(frequencies).index(k) for k in range(p // 2 + 1)]]
    assert (cosines[:, 0] > 0).all(), "the first of each frequency is the cosine, which is largest at 0"


def test_the_sum_is_read_off_a_few_frequencies():
    """The algorithm that networks find: Σ over k of cos w(a + b − c) is largest at c."""
    p = 59
    task = ModularAddition(p=p)
    basis = task.fourier_basis()[[i for i, k in enumerate(task.fourier_frequencies()) if k in (3, 7, 20)]]
    kernel = basis.T @ basis  # of x − y: Σ cos w(x − y)
    sums = np.add.outer(np.arange(p), np.arange(p)) % p
    assert (kernel[sums].argmax(-1) == sums).all()
