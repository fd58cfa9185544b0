"""A shuffled order of any length that takes no memory."""

from math import isqrt

import numpy as np
from jaxtyping import Int

ROUNDS = 8
SMALLEST = 8  # halves with fewer values than this mix badly
_BLOCK = 16_384  # numbers worked on at once, so that the rounds find them in the cache
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # splitmix64's (Steele, Lea & Flood 2014)
_32 = np.uint64(32)


class Permutation:
    """A pseudorandom permutation of 0 … n − 1, computed place by place.

    A generalised Feistel network permutes the numbers below a·b, of two halves below a and b; one that comes out at n
    or above is sent through again until it falls below (cycle walking). Both are from Black & Rogaway 2002, "Ciphers
    with Arbitrary Finite Domains". a and b are the root of n rounded up, so hardly any number is sent twice.

    Args:
        n: how many numbers, 1 … 2^62.
        seed, epoch: what the round keys are drawn from; each pair gives another permutation.
    """

    def __init__(self, n: int, seed: int, epoch: int) -> None:
        if not 1 <= n <= 2**62:
            raise ValueError(f"there is no permutation of {n} numbers: n must be from 1 to 2^62.")
        self.n = n
        root = max(isqrt(n - 1) + 1, SMALLEST)
        self._sizes = np.uint64(root), np.uint64(max(-(-n // root), SMALLEST))
        self._keys = np.random.SeedSequence([seed, epoch]).generate_state(ROUNDS, np.uint64)

    def at(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Which number stands at each place."""
        numbers = np.empty(len(places), np.uint64)
        for start in range(0, len(places), _BLOCK):
            block = self._network(places[start : start + _BLOCK].astype(np.uint64))
            outside = np.flatnonzero(block >= self.n)
            while len(outside):
                again = self._network(block[outside])
                block[outside] = again
                outside = outside[again >= self.n]
            numbers[start : start + _BLOCK] = block
        return numbers.view(np.int64)

    def _network(self, x: np.ndarray) -> np.ndarray:
        here, there = self._sizes
        right = x // here
        left = x - right * here
        mixed, kept = np.empty_like(x), np.empty_like(x)
        for key in self._keys:
            # left += F(right) modulo its size, and the halves change places.
            np.add(right, key, out=mixed)
            mixed *= _FACTORS[0]
            np.right_shift(mixed, _32, out=kept)
            mixed ^= kept
            mixed *= _FACTORS[1]
            mixed >>= _32
            mixed *= here
            mixed >>= _32
            left += mixed
            np.subtract(left, here, out=mixed)  # wraps to something huge where left was below
            np.minimum(left, mixed, out=left)
            left, right, here, there = right, left, there, here
        return left + right * here
