"""`StructuralProbe` on planted trees: words whose squared distances, in a hidden subspace, are those of a tree."""

import networkx as nx
import numpy as np
import pytest
import torch

from probes import StructuralProbe
from probes.structural import distance_spearman, uuas

RANK, D = 24, 32


def planted(n_sentences, seed, noise=0.05):
    """Trees whose words are embedded so that ‖hᵢ − hⱼ‖² is the number of edges between them, under a random map."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((2 * RANK, RANK)) / np.sqrt(RANK)
    words, distances, depths = [], [], []
    for _ in range(n_sentences):
        n = int(rng.integers(6, 13))
        parents = [0, *(int(rng.integers(0, i)) for i in range(1, n))]
        h = np.zeros((n, RANK))
        for i in range(1, n):  # each edge is a step of its own, at right angles to the others
            h[i] = h[parents[i]]
            h[i, i % RANK] += 1
        tree = nx.Graph((i, parents[i]) for i in range(1, n))
        distance = np.asarray(nx.floyd_warshall_numpy(tree, nodelist=range(n)))
        words.append(h @ mix.T + noise * rng.standard_normal((n, 2 * RANK)))
        distances.append(distance)
        depths.append(distance[0])
    return words, distances, depths


@pytest.fixture(scope="module")
def fitted():
    words, distances, _ = planted(300, 0)
    return StructuralProbe(RANK, max_epochs=40).fit(words, distances)


def test_trees_are_found_in_sentences_never_seen(fitted):
    words, distances, _ = planted(60, 1)
    assert fitted.score(words, distances) >= 0.95
    predicted = fitted.predict(words)
    assert distance_spearman(predicted, distances) > 0.9
    assert predicted[0].shape == distances[0].shape
    np.testing.assert_allclose(np.diag(predicted[0]), 0, atol=1e-4)


def test_words_without_a_tree_have_none(fitted):
    """The control: the same probe on words that are noise, and trees that belong to other sentences."""
    words, distances, _ = planted(60, 1)
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(x.shape) for x in words]
    assert fitted.score(noise, distances) < 0.5


def test_depths_tell_the_root():
    words, _, depths = planted(300, 0)
    probe = StructuralProbe(kind="depth", max_epochs=40).fit(words, depths)
    words, _, depths = planted(60, 1)
    assert probe.score(words, depths) > 0.9
    errors = [np.abs(p - t).mean() for p, t in zip(probe.predict(words), depths, strict=True)]
    assert np.mean(errors) < 0.5


def test_uuas_is_the_share_of_true_edges_in_the_spanning_tree():
    chain = np.abs(np.arange(4)[:, None] - np.arange(4))
    star = np.where(np.eye(4), 0, 2)
    star[0, 1:] = star[1:, 0] = 1
    assert uuas([chain], [chain]) == 1
    assert uuas([star], [chain]) == pytest.approx(1 / 3)
    assert uuas([star, chain], [chain, chain]) == pytest.approx(2 / 3)


def test_one_seed_one_probe():
    words, distances, _ = planted(40, 0)
    first, second = (StructuralProbe(4, max_epochs=3).fit(words, distances) for _ in range(2))
    np.testing.assert_array_equal(first.B_, second.B_)
    tensors = [torch.from_numpy(x) for x in words]
    assert isinstance(first.predict(tensors)[0], torch.Tensor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ([], []), "there are no sentences"),
        (lambda x, y: (x, y[1:]), "sentences and .* trees"),
        (lambda x, y: ([x[0], x[1][:, :3]], y[:2]), "sentence 1 has shape"),
        (lambda x, y: (x[:2], [y[0], y[1][:2]]), "sentence 1 has .* words and a truth of shape"),
        (lambda x, y: ([x[0] * np.nan], y[:1]), "sentence 0 contains NaN"),
    ],
)
def test_what_does_not_fit_is_refused_by_sentence(change, message):
    words, distances, _ = planted(5, 0)
    with pytest.raises(ValueError, match=message):
        StructuralProbe(2).fit(*change(words, distances))
