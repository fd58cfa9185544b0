"""Planted trees are trees, their vectors hold them exactly, and the marks are those of the truth where it is told."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from workbench.reproductions import Bench
from workbench.reproductions import structural_probe as result
from workbench.reproductions.planted_trees import SHAPES, PlantedTrees, grow, path_vectors, spoken, tree_distances
from workbench.runs import Run

SMALL = PlantedTrees(least_words=5, most_words=8, distractor=0.5, noise=0.0)


def graph(parents):
    return nx.Graph([(i, int(parents[i])) for i in range(1, len(parents))])


@pytest.mark.parametrize("shape", SHAPES)
def test_squared_distances_of_path_vectors_are_those_of_the_tree(shape):
    rng = np.random.default_rng(0)
    for n in (5, 17, 50):
        parents = grow(n, shape, rng)
        tree = graph(parents)
        assert nx.is_tree(tree)
        lengths = dict(nx.all_pairs_shortest_path_length(tree))
        wanted = np.array([[lengths[i][j] for j in range(n)] for i in range(n)])
        np.testing.assert_array_equal(tree_distances(parents), wanted)
        vectors = path_vectors(parents, rng.permutation(60)[: n - 1], 60)
        np.testing.assert_allclose(result.squared_distances(vectors), wanted)
        np.testing.assert_allclose((vectors**2).sum(1), wanted[0])


def test_shapes_differ():
    rng = np.random.default_rng(0)
    deepest = {shape: np.mean([tree_distances(grow(40, shape, rng))[0].max() for _ in range(20)]) for shape in SHAPES}
    assert deepest["binary"] == 5
    assert deepest["deep"] > 2 * max(deepest["recursive"], deepest["bushy"])
    degrees = {shape: np.mean([np.bincount(grow(40, shape, rng)).max() for _ in range(20)]) for shape in SHAPES}
    assert degrees["bushy"] > degrees["recursive"] > degrees["deep"]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_edge_of_a_sentence_crosses_another(shape):
    rng = np.random.default_rng(1)
    parents = grow(30, shape, rng)
    order = spoken(parents, rng)
    assert sorted(order) == list(range(30))
    at = np.argsort(order)
    spans = [sorted((at[i], at[parents[i]])) for i in range(1, 30)]
    assert not any(a < c < b < d for a, b in spans for c, d in spans)


def test_a_linear_map_holds_the_trees_of_every_sentence():
    """The inverse of the random map, cut to the tree's dimensions, is the probe that is looked for."""
    trees = SMALL.draw(20, np.random.default_rng(0))
    B = np.linalg.pinv(SMALL.mixing)[: SMALL.k]
    for tree in trees:
        assert tree.words.shape == (len(tree.depths), 2 * SMALL.k)
        np.testing.assert_allclose(result.squared_distances(tree.words @ B.T), tree.distances, atol=1e-3)
        np.testing.assert_allclose(((tree.words @ B.T) ** 2).sum(1), tree.depths, atol=1e-3)
        assert not np.allclose(result.squared_distances(tree.words), tree.distances, atol=1)
    assert {tree.shape for tree in trees} == set(SHAPES)
    assert min(len(tree.depths) for tree in trees) >= 5
    again = replace(SMALL, seed=1).draw(20, np.random.default_rng(0))
    assert not np.allclose(again[0].words, trees[0].words), "another map"


def test_the_truth_has_full_marks_and_its_opposite_the_least():
    trees = SMALL.draw(40, np.random.default_rng(0))
    true = [tree.distances for tree in trees], [tree.depths for tree in trees]
    assert set(result.marks(trees, *true).values()) == {1.0}
    opposite = result.marks(trees, *([-part for part in parts] for parts in true))
    assert opposite["distance_spearman"] == pytest.approx(-1)
    assert opposite["depth_spearman"] == pytest.approx(-1)
    assert opposite["uuas"] < 0.3
    assert opposite["root_accuracy"] == 0


def test_the_table_has_every_control_and_judges_the_probe(tmp_path, monkeypatch):
    monkeypatch.setattr(result, "TASK", SMALL)
    monkeypatch.setattr(result, "N_FIT", 320)
    monkeypatch.setattr(result, "N_HELD_OUT", 30)
    bench = Bench(Run.create(tmp_path / "root/trees/quick").path, full=False, tell=lambda text: None)
    rows = result.reproduce(bench)
    table = Run.open(bench.path).find("analysis", "trees")
    assert table.path.exists()
    judged = [row for row in rows if row.bar]
    assert len(judged) == 4
    for row in judged:
        assert all(control in row.ours for control in result.CONTROLS)
    found = pd.read_parquet(table.path / "result.parquet").set_index("by")["uuas"]
    assert found["probe"] > 0.9
    assert found.drop("probe").max() < 0.8
