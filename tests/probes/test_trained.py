"""Probes without a closed form: what they find that linear ones do not, and what they do not find."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes import AttentionProbe, CCSProbe, LogisticProbe, MLPProbe, StructuralProbe


def test_a_perceptron_finds_what_no_plane_tells():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1200, 6)) * [1, 1, 9, 0.1, 1, 1] + 3
    y = ((x[:, 0] > 3) ^ (x[:, 2] > 3)).astype(int)
    assert LogisticProbe().fit(x[:800], y[:800]).score(x[800:], y[800:]) < 0.6
    assert MLPProbe().fit(x[:800], y[:800]).score(x[800:], y[800:]) > 0.9


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_of_few_rows_it_learns_about_what_scikit_learns_perceptron_does():
    x, y = load_digits(return_X_y=True)
    x = x / 16
    order = np.random.default_rng(0).permutation(len(x))
    fit, held_out = order[:500], order[500:]
    theirs = MLPClassifier(random_state=0).fit(x[fit], y[fit]).score(x[held_out], y[held_out])
    assert MLPProbe().fit(x[fit], y[fit]).score(x[held_out], y[held_out]) > theirs - 0.02 > 0.9


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_what_few_rows_do_not_tell_is_shrunk_away():
    """Two columns tell, sixty-two are noise: what five hundred rows show of these must not be learnt."""
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 2, (2500, 2))
    x, y = rng.standard_normal((2500, 64)) / 2, sides[:, 0] ^ sides[:, 1]
    x[:, :2] += 2 * sides - 1
    theirs = make_pipeline(StandardScaler(), MLPClassifier(random_state=0)).fit(x[:500], y[:500])
    assert MLPProbe().fit(x[:500], y[:500]).score(x[500:], y[500:]) > theirs.score(x[500:], y[500:])


@pytest.mark.parametrize("probe", [MLPProbe(8, lr=0.5), AttentionProbe(2, lr=0.5), StructuralProbe(3, lr=0.5)])
def test_settings_of_training_are_settings_like_any_other(probe):
    shared = {"lr", "weight_decay", "batch_size", "max_epochs", "patience", "random_state"}
    assert shared < set(probe.get_params())
    again = clone(probe).set_params(patience=3)
    assert again.get_params() == probe.get_params() | {"patience": 3}
    assert "lr=0.5" in repr(again)
    assert again != probe  # estimators are told apart, though their settings be the same
    assert {probe, again} == {again, probe}


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"batch_size": 0}, {"max_epochs": 0}])
def test_settings_that_would_train_nothing_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is 0.*: it must be above zero"):
        MLPProbe(**wrong).fit(np.eye(20), np.arange(20) % 2)


def test_an_epoch_of_few_rows_has_many_steps():
    steps = []

    def loss(module, chosen):
        if module.training:
            steps.append(len(chosen))
        return module.weight.sum() * 0

    for n, batch_size, wanted in ((20_000, 512, 512), (1200, 512, 54), (100, 512, 32), (100, 8, 8), (5, 512, 5)):
        steps.clear()
        MLPProbe(batch_size=batch_size, max_epochs=1)._train(torch.nn.Linear(1, 1), loss, n)
        assert max(steps) == wanted
        assert sum(steps) == (n - n // 10 if n > 9 else n)


def test_targets_share_a_hidden_layer_and_seeds_decide():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 5)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, np.abs(x[:, 1]) > 0.7], axis=1).astype(int)
    first, second = (MLPProbe(32).fit(x, y) for _ in range(2))
    assert first.predict_proba(x).shape == (500, 2)
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))
    assert (first.predict(x) == y).mean(0).min() > 0.85
    assert first.losses_ == second.losses_


def sequences(n, seed, where="anywhere"):
    """One position of each sequence is marked, and carries the label."""
    rng = np.random.default_rng(seed)
    found, labels, marks = [], rng.integers(0, 2, n), []
    for label in labels:
        size = int(rng.integers(5, 15))
        x = rng.standard_normal((size, 8))
        mark = int(rng.integers(size))
        x[mark, 0] += 6
        x[mark, 1] = 3 * (2 * label - 1)
        found.append(x)
        marks.append(mark)
    return found, labels, np.array(marks)


def test_attention_finds_the_position_that_tells():
    x, y, _ = sequences(300, 0)
    probe = AttentionProbe(max_epochs=40).fit(x, y)
    x, y, marks = sequences(100, 1)
    assert probe.score(x, y) > 0.95
    looks = probe.attention(x)
    np.testing.assert_allclose(looks.sum(-1), 1, rtol=1e-5)
    assert looks[np.arange(100), 0, marks].mean() > 3 / 10  # of the five to fourteen that there are
    assert all(looks[i, 0, len(s) :].sum() == 0 for i, s in enumerate(x))
    mean = LogisticProbe().fit(*(np.stack([s.mean(0) for s in sequences(300, 0)[0]]), sequences(300, 0)[1]))
    assert mean.score(np.stack([s.mean(0) for s in x]), y) < probe.score(x, y)


def test_attention_reads_an_array_and_several_classes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4, 3)).astype(np.float32)
    y = np.array(["a", "b", "c"])[x[:, 2].argmax(1)]
    probe = AttentionProbe(n_heads=2, max_epochs=40).fit(x, y)
    assert probe.predict_proba(x).shape == (200, 3)
    assert set(probe.predict(x)) == {"a", "b", "c"}
    assert isinstance(probe.predict_proba(torch.from_numpy(x)), torch.Tensor)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([], "there are no sequences"),
        ([np.zeros((2, 3)), np.zeros((0, 3))], "sequence 1 has shape"),
        ([np.zeros((2, 3)), np.full((1, 3), np.nan)], "sequence 1 contains NaN"),
    ],
)
def test_sequences_that_cannot_be_read(x, message):
    with pytest.raises(ValueError, match=message):
        AttentionProbe().fit(x, [0, 1])


def pairs(n, seed, signal=4.0):
    """Statements and opposites: one direction says which is true, another which is which."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    topic = rng.standard_normal((n, 10))
    sides = []
    for sign, is_true in ((1, truth), (-1, 1 - truth)):
        x = topic + 0.3 * rng.standard_normal((n, 10))
        x[:, 0] += signal * (2 * is_true - 1)
        x[:, 1] += 5 * sign
        sides.append(x)
    return tuple(sides), truth


def test_what_is_true_is_found_without_labels():
    x, y = pairs(300, 0)
    probe = CCSProbe().fit(x)
    assert probe.loss_ == pytest.approx(probe.losses_.min())
    probe.orient(*pairs(20, 2))
    x, y = pairs(200, 1)
    assert (probe.predict(x) == y).mean() > 0.95
    assert ((probe.predict_proba(x) > 0) & (probe.predict_proba(x) < 1)).all()


def test_where_nothing_is_true_nothing_is_found():
    probe = CCSProbe().fit(pairs(300, 0, signal=0.0)[0])
    x, y = pairs(300, 1, signal=0.0)
    assert abs((probe.predict(x) == y).mean() - 0.5) < 0.1


def test_sides_must_be_pairs():
    x, _ = pairs(10, 0)
    with pytest.raises(ValueError, match="X must be a pair of arrays"):
        CCSProbe().fit(x[0])
    with pytest.raises(ValueError, match="10 statements and 9 opposites"):
        CCSProbe().fit((x[0], x[1][1:]))
