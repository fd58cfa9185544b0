"""A dictionary that absorbs by construction, the true one that does not, and what only looks like it."""

import numpy as np
import pytest
import torch

from models.tasks import PlantedFeatures
from workbench.sae import SAEConfig, TopK
from workbench.sae.metrics import absorption, absorption_by_pair


@pytest.fixture(scope="module")
def planted():
    """Features 6 and 7 are children of 0 and 1; fewer than the dimensions, so that an exact encoder exists."""
    task = PlantedFeatures(n_features=8, d_in=24, n_active=2.5, zipf=0.8, n_children=2, n_labelled=0)
    # Lengths of 1, so that parent and child bring the same.
    codes = torch.from_numpy(task.active(4000, np.random.default_rng(0))).float()
    true = torch.from_numpy(task.dictionary)
    return true, task.parents, codes @ true, codes


def dictionary(true, into_codes, W_dec):
    """Latents ReLU(f @ into_codes − .01), f being the true code of x."""
    W_enc = torch.linalg.pinv(true) @ into_codes
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_dec": torch.zeros(true.shape[1])}
    weights["b_enc"] = torch.full((W_enc.shape[1],), -0.01)
    n = W_enc.shape[1]
    return TopK.from_weights(SAEConfig(d_in=true.shape[1], d_sae=n, k=n), weights)


def absorbing(true, parents):
    """The parent's latent is shut by its child, whose latent brings both."""
    into_codes, W_dec = torch.eye(len(true)), true.clone()
    for child, parent in enumerate(parents):
        if parent >= 0:
            into_codes[child, parent] = -4
            W_dec[child] += true[parent]
    return dictionary(true, into_codes, W_dec)


def batches(x, codes, size=512):
    return lambda: zip(x.split(size), codes.split(size), strict=True)


def test_a_dictionary_built_to_absorb_absorbs_always(planted):
    true, parents, x, codes = planted
    sae = absorbing(true, parents)
    error = (x - sae(x)).square().sum(1).mean() / x.square().sum(1).mean()
    assert error < 0.01  # it reconstructs as well as the true one: the error does not tell
    table = absorption_by_pair(sae, true, parents, batches(x, codes))
    assert table[["parent", "child"]].to_numpy().tolist() == [[0, 6], [1, 7]]
    assert table["rows"].tolist() == (codes[:, 6:] > 0).sum(0).tolist()
    assert (table["rows"] > 100).all()
    assert (table["absorption"] == 1).all()
    assert (table["parent_recall_alone"] == 1).all()
    assert table["parent_cosine"].to_numpy() == pytest.approx(1)
    assert absorption(sae, true, parents, batches(x, codes)) == {
        "absorption": 1,
        "parent_silent": 1,
        "parent_recall_alone": 1,
    }


def test_the_true_dictionary_absorbs_nothing(planted):
    true, parents, x, codes = planted
    sae = dictionary(true, torch.eye(8), true)
    got = absorption(sae, true, parents, batches(x, codes), min_share=0)
    assert got == {"absorption": 0, "parent_silent": 0, "parent_recall_alone": 1}


def test_absorption_in_half_of_the_rows_by_hand():
    # Both features in rows 0 and 1; the parent's latent is shut in row 1 alone, by how strong the child is there.
    true = torch.eye(3)[:2]
    codes = torch.tensor([[1.0, 0.2], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    into_codes = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    sae = dictionary(true, into_codes, torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    table = absorption_by_pair(sae, true, np.array([-1, 0]), batches(codes @ true, codes, size=3))
    line = table.iloc[0]
    assert (line["rows"], line["absorption"], line["parent_silent"], line["parent_recall_alone"]) == (2, 0.5, 0.5, 1)


def test_a_parent_that_is_only_missed_is_not_absorbed(planted):
    true, parents, x, codes = planted
    into_codes = torch.eye(8)
    into_codes[6, 0] = into_codes[7, 1] = -4
    sae = dictionary(true, into_codes, true)  # shut by the child, which brings nothing but itself
    got = absorption(sae, true, parents, batches(x, codes))
    assert got["parent_silent"] == 1
    assert got["absorption"] == 0


def test_a_child_that_points_across_its_parent_never_stands_in():
    true = torch.eye(3)[:2]
    codes = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    into_codes = torch.tensor([[1.0, 0.0], [-4.0, 1.0]])
    got = absorption(
        dictionary(true, into_codes, true), true, np.array([-1, 0]), batches(codes @ true, codes), min_share=0
    )
    assert got == {"absorption": 0, "parent_silent": 1, "parent_recall_alone": 1}


def test_a_child_without_a_latent_has_none_to_stand_in():
    # The second latent is the third feature's, with much of the parent's direction; the child has no latent.
    true = torch.eye(4)[:3]
    codes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    into_codes = torch.tensor([[1.0, 0.0], [-4.0, 0.0], [0.0, 1.0]])
    sae = dictionary(true, into_codes, torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.9, 0.0, 1.0, 0.0]]))
    table = absorption_by_pair(sae, true, np.array([-1, 0, -1]), batches(codes @ true, codes))
    assert table["child_latent"].tolist() == [-1]
    assert table["parent_silent"].tolist() == [1]
    assert table["absorption"].tolist() == [0]


def test_what_stands_in_must_bring_a_share_of_the_parent():
    true, codes = torch.eye(3)[:2], torch.ones(10, 2)
    for brought, want in ((0.39, 0), (0.45, 1)):
        into_codes = torch.tensor([[1.0, 0.0], [-4.0, 1.0]])
        sae = dictionary(true, into_codes, torch.tensor([[1.0, 0.0, 0.0], [brought, 1.0, 0.0]]))
        lone = torch.cat([codes, torch.tensor([[1.0, 0.0]])])  # where the parent's latent lives
        got = absorption(sae, true, np.array([-1, 0]), batches(lone @ true, lone))
        assert got["absorption"] == want
        assert absorption(sae, true, np.array([-1, 0]), batches(lone @ true, lone), min_share=0)["absorption"] == 1


def test_directions_of_other_lengths_change_nothing(planted):
    true, parents, x, codes = planted
    lengths = torch.linspace(0.2, 3, 8)[:, None]
    sae = absorbing(true, parents)
    one = absorption_by_pair(sae, true, parents, batches(x, codes))
    other = absorption_by_pair(sae, true * lengths, parents, batches(x, codes / lengths.T))
    assert one.drop(columns=["parent_cosine", "child_cosine"]).equals(
        other.drop(columns=["parent_cosine", "child_cosine"])
    )


def test_fewer_latents_than_features(planted):
    true, parents, x, codes = planted
    kept = [0, 1, 2, 3, 4, 5, 6]  # there is none for the second child
    sae = dictionary(true, torch.eye(8)[:, kept], true[kept])
    table = absorption_by_pair(sae, true, parents, batches(x, codes), min_share=0)
    assert table["child_latent"].tolist() == [6, -1]
    assert np.isnan(table["child_cosine"].iloc[1])
    assert table["absorption"].tolist() == [0, 0]


def test_a_pair_that_is_never_active_has_no_rate(planted):
    true, parents, _, codes = planted
    without = codes.clone()
    without[:, 7] = 0
    sae = absorbing(true, parents)
    table = absorption_by_pair(sae, true, parents, batches(without @ true, without))
    assert table["rows"].iloc[1] == 0
    assert np.isnan(table["absorption"].iloc[1])
    assert absorption(sae, true, parents, batches(without @ true, without))["absorption"] == 1


def test_what_cannot_be_absorbed(planted):
    true, parents, x, codes = planted
    sae = absorbing(true, parents)
    with pytest.raises(ValueError, match="no feature has a parent"):
        absorption(sae, true, np.full(8, -1), batches(x, codes))
    with pytest.raises(ValueError, match="5 parents do not belong to 8 features"):
        absorption(sae, true, parents[:5], batches(x, codes))
    with pytest.raises(ValueError, match="the number of another feature"):
        absorption(sae, true, np.arange(8), batches(x, codes))
    with pytest.raises(ValueError, match="the number of another feature"):
        absorption(sae, true, np.where(parents >= 0, 8, -1), batches(x, codes))
    with pytest.raises(ValueError, match="no rows"):
        absorption(sae, true, parents, list)
