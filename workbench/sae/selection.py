"""Which pre-activations are the largest, or large enough: the search between the encoder's product and the rest.

A search reads n · d_sae numbers and keeps few. On a CPU PyTorch's own comparison, `nonzero` and `topk` take as
long as half the product. NumPy's go through the same memory several times as fast, in one thread, and let go of the
interpreter meanwhile: so each of as many threads as PyTorch has searches a share of the rows by NumPy. Elsewhere
PyTorch searches.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# A row's largest are looked for by the maxima of blocks of so many latents, and among at most so many times k.
BLOCK = 8
CANDIDATES = 4


def largest_of_rows(pre: Float[Tensor, "n latent"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and where they stand, in no particular order; of equal ones, any.

    The k-th largest of the maxima of blocks is a bar that k entries of the row reach, and hardly more: only these are
    compared with each other. Where that does not hold (ties, what is not a number), all are.
    """
    n, n_latents = pre.shape
    width = n_latents // BLOCK
    if pre.device.type != "cpu" or width <= CANDIDATES * k:
        return _all_compared(pre, k)
    whole, rest = pre.split([width * BLOCK, n_latents - width * BLOCK], dim=1)
    largest = whole.unflatten(1, (BLOCK, width)).amax(1)
    torch.maximum(largest[:, : rest.shape[1]], rest, out=largest[:, : rest.shape[1]])
    maxima, numbers = largest.numpy(), pre.numpy()

    places = _places(partial(_reach, numbers, maxima, width - k), n, n_latents)
    starts = np.searchsorted(places, np.arange(n + 1) * n_latents)
    counts = np.diff(starts)
    if np.isnan(maxima[:, width - k :]).any() or counts.max() > CANDIDATES * k:
        return _all_compared(pre, k)
    nth = np.arange(counts.max())
    found = numbers.reshape(-1).take(places).take(starts[:-1, None] + nth, mode="clip")
    found[nth >= counts[:, None]] = -np.inf  # of the next row
    values, which = torch.from_numpy(found).topk(k, dim=1, sorted=False)
    indices = places.take(starts[:-1, None] + which.numpy()) - (np.arange(n) * n_latents)[:, None]
    return values, torch.from_numpy(indices)


def above(
    pre: Float[Tensor, "n latent"], bar: Float[Tensor, " latent"] | float
) -> tuple[Float[Tensor, " entries"], Int[Tensor, " entries"], Int[Tensor, " n_and_one"]]:
    """The entries above `bar`, row by row: their values, their latents, and where each row begins."""
    n, n_latents = pre.shape
    starts = torch.arange(0, (n + 1) * n_latents, n_latents, device=pre.device)
    if pre.device.type == "cpu":
        numbers, limit = pre.numpy(), bar.numpy() if isinstance(bar, Tensor) else bar
        places = torch.from_numpy(_places(lambda rows: numbers[rows] > limit, n, n_latents))
    else:
        places = (pre > bar).flatten().nonzero().squeeze(1)
    return pre.flatten().index_select(0, places), places % n_latents, torch.searchsorted(places, starts)


def largest_of_all(values: Float[Tensor, " entries"], n: int) -> Int[Tensor, " n"]:
    """Where the n largest stand, ascending; of equal ones the first."""
    smallest = nth_largest(values, n)
    kept = values >= smallest
    equal = (values == smallest).nonzero().squeeze(1)
    kept[equal[len(equal) - (int(kept.sum()) - n) :]] = False
    return kept.nonzero().squeeze(1)


def nth_largest(values: Float[Tensor, " entries"], n: int) -> float:
    """The smallest of the n largest."""
    last = len(values) - n
    if values.device.type == "cpu":
        return float(np.partition(values.numpy(), last)[last])
    return values.kthvalue(last + 1).values.item()


def _all_compared(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, indices = pre.topk(k, dim=1, sorted=False)
    return values, indices


def _places(passes: Callable[[slice], np.ndarray], n: int, n_latents: int) -> np.ndarray:
    """Where it holds, ascending, as if all rows were one; each thread searches a share of the rows."""
    threads = torch.get_num_threads()
    bounds = np.linspace(0, n, threads + 1).astype(int)

    search = partial(_search, passes, bounds, n_latents)
    if threads == 1:
        return search(0)
    return np.concatenate(list(_pool(os.getpid(), threads).map(search, range(threads))))


def _search(passes: Callable[[slice], np.ndarray], bounds: np.ndarray, n_latents: int, i: int) -> np.ndarray:
    return np.flatnonzero(passes(slice(bounds[i], bounds[i + 1]))) + bounds[i] * n_latents


def _reach(numbers: np.ndarray, maxima: np.ndarray, nth: int, rows: slice) -> np.ndarray:
    """Which entries of some rows reach the row's nth smallest maximum."""
    maxima[rows].partition(nth, axis=1)
    return numbers[rows] >= maxima[rows, nth, None]


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process; one that it was forked from has left it none."""
    return ThreadPoolExecutor(threads, thread_name_prefix="selection")
