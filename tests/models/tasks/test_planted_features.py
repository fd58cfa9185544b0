"""Planted and sparse features: vectors are made of the codes as said, as often as said."""

import numpy as np
import pytest
from labelled_examples import examples_of

from models.tasks import PlantedFeatures, SparseFeatures

RICH = PlantedFeatures(n_features=40, d_in=20, n_active=3.0, zipf=1.0, group_size=4, correlation=0.6, n_children=10)


def codes_of(task: PlantedFeatures, n: int = 40_000):
    return task.codes(n, np.random.default_rng(1))


def test_directions_have_length_one_and_belong_to_the_task_not_to_the_draw():
    task = PlantedFeatures()
    assert task.dictionary.shape == (128, 64)
    assert np.linalg.norm(task.dictionary, axis=1) == pytest.approx(np.ones(128), abs=1e-6)
    assert np.array_equal(task.dictionary, PlantedFeatures(n_active=2.0).dictionary)
    assert not np.array_equal(task.dictionary, PlantedFeatures(seed=1).dictionary)


@pytest.mark.parametrize("objective", ["codes", "vectors"])
def test_a_vector_is_the_sum_of_its_active_directions(objective):
    task = PlantedFeatures(n_features=12, d_in=6, n_active=2.0, objective=objective, n_labelled=12)
    codes = codes_of(task, 50)
    drawn = task.draw(50, np.random.default_rng(1))
    for row, code in enumerate(codes):
        x = np.zeros(6)
        for feature, strength in enumerate(code):
            x += strength * task.dictionary[feature]
        assert drawn.tokens[row, 0] == pytest.approx(x, abs=1e-5)
        assert drawn.targets[row, 0] == pytest.approx(code if objective == "codes" else x, abs=1e-5)
    assert np.all((codes == 0) | ((codes >= 0.5) & (codes <= 1.5)))


@pytest.mark.parametrize("task", [PlantedFeatures(), RICH])
def test_features_are_active_as_often_as_zipf_s_law_says(task):
    weight = np.array([1 / (i + 1) ** task.zipf for i in range(task.n_features)])
    expected = task.n_active * weight / weight.sum()
    assert task.probabilities == pytest.approx(expected)
    share = (codes_of(task) > 0).mean(0)
    tolerance = 5 * np.sqrt(expected / 40_000)
    assert (np.abs(share - expected) < tolerance).all()
    assert share.sum() == pytest.approx(task.n_active, rel=0.02)


def test_a_child_is_active_only_with_its_parent():
    active = codes_of(RICH) > 0
    children = np.flatnonzero(RICH.parents >= 0)
    assert children.tolist() == list(range(30, 40))
    assert RICH.parents[children].tolist() == list(range(10))
    for child in children:
        assert active[:, child].any()
        assert active[active[:, child], RICH.parents[child]].all()
    assert (PlantedFeatures().parents == -1).all()


def test_features_of_one_group_are_correlated_and_others_are_not():
    task = PlantedFeatures(n_features=40, d_in=20, n_active=8.0, zipf=0.0, group_size=4, correlation=0.6)
    correlation = np.corrcoef((codes_of(task) > 0).T)
    same = np.equal.outer(np.arange(40) // 4, np.arange(40) // 4) & ~np.eye(40, dtype=bool)
    assert correlation[same].min() > 0.25
    assert np.abs(correlation[~same & ~np.eye(40, dtype=bool)]).max() < 0.03
    free = np.corrcoef((codes_of(PlantedFeatures(n_features=40, n_active=8.0, zipf=0.0)) > 0).T)
    assert np.abs(free[~np.eye(40, dtype=bool)]).max() < 0.03


def test_noise_is_on_the_vectors_and_not_on_the_targets():
    task = PlantedFeatures(noise=0.3, objective="vectors")
    drawn = task.draw(500, np.random.default_rng(0))
    assert (drawn.tokens - drawn.targets).std() == pytest.approx(0.3, rel=0.02)


def test_labels_say_which_of_the_first_features_are_active():
    task = PlantedFeatures(n_features=12, d_in=6, n_active=2.0, n_labelled=5)
    for example in examples_of(task.dataset(40)):
        (code,), (row,) = example.targets, example.labels
        assert row == {"n_active": sum(value > 0 for value in code)} | {f"feature_{i}": code[i] > 0 for i in range(5)}


def test_another_code_is_wrong():
    task = PlantedFeatures()
    batch = task.batch(200, 0)
    assert task.accuracy(batch["targets"] * 0.9, batch) == 1
    assert task.accuracy(batch["targets"].roll(1, 0), batch) < 0.05


@pytest.mark.parametrize("sparsity", [0.0, 0.7, 0.99])
def test_sparse_features_are_uniform_where_they_are_active(sparsity):
    task = SparseFeatures(n_features=20, sparsity=sparsity, n_labelled=20)
    drawn = task.draw(20_000, np.random.default_rng(0))
    x = drawn.tokens[:, 0]
    assert (x > 0).mean() == pytest.approx(1 - sparsity, abs=0.005)
    active = x[x > 0]
    assert active.max() <= 1
    assert np.quantile(active, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)
    assert np.array_equal(drawn.targets, drawn.tokens)
    assert np.array_equal(drawn.truth["n_active"][:, 0], (x > 0).sum(1))
    assert np.array_equal(drawn.truth["feature_7"][:, 0], x[:, 7] > 0)
