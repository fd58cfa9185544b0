"""A feature that was split, one that was kept, one that was lost, by hand; probabilities against dense counting."""

import numpy as np
import pytest
import torch

from workbench.sae import SAEConfig, TopK, build_sae
from workbench.sae.metrics import splitting, splitting_summary


def dictionary(W_enc, W_dec, b_enc):
    W_enc, W_dec, b_enc = (torch.tensor(values) for values in (W_enc, W_dec, b_enc))
    d_in, d_sae = W_enc.shape
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc, "b_dec": torch.zeros(d_in)}
    return TopK.from_weights(SAEConfig(d_in=d_in, d_sae=d_sae, k=d_sae), weights)


@pytest.fixture(scope="module")
def pair():
    """Four dimensions: the first has two kinds, told by the second; the third and the fourth are features."""
    rows = torch.tensor(
        [[1.0, 0.5, 0.0, 0.0], [1.0, -0.5, 0.0, 0.0], [1.0, -0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    ).repeat(10, 1)
    one_each = np.eye(4, dtype=np.float32)
    # First, third and fourth axis; the last is dead.
    small = dictionary(one_each[:, [0, 2, 3, 1]].tolist(), one_each[[0, 2, 3, 1]].tolist(), [-0.1, -0.1, -0.1, -9.0])
    # The two kinds of the first; the third; what fires with the first and points elsewhere; dead, though it points as
    # the fourth.
    W_enc = np.stack([[0, 1, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], 1).astype(np.float32)
    W_dec = [[1, 0.5, 0, 0], [1, -0.5, 0, 0], [0, 0, 2.0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    large = dictionary(W_enc.tolist(), np.array(W_dec, np.float32).tolist(), [0.0, 0.0, 0.0, 0.0, -9.0])
    return small, large, rows


def test_split_kept_and_lost_by_hand(pair):
    small, large, rows = pair
    table = splitting(small, large, [rows])
    parts = table[table["part"]]
    assert parts[["latent", "neighbour"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 2]]
    assert parts["p_neighbour_given_latent"].to_numpy() == pytest.approx([1 / 3, 2 / 3, 1])
    assert parts["p_latent_given_neighbour"].to_numpy() == pytest.approx([1, 1, 1])
    assert parts["cosine"].to_numpy() == pytest.approx([1.25**-0.5, 1.25**-0.5, 1])
    assert parts["rows"].tolist() == [30, 30, 10]
    # The lost one stands in the table by its nearest, which is dead; the dead one of the small dictionary does not.
    lost = table[table["latent"] == 2].iloc[0]
    assert (lost["neighbour"], lost["part"], lost["p_latent_given_neighbour"]) == (4, False, 0)
    assert set(table["latent"]) == {0, 1, 2}
    assert splitting_summary(table) == pytest.approx(
        {"latents": 3, "split": 1 / 3, "kept": 1 / 3, "lost": 1 / 3, "parts": 1}
    )


def test_what_merely_comes_along_is_no_part(pair):
    small, large, rows = pair
    table = splitting(small, large, [rows], min_cosine=-1)
    line = table[(table["latent"] == 0) & (table["neighbour"] == 3)].iloc[0]
    assert line["p_neighbour_given_latent"] == line["p_latent_given_neighbour"] == 1
    assert line["cosine"] == 0
    assert line["part"]  # only because no cosine was asked for
    assert 3 not in set(splitting(small, large, [rows]).query("latent == 0")["neighbour"])


def test_each_bar_takes_parts_away(pair):
    small, large, rows = pair
    assert splitting_summary(splitting(small, large, [rows], min_share=0.5))["split"] == 0
    assert splitting_summary(splitting(small, large, [rows], min_cosine=0.95))["parts"] == pytest.approx(1 / 3)
    general = splitting(large, small, [rows])
    assert (
        splitting_summary(splitting(large, small, [rows], min_within=0.9))["kept"] < splitting_summary(general)["kept"]
    )


def test_probabilities_are_those_of_dense_counting_however_rows_are_batched():
    small = build_sae(SAEConfig(d_in=12, d_sae=20, k=3))
    large = build_sae(SAEConfig(d_in=12, d_sae=300, k=5, seed=1))
    x = torch.randn(900, 12, generator=torch.Generator().manual_seed(0))
    table = splitting(small, large, x.split(128), min_cosine=0.4)
    active = [(sae.encode(x) > 0).double() for sae in (small, large)]
    together = (active[0].T @ active[1]).numpy()
    at = together[table["latent"], table["neighbour"]]
    fired = [a.sum(0).numpy() for a in active]
    np.testing.assert_allclose(table["p_neighbour_given_latent"], at / fired[0][table["latent"]])
    np.testing.assert_allclose(table["p_latent_given_neighbour"], at / np.maximum(1, fired[1][table["neighbour"]]))
    cosine = (small.W_dec @ large.W_dec.T).detach().numpy()
    np.testing.assert_allclose(table["cosine"], cosine[table["latent"], table["neighbour"]], atol=1e-5)
    assert len(table) >= (cosine[fired[0] > 0] >= 0.4).sum() > 50
    assert table.equals(splitting(small, large, [x], min_cosine=0.4))


def test_a_dictionary_is_kept_in_itself():
    sae = build_sae(SAEConfig(d_in=32, d_sae=64, k=4))
    x = torch.randn(1000, 32, generator=torch.Generator().manual_seed(0))
    got = splitting_summary(splitting(sae, sae, [x], min_cosine=0.9))
    assert got == {"latents": 64, "split": 0, "kept": 1, "lost": 0, "parts": 1}


def test_what_cannot_be_compared(pair):
    small, large, rows = pair
    with pytest.raises(ValueError, match="of width 4 and 8"):
        splitting(small, build_sae(SAEConfig(d_in=8, d_sae=9, k=2)), [rows])
    with pytest.raises(ValueError, match="no rows"):
        splitting(small, large, [])
    with pytest.raises(ValueError, match="all are dead"):
        splitting(small, large, [torch.zeros(3, 4)])
