"""Steps joined into bins: within their stretch, whole, counts summed and activations averaged."""

import numpy as np
import pytest
import torch

from probes.report import Split
from workbench.decoding.binning import Bins

GROUPS = np.repeat([0, 1, 2], [7, 3, 6])
PARTS = Split(np.arange(10), np.arange(10, 16))


def test_bins_lie_within_stretches_and_what_is_left_over_is_in_none():
    bins = Bins.of(GROUPS, PARTS, 3)
    assert bins.rows.tolist() == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12], [13, 14, 15]]
    assert bins.groups.tolist() == [0, 0, 1, 2, 2]
    assert bins.middle.tolist() == [1, 4, 8, 11, 14]
    assert bins.parts.fit.tolist() == [0, 1, 2]
    assert bins.parts.held_out.tolist() == [3, 4]


def test_counts_are_summed_and_activations_averaged():
    X = torch.arange(32.0).reshape(16, 2)
    bins = Bins.of(GROUPS, PARTS, 3)
    assert bins.read(X, summed=True)[0].tolist() == X[:3].sum(0).tolist()
    assert bins.read(X, summed=False)[3].tolist() == X[10:13].mean(0).tolist()


def test_bins_of_one_step_are_the_rows():
    X = torch.arange(32.0).reshape(16, 2)
    bins = Bins.of(GROUPS, PARTS, 1)
    assert torch.equal(bins.read(X, summed=True), X)
    assert bins.parts.fit.tolist() == PARTS.fit.tolist()
    assert bins.parts.held_out.tolist() == PARTS.held_out.tolist()
    assert bins.groups.tolist() == GROUPS.tolist()


def test_bins_longer_than_the_stretches_are_refused():
    with pytest.raises(ValueError, match="bins of 9 steps do not fit the stretches of 7 steps at most"):
        Bins.of(GROUPS, PARTS, 9)
