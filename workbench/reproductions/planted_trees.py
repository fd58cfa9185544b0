"""Sentences whose words hold a tree: squared distances between their vectors are the tree's, before they are mixed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

SHAPES = ("recursive", "deep", "bushy", "binary")


@dataclass(frozen=True)
class Tree:
    """A sentence.

    Attributes:
        words: what stands for each word, in the order of the sentence.
        distances: edges between each two words.
        depths: edges between each word and the root.
        shape: of `SHAPES`.
    """

    words: Float[np.ndarray, "word d"]
    distances: Int[np.ndarray, "word word"]
    depths: Int[np.ndarray, " word"]
    shape: str


@dataclass(frozen=True)
class PlantedTrees:
    """Trees of many shapes, of which each edge has a direction of its own.

    A word's vector is the sum of the directions on its path from the root, so that the squared distance of two words is
    the number of edges between them, exactly, and the squared length of one its depth (Hewitt and Manning, 2019; Coenen
    et al., 2019, arXiv:1906.02715, theorem 1). The `k = most_words − 1` directions are shared by all sentences, dealt
    out to edges at random. A random map takes these k dimensions, and half as many of noise, to 2k.

    Args:
        least_words, most_words: of a sentence.
        distractor: standard deviation of the noise in each of the dimensions beside the tree's.
        noise: standard deviation of what is added to each of the 2k at the end.
        seed: of the map.
    """

    least_words: int = 5
    most_words: int = 50
    distractor: float = 1.0
    noise: float = 0.02
    seed: int = 0

    @property
    def k(self) -> int:
        """Dimensions that the trees need."""
        return self.most_words - 1

    @property
    def mixing(self) -> Float[np.ndarray, "d planted"]:
        """The random map: its first k columns carry the tree, the others the distractors."""
        shape = 2 * self.k, self.k + self.k // 2
        return np.random.default_rng(self.seed).normal(size=shape) / shape[0] ** 0.5

    def draw(self, n: int, rng: np.random.Generator) -> list[Tree]:
        """So many sentences, shapes and lengths drawn alike often."""
        mixing = self.mixing
        return [self._sentence(str(rng.choice(SHAPES)), mixing, rng) for _ in range(n)]

    def _sentence(self, shape: str, mixing: np.ndarray, rng: np.random.Generator) -> Tree:
        n = int(rng.integers(self.least_words, self.most_words + 1))
        parents = grow(n, shape, rng)
        paths = path_vectors(parents, rng.permutation(self.k)[: n - 1], self.k)
        beside = rng.normal(scale=self.distractor, size=(n, self.k // 2))
        words = np.concatenate([paths, beside], axis=1) @ mixing.T + rng.normal(scale=self.noise, size=(n, 2 * self.k))
        order = spoken(parents, rng)
        distances = tree_distances(parents)[np.ix_(order, order)]
        return Tree(words[order].astype(np.float32), distances, paths.sum(1).astype(np.int64)[order], shape)


def grow(n: int, shape: str, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The parent of each node, which comes before it; the root, node 0, is its own.

    `recursive`: any earlier node; `deep`: one of the two before; `bushy`: one in proportion to the edges it has;
    `binary`: two children each, level by level.
    """
    parents = np.zeros(n, np.int64)
    degrees = np.zeros(n)
    for i in range(1, n):
        if shape == "recursive":
            parents[i] = rng.integers(i)
        elif shape == "deep":
            parents[i] = rng.integers(max(0, i - 2), i)
        elif shape == "bushy":
            parents[i] = rng.choice(i, p=(degrees[:i] + 1) / (degrees[:i] + 1).sum())
        else:
            parents[i] = (i - 1) // 2
        degrees[[i, parents[i]]] += 1
    return parents


def path_vectors(parents: Int[np.ndarray, " n"], edges: Int[np.ndarray, " edge"], k: int) -> Float[np.ndarray, "n {k}"]:
    """Of each node the sum of the unit vectors on its path from the root; `edges` numbers each later node's own."""
    vectors = np.zeros((len(parents), k))
    for i in range(1, len(parents)):
        vectors[i] = vectors[parents[i]]
        vectors[i, edges[i - 1]] += 1
    return vectors


def tree_distances(parents: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n n"]:
    """Edges between each two nodes."""
    n = len(parents)
    edges = coo_array((np.ones(n - 1), (np.arange(1, n), parents[1:])), shape=(n, n))
    return shortest_path(edges.tocsr(), directed=False, unweighted=True).astype(np.int64)


def spoken(parents: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The nodes in an order in which no edge crosses another, as in most sentences; each child to a side at random."""
    children: list[list[int]] = [[] for _ in parents]
    for i in range(1, len(parents)):
        children[parents[i]].append(i)

    def phrase(node: int) -> list[int]:
        sides: tuple[list[int], list[int]] = ([], [])
        for child in rng.permutation(children[node]).astype(int):
            sides[rng.integers(2)].extend(phrase(int(child)))
        return [*sides[0], node, *sides[1]]

    return np.array(phrase(0))
