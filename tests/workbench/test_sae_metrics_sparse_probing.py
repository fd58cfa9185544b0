"""What a few latents tell of a label: by construction, and against scikit-learn."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.validation import split_by_group
from workbench.sae import SAEConfig, TopK, build_sae
from workbench.sae.metrics import sparse_probing
from workbench.sae.metrics.labelled_rows import LinearProbe, latent_matrix
from workbench.sae.metrics.sparse_probing import by_mean_difference, mean_difference

D, F, N = 8, 8, 1200


@pytest.fixture(scope="module")
def mixed():
    """Eight independent features in a rotated basis, a dictionary that undoes the rotation, twenty documents."""
    rng = np.random.default_rng(0)
    labels = rng.random((N, F)) < 0.3
    rotation = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q
    x = torch.from_numpy(labels * (0.5 + rng.random((N, F)))).float() @ rotation
    # A latent more, that is dead.
    weights = {
        "W_enc": torch.cat([rotation.T, torch.zeros(D, 1)], 1),
        "b_enc": torch.cat([torch.full((F,), -0.01), -torch.ones(1)]),
        "W_dec": torch.cat([rotation, torch.ones(1, D)]),
        "b_dec": torch.zeros(D),
    }
    sae = TopK.from_weights(SAEConfig(d_in=D, d_sae=F + 1, k=F + 1), weights)
    return sae, x, labels, np.repeat(np.arange(20), N // 20)


def test_one_latent_that_is_the_label_tells_it_all_and_no_neuron_does(mixed):
    sae, x, labels, documents = mixed
    table = sparse_probing(sae, x, {"two": labels[:, 2], "five": labels[:, 5]}, documents)
    assert len(table) == 2 * (3 + 3 + 1 + 1)
    at = table.set_index(["label", "columns", "k"])
    for name, latent in (("two", 2), ("five", 5)):
        assert at.loc[(name, "latents", 1), "chosen"] == [latent]
        assert at.loc[(name, "latents", 1), "accuracy"] == 1
        assert at.loc[(name, "latents", 1), "f1"] == 1
        assert at.loc[(name, "neurons", 1), "f1"] < 0.8
        assert at.loc[(name, "all", D), "accuracy"] > 0.98
        majority = at.loc[(name, "majority", 0)]
        assert majority["accuracy"] == pytest.approx(1 - majority["base_rate"])
        assert majority["f1"] == 0


def test_the_numbers_are_scikit_learns_on_the_chosen_columns(mixed):
    sae, x, labels, documents = mixed
    label = labels[:, 0] ^ labels[:, 1]
    table = sparse_probing(sae, x, {"xor": label}, documents, seed=3).set_index(["columns", "k"])
    fit, held_out = split_by_group(documents, held_out_share=0.3, seed=3)
    for kind, columns in (("latents", sae.encode(x).detach().numpy()), ("neurons", x.numpy())):
        difference = columns[fit][label[fit]].mean(0) - columns[fit][~label[fit]].mean(0)
        for k in (1, 2, 5):
            chosen = np.argsort(-np.abs(difference))[:k]
            line = table.loc[(kind, k)]
            assert line["chosen"] == chosen.tolist()
            peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            answer = peer.fit(columns[fit][:, chosen], label[fit]).predict(columns[held_out][:, chosen])
            assert line["accuracy"] == pytest.approx(accuracy_score(label[held_out], answer))
            assert line["f1"] == pytest.approx(f1_score(label[held_out], answer))
            assert line["base_rate"] == pytest.approx(label[held_out].mean())


def test_a_label_that_nothing_knows_of_is_told_no_better_than_by_its_majority(mixed):
    sae, x, _, documents = mixed
    label = np.random.default_rng(1).random(N) < 0.4
    at = sparse_probing(sae, x, {"coin": label}, documents).set_index("columns")
    assert (at.loc[["latents", "neurons", "all"], "accuracy"] < at.loc["majority", "accuracy"] + 0.04).all()


def test_mean_differences_by_hand_dense_and_sparse():
    columns = np.array([[1.0, 0.0, 4.0], [3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    label = np.array([True, True, False])
    for given in (columns, sp.csr_matrix(columns)):
        assert mean_difference(given, label).tolist() == [1.0, 0.0, 2.0]
        assert by_mean_difference(given, label).tolist() == [2, 0, 1]
        assert by_mean_difference(given, ~label).tolist() == [2, 0, 1]


def test_the_sparse_matrix_of_latents_is_the_encoding():
    sae = build_sae(SAEConfig(d_in=D, d_sae=40, k=3))
    x = torch.randn(2500, D, generator=torch.Generator().manual_seed(0))
    matrix = latent_matrix(sae, x)
    np.testing.assert_allclose(matrix.toarray(), sae.encode(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert matrix.nnz <= 3 * 2500


def test_no_document_is_on_both_sides_and_the_seed_says_which():
    documents = np.random.default_rng(0).integers(0, 40, 1000)
    fit, held_out = split_by_group(documents, held_out_share=0.25, seed=1)
    assert sorted([*fit, *held_out]) == list(range(1000))
    assert not set(documents[fit]) & set(documents[held_out])
    assert len(set(documents[held_out])) == 10
    assert np.array_equal(split_by_group(documents, held_out_share=0.25, seed=1)[1], held_out)
    assert not np.array_equal(split_by_group(documents, held_out_share=0.25, seed=2)[1], held_out)


def test_the_units_of_what_a_probe_reads_do_not_matter():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4))
    x[:, 3] = 7
    y = x[:, 0] + rng.standard_normal(300) > 0
    scale, shift = np.array([1e-3, 10, 1e4, 2]), np.array([0, 5, -1e4, 1])
    one, other = LinearProbe.fit(x, y), LinearProbe.fit(x * scale + shift, y)
    assert np.array_equal(one.predict(x), other.predict(x * scale + shift))
    np.testing.assert_allclose(other.weight * scale, one.weight, rtol=1e-3, atol=1e-4)
    assert one.accuracy(x, y) > 0.65


def test_what_cannot_be_probed(mixed):
    sae, x, labels, documents = mixed
    some = labels[:, 0]
    with pytest.raises(ValueError, match="'never' is false on all 1200 rows"):
        sparse_probing(sae, x, {"never": np.zeros(N, bool)}, documents)
    with pytest.raises(ValueError, match="no labels"):
        sparse_probing(sae, x, {}, documents)
    with pytest.raises(ValueError, match="'short' has 5 entries, but there are 1200 rows"):
        sparse_probing(sae, x, {"short": some[:5]}, documents)
    with pytest.raises(ValueError, match="the documents of 7"):
        sparse_probing(sae, x, {"some": some}, documents[:7])
    with pytest.raises(ValueError, match="at least two groups"):
        sparse_probing(sae, x, {"some": some}, np.zeros(N, int))
    with pytest.raises(ValueError, match="on all .* (held-out rows|rows that are fitted on)"):
        sparse_probing(sae, x, {"in one document": documents == 4}, documents)
    with pytest.raises(ValueError, match="k is 9: it must be at least 1 and at most 8"):
        sparse_probing(sae, x, {"some": some}, documents, ks=(1, 9))
    with pytest.raises(ValueError, match="above 0 and below 1"):
        sparse_probing(sae, x, {"some": some}, documents, held_out_share=1.0)


def test_a_crosscoders_neurons_are_those_of_all_its_layers():
    rng = np.random.default_rng(0)
    x = torch.randn(600, 2, D, generator=torch.Generator().manual_seed(0))
    label = x[:, 1, 3].numpy() > 0
    crosscoder = build_sae(SAEConfig(d_in=D, n_layers=2, d_sae=40, k=3))
    at = sparse_probing(crosscoder, x, {"sign": label}, rng.integers(0, 20, 600), ks=(1,)).set_index("columns")
    assert at.loc["neurons", "chosen"] == [D + 3]
    assert at.loc["neurons", "accuracy"] > 0.95
    assert at.loc["all", "k"] == 2 * D
