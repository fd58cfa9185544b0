"""SCR and TPP where the right latents are known, and where no latent is the right one."""

import numpy as np
import pytest
import torch

from workbench.sae import SAEConfig, TopK, build_sae
from workbench.sae.metrics import spurious_correlation_removal, targeted_probe_perturbation
from workbench.sae.metrics.targeted_ablation import Ablation

D, N = 6, 3000
DOCUMENTS = np.repeat(np.arange(30), N // 30)
# Turned by 45° between the first two axes: every latent speaks for both.
MIXED = torch.eye(D)
MIXED[:2, :2] = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5


def signed_basis(basis):
    """Latents along each of some orthonormal directions, and against it; one more, that is dead."""
    rows = torch.cat([basis, -basis])
    weights = {
        "W_enc": torch.cat([rows.T, torch.zeros(D, 1)], 1),
        "W_dec": torch.cat([rows, torch.ones(1, D)]),
        "b_enc": torch.zeros(len(rows) + 1),
        "b_dec": torch.zeros(D),
    }
    return TopK.from_weights(SAEConfig(d_in=D, d_sae=len(rows) + 1, k=len(rows) + 1), weights)


@pytest.fixture(scope="module")
def rows():
    """Two labels along the first two axes, +1 or −1 each, that agree in nine rows of ten."""
    rng = np.random.default_rng(0)
    target = rng.random(N) < 0.5
    spurious = target ^ (rng.random(N) < 0.1)
    x = 0.3 * rng.standard_normal((N, D))
    x[:, 0] += np.where(target, 1, -1)
    x[:, 1] += np.where(spurious, 1, -1)
    return torch.from_numpy(x).float(), target, spurious


@pytest.fixture(scope="module")
def classes():
    """Three labels, each a direction of its own."""
    rng = np.random.default_rng(1)
    labels = rng.random((N, 3)) < 0.4
    x = 0.05 * rng.standard_normal((N, D))
    x[:, :3] += labels
    return torch.from_numpy(x).float(), {name: labels[:, i] for i, name in enumerate("abc")}


def test_a_dictionary_with_a_latent_for_each_label_undoes_the_bias(rows):
    x, target, spurious = rows
    table = spurious_correlation_removal(signed_basis(torch.eye(D)), x, target, spurious, DOCUMENTS, n_ablated=(0, 2))
    nothing, both = table.to_dict("records")
    # Where the labels agree the biased probe is right, where they differ it has nothing but noise to go by.
    assert nothing["acc_biased"] == pytest.approx(0.75, abs=0.05)
    assert nothing["acc_clean"] > 0.98
    assert (nothing["ablated"], nothing["scr"]) == (0, 0)
    assert both["ablated"] == 2
    assert both["scr"] == pytest.approx(1, abs=0.05)
    score = (both["acc_ablated"] - both["acc_biased"]) / (both["acc_clean"] - both["acc_biased"])
    assert both["scr"] == pytest.approx(score)


def test_a_dictionary_whose_latents_mix_the_labels_does_not(rows):
    x, target, spurious = rows
    table = spurious_correlation_removal(signed_basis(MIXED), x, target, spurious, DOCUMENTS, n_ablated=(2, 4))
    assert (table["scr"] < 0.5).all()


def test_the_accuracies_before_ablation_are_the_datas_not_the_dictionarys(rows):
    x, target, spurious = rows
    tables = [
        spurious_correlation_removal(signed_basis(basis), x, target, spurious, DOCUMENTS)
        for basis in (torch.eye(D), MIXED)
    ]
    for name in ("acc_biased", "acc_clean"):
        assert (tables[0][name] == tables[1][name]).all()
    assert tables[0]["n_ablated"].tolist() == [2, 5, 10, 20, 50]
    assert (tables[0]["ablated"] <= 2 * D).all()  # the dead latent has no effect


def test_no_harm_done_leaves_nothing_to_undo():
    # One axis says the target, and no noise: the biased probe has the other label to lean on, but gets all rows right.
    rng = np.random.default_rng(0)
    target, spurious = rng.random(N) < 0.5, rng.random(N) < 0.5
    x = torch.zeros(N, D)
    x[:, 0] = torch.from_numpy(np.where(target, 1.0, -1.0)).float()
    table = spurious_correlation_removal(signed_basis(torch.eye(D)), x, target, spurious, DOCUMENTS, n_ablated=(1,))
    assert table["scr"].isna().all()


def test_ablation_keeps_the_error(rows):
    x = rows[0][:50]
    weights = {name: value.detach().clone() for name, value in signed_basis(MIXED).named_parameters()}
    weights["b_enc"] -= 0.2
    weights["b_dec"] += 0.1
    sae = TopK.from_weights(SAEConfig(d_in=D, d_sae=2 * D + 1, k=3), weights)
    codes = sae.encode(x)
    error = x - sae.decode(codes)
    assert error.abs().max() > 0.1
    left = codes.clone()
    left[:, [1, 7]] = 0
    chosen = np.arange(10, 30)
    got = Ablation(sae, x).without(np.array([1, 7]), chosen)
    np.testing.assert_allclose(got, (sae.decode(left) + error)[chosen].detach(), atol=1e-5)


def test_latents_of_their_own_cost_their_own_probe_alone(classes):
    x, labels = classes
    table = targeted_probe_perturbation(signed_basis(torch.eye(D)), x, labels, DOCUMENTS, n_ablated=(0, 1))
    by_n = table.set_index(["label", "n_ablated"])
    for name in labels:
        assert by_n.loc[(name, 0), ["intended", "unintended", "tpp"]].tolist() == [0, 0, 0]
        line = by_n.loc[(name, 1)]
        assert line["ablated"] == 1
        assert line["intended"] == pytest.approx(0.5, abs=0.01)  # of equal classes: all are told as one
        assert line["unintended"] == pytest.approx(0, abs=0.01)
        assert line["tpp"] == pytest.approx(line["intended"] - line["unintended"])


def test_a_latent_that_is_every_class_at_once_costs_all_probes(classes):
    x, labels = classes
    together = torch.cat([torch.tensor([[1.0, 1, 1, 0, 0, 0]]) / 3**0.5, torch.eye(D)[3:]])
    table = targeted_probe_perturbation(signed_basis(together), x, labels, DOCUMENTS, n_ablated=(1,))
    assert (table["unintended"] > 0.05).all()
    assert (table["tpp"].abs() < 0.05).all()


def test_another_seed_draws_other_rows_the_same_seed_the_same(classes):
    x, labels = classes
    sae = signed_basis(MIXED)
    one, two, other = (targeted_probe_perturbation(sae, x, labels, DOCUMENTS, seed=seed) for seed in (0, 0, 1))
    assert one.equals(two)
    assert not one.equals(other)


def test_what_cannot_be_perturbed(rows, classes):
    x, target, spurious = rows
    sae = signed_basis(torch.eye(D))
    with pytest.raises(ValueError, match="no rows that are fitted on with the target label alone"):
        spurious_correlation_removal(sae, x, target & spurious, spurious, DOCUMENTS)
    with pytest.raises(ValueError, match="'spurious' is true on all 3000 rows"):
        spurious_correlation_removal(sae, x, target, np.ones(N, bool), DOCUMENTS)
    with pytest.raises(ValueError, match="'target' has 4 entries"):
        spurious_correlation_removal(sae, x, target[:4], spurious, DOCUMENTS)
    transcoder = build_sae(SAEConfig(d_in=D, d_out=D, d_sae=8, k=2))
    with pytest.raises(ValueError, match="a transcoder writes others"):
        spurious_correlation_removal(transcoder, x, target, spurious, DOCUMENTS)
    with pytest.raises(ValueError, match="at least two labels"):
        targeted_probe_perturbation(sae, x, {"a": target}, DOCUMENTS)
    with pytest.raises(ValueError, match="no held-out rows with the label 'b'|no rows that are fitted on with"):
        targeted_probe_perturbation(sae, x, {"a": target, "b": DOCUMENTS == 3}, DOCUMENTS)
