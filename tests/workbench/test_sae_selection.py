"""The search for the largest entries against PyTorch's own, on one thread and on several."""

import pytest
import torch

from workbench.sae import selection


@pytest.fixture(params=[1, 3], autouse=True)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def normal(n=50, latents=203, seed=0):
    return torch.randn(n, latents, generator=torch.Generator().manual_seed(seed))


def assert_largest(pre, k):
    values, indices = selection.largest_of_rows(pre, k)
    want = pre.topk(k, dim=1)
    assert torch.equal(values.sort(dim=1, descending=True).values, want.values)
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(row.unique()) == k for row in indices)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_the_largest_of_rows_are_those_of_topk(k, monkeypatch):
    assert_largest(normal(), k)
    assert_largest(normal().double(), k)
    if k < 30:  # without the short way's refusal, which is tried for in the next test
        monkeypatch.setattr(selection, "_all_compared", None)
        assert_largest(normal(), k)


@pytest.mark.parametrize(
    "pre",
    [torch.zeros(4, 200), torch.full((4, 200), -torch.inf), normal().round(), normal()[:, torch.arange(203) // 8]],
    ids=["equal", "minus infinity", "ties", "in blocks"],
)
def test_rows_with_equal_entries_have_k_different_latents(pre):
    assert_largest(pre, 5)


def test_what_is_not_a_number_counts_as_largest_as_it_does_for_topk():
    pre = normal()
    pre[7, 11] = torch.nan
    values, indices = selection.largest_of_rows(pre, 5)
    assert values[7].isnan().sum() == 1
    assert indices[7][values[7].isnan()].item() == 11
    assert not values[8:].isnan().any()


@pytest.mark.parametrize("bar", [0.5, 100.0, torch.linspace(-1, 2, 203)], ids=["one", "none above", "each its own"])
def test_the_entries_above_a_bar_are_those_that_a_mask_finds(bar):
    pre = normal()
    values, indices, starts = selection.above(pre, bar)
    mask = pre > bar
    assert torch.equal(values, pre[mask])
    assert torch.equal(indices, mask.nonzero()[:, 1])
    assert torch.equal(starts.diff(), mask.sum(1))
    assert starts[0] == 0


def test_of_equal_entries_the_first_are_kept():
    values = torch.tensor([3.0, 1.0, 2.0, 1.0, 5.0, 1.0])
    assert selection.largest_of_all(values, 5).tolist() == [0, 1, 2, 3, 4]
    assert selection.largest_of_all(values, 4).tolist() == [0, 1, 2, 4]
    assert selection.largest_of_all(values, 2).tolist() == [0, 4]
    assert selection.largest_of_all(values, 1).tolist() == [4]
