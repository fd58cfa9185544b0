"""Found directions against true ones, by hand, against every permutation, and against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from models.tasks import PlantedFeatures
from workbench.sae import Moments, SAEConfig, TopK, TopKCodes, neuron_dictionary, random_dictionary
from workbench.sae.metrics import MatchedScores, Matching, ground_truth, match_directions, mcc, mmcs, seed_stability

E0, E1 = [1.0, 0.0], [0.0, 1.0]


def directions(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def dictionary(W_enc, W_dec, b_enc=None):
    d_in, d_sae = W_enc.shape
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_dec": torch.zeros(d_in)}
    weights["b_enc"] = torch.zeros(d_sae) if b_enc is None else b_enc
    return TopK.from_weights(SAEConfig(d_in=d_in, d_sae=d_sae, k=d_sae), weights)


@pytest.fixture(scope="module")
def planted():
    """Fewer features than dimensions, so that the pseudo-inverse of the true dictionary gives the true code."""
    task = PlantedFeatures(n_features=12, d_in=32, n_active=3, n_labelled=0)
    true = torch.from_numpy(task.dictionary)
    codes = torch.from_numpy(task.codes(2000, np.random.default_rng(0)))
    return true, codes @ true, codes


def batches(x, codes, size=300):
    return lambda: zip(x.split(size), codes.split(size), strict=True)


def test_mmcs_by_hand():
    half = 0.5**0.5
    got = mmcs(torch.tensor([E0, [-3.0, 0.0], [2.0, 2.0]]), torch.tensor([E0, [0.0, 5.0]]))
    assert got == pytest.approx(
        {
            "mmcs_of_true": (1 + half) / 2,
            "mmcs_of_found": (1 + 1 + half) / 3,
            "signed_mmcs_of_true": (1 + half) / 2,
            "signed_mmcs_of_found": (1 + 0 + half) / 3,
        }
    )


def test_each_way_of_mmcs_is_blind_to_what_the_other_sees():
    true = torch.eye(4)
    one_found_four_times = torch.eye(4)[[0, 0, 0, 0]]
    got = mmcs(one_found_four_times, true)
    assert got["mmcs_of_found"] == pytest.approx(1)
    assert got["mmcs_of_true"] == pytest.approx(0.25)
    found_and_much_else = torch.eye(8)
    true_in_eight = torch.eye(8)[:4]
    got = mmcs(found_and_much_else, true_in_eight)
    assert got["mmcs_of_true"] == pytest.approx(1)
    assert got["mmcs_of_found"] == pytest.approx(0.5)


def test_a_flipped_latent_is_no_feature_with_its_sign():
    got = mmcs(-torch.eye(3), torch.eye(3)) | mcc(-torch.eye(3), torch.eye(3))
    assert got["mmcs_of_true"] == got["mcc"] == pytest.approx(1)
    assert got["signed_mmcs_of_true"] == got["signed_mcc"] == got["recovered"] == 0


@pytest.mark.parametrize("compare", [mmcs, mcc])
def test_lengths_order_and_rotation_do_not_matter(compare):
    found, true = directions(30, 6, seed=1), directions(10, 6, seed=2)
    generator = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(directions(6, 6, seed=4)).Q
    changed = (found * (torch.rand(30, 1, generator=generator) + 0.1))[torch.randperm(30, generator=generator)]
    assert compare(changed @ rotation, true @ rotation) == pytest.approx(compare(found, true), abs=1e-6)


def test_mmcs_of_many_latents_is_that_of_the_whole_matrix_of_cosines():
    found, true = directions(5000, 5), directions(7, 5, seed=1)
    cosine = torch.nn.functional.cosine_similarity(found[:, None], true, dim=2)
    got = mmcs(found, true)
    assert got["mmcs_of_true"] == pytest.approx(cosine.abs().amax(0).mean().item(), abs=1e-5)
    assert got["signed_mmcs_of_found"] == pytest.approx(cosine.amax(1).mean().item(), abs=1e-5)


@pytest.mark.parametrize("compare", [mmcs, mcc])
def test_dead_latents_are_left_out(compare):
    found, true = directions(20, 6), directions(8, 6, seed=1)
    alive = torch.arange(20) % 3 > 0
    assert compare(found, true, alive) == compare(found[alive], true)
    assert compare(found, true, alive) != compare(found, true)


def test_the_matching_is_the_best_of_all_permutations():
    for seed in range(5):
        found, true = directions(6, 3, seed=seed), directions(5, 3, seed=100 + seed)
        cosine = torch.nn.functional.cosine_similarity(found[:, None], true, dim=2).double().numpy()
        for key, values in (("mcc", np.abs(cosine)), ("signed_mcc", cosine)):
            best = max(values[list(rows), range(5)].mean() for rows in permutations(range(6), 5))
            assert mcc(found, true)[key] == pytest.approx(best, abs=1e-6)


def test_a_duplicate_has_nothing_left_to_be_matched_to():
    got = mcc(torch.tensor([E0, E0]), torch.tensor([E0, E1]))
    assert got == pytest.approx({"mcc": 0.5, "signed_mcc": 0.5, "mcc_coverage": 1, "recovered": 0.5})


def test_coverage_says_how_many_features_the_mean_is_over():
    got = mcc(torch.eye(4)[:1], torch.eye(4))
    assert got == pytest.approx({"mcc": 1, "signed_mcc": 1, "mcc_coverage": 0.25, "recovered": 0.25})


def test_a_matching_names_rows_of_the_whole_dictionary():
    found = torch.eye(3)[[2, 0, 1, 2]]
    alive = torch.tensor([False, True, True, True])
    matching = match_directions(found, torch.eye(3), alive)
    assert dict(zip(matching.true.tolist(), matching.found.tolist(), strict=True)) == {0: 1, 1: 2, 2: 3}
    assert matching.cosine == pytest.approx(1)


def test_two_seeds_that_found_the_same_are_stable():
    a = torch.nn.Parameter(directions(20, 40))
    same = 2 * a[torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    assert seed_stability(a, same) == pytest.approx({"seed_mcc": 1, "seed_signed_mcc": 1, "seed_shared": 1})
    half = torch.cat([a[:10], directions(10, 40, seed=9)])
    assert seed_stability(a, half)["seed_shared"] == 0.5
    assert seed_stability(a, half)["seed_mcc"] < 0.8


def test_stability_is_the_same_either_way_round():
    a, b = directions(15, 5), directions(25, 5, seed=1)
    alive_a, alive_b = torch.arange(15) > 2, torch.arange(25) > 5
    assert seed_stability(a, b, alive_a, alive_b) == pytest.approx(seed_stability(b, a, alive_b, alive_a))
    assert seed_stability(a, b, alive_a, alive_b) == pytest.approx(seed_stability(a[alive_a], b[alive_b]))


def test_what_is_shared_is_a_share_of_the_larger_dictionary():
    assert seed_stability(torch.eye(4), torch.eye(4)[:1])["seed_shared"] == 0.25
    alive = torch.tensor([True, True, False, False])
    assert seed_stability(torch.eye(4)[:1], torch.eye(4), None, alive)["seed_shared"] == 0.5


def test_scores_by_hand():
    # Latent 2 stands for feature 0: it fires in rows 0 and 1, the feature holds in rows 1, 2 and 3.
    codes = TopKCodes(torch.tensor([[1.0], [1.0], [0.0], [1.0]]), torch.tensor([[2], [2], [2], [0]]))
    true_codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    scores = MatchedScores(Matching(np.array([2, 1]), np.array([0, 1]), np.array([0.8, 0.3])))
    scores.update(codes, true_codes, 3)
    line, untested = scores.table().to_dict("records")
    assert (line["latent"], line["feature"], line["positives"]) == (2, 0, 3)
    assert (line["precision"], line["recall"]) == pytest.approx((1 / 2, 1 / 3))
    assert line["f1"] == pytest.approx(2 / 5)
    assert np.isnan([untested[name] for name in ("precision", "recall", "f1")]).all()
    assert scores.result()["feature_f1"] == pytest.approx(2 / 5)


def test_scores_are_scikit_learns_however_rows_are_batched():
    generator = torch.Generator().manual_seed(0)
    dense = torch.rand(400, 6, generator=generator) * (torch.rand(400, 6, generator=generator) < 0.4)
    dense[:, 3] = 0
    truth = (torch.rand(400, 5, generator=generator) < 0.3).float()
    values, indices = dense.topk(6, dim=1)
    scores = MatchedScores(Matching(np.array([5, 0, 3, 2]), np.array([1, 0, 4, 2]), np.ones(4)))
    for rows in torch.arange(400).split(37):
        scores.update(TopKCodes(values[rows], indices[rows]), truth[rows], 6)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth[:, [1, 0, 4, 2]] > 0, dense[:, [5, 0, 3, 2]] > 0, zero_division=0
    )
    table = scores.table()
    np.testing.assert_allclose(table["precision"], precision)
    np.testing.assert_allclose(table["recall"], recall)
    np.testing.assert_allclose(table["f1"], f1)
    assert table["f1"].iloc[2] == 0


def test_the_true_dictionary_has_full_marks_and_a_random_one_has_not(planted):
    true, x, codes = planted
    # Two latents more, that never fire, and point where no feature is.
    W_enc = torch.cat([torch.linalg.pinv(true), torch.zeros(32, 2)], 1)
    b_enc = torch.cat([torch.full((12,), -0.01), torch.full((2,), -1.0)])
    sae = dictionary(W_enc, torch.cat([true, directions(2, 32, seed=5)]), b_enc)
    got = ground_truth(sae, true, batches(x, codes))
    assert got.pop("alive") == 12
    assert got == pytest.approx(dict.fromkeys(got, 1.0), abs=1e-6)

    cfg = SAEConfig(d_in=32, d_sae=14, k=3)
    control = ground_truth(random_dictionary(cfg, Moments.of([x]), [x]), true, batches(x, codes))
    assert control["mcc"] < 0.6
    assert control["feature_f1"] < 0.6
    assert control["recovered"] == 0


def test_a_dead_latent_is_not_scored_though_it_points_best(planted):
    true, x, codes = planted
    W_enc = torch.cat([torch.linalg.pinv(true), torch.zeros(32, 12)], 1)
    b_enc = torch.cat([torch.full((12,), -0.01), torch.full((12,), -1.0)])
    living = true + 0.05 * directions(12, 32, seed=5)
    got = ground_truth(dictionary(W_enc, torch.cat([living, true]), b_enc), true, batches(x, codes))
    assert got["feature_f1"] == pytest.approx(1)
    assert 0.9 < got["mcc"] < 0.99
    assert got["mmcs_of_true"] < 0.99


def test_a_latent_is_scored_as_what_it_points_along_not_against():
    # Each neuron has a latent for up and one for down: only the one for up fires with the feature.
    codes = torch.rand(500, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    codes *= torch.rand(500, 4, generator=torch.Generator().manual_seed(1)) < 0.1
    sae = neuron_dictionary(SAEConfig(d_in=4, d_sae=8, k=4), Moments.of([codes]))
    assert sae.cfg.d_sae == 8
    got = ground_truth(sae, torch.eye(4), batches(codes, codes))
    assert got["recovered"] == 1
    assert got["feature_f1"] == pytest.approx(1)


def test_what_cannot_be_marked(planted):
    true, x, codes = planted
    dead = dictionary(torch.zeros(32, 3), directions(3, 32))
    with pytest.raises(ValueError, match="all are dead"):
        ground_truth(dead, true, batches(x, codes))
    with pytest.raises(ValueError, match="no rows"):
        ground_truth(dead, true, list)
    with pytest.raises(ValueError, match="no latent is alive"):
        mmcs(true, true, torch.zeros(12, dtype=torch.bool))
    with pytest.raises(ValueError, match="width 32 cannot be compared with others of 5"):
        mcc(true, directions(3, 5))
    with pytest.raises(ValueError, match="none of length zero"):
        mcc(true, torch.zeros(2, 32))
