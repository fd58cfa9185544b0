"""Siblings are what a matrix of all cosines says they are, and nothing is near by chance alone."""

import numpy as np
import pytest
import torch

from models import Dataset, Transformer, TransformerConfig
from workbench.activations import harvest
from workbench.features import FeatureIndex, build_index
from workbench.features.comparing.siblings import (
    Other,
    correlation,
    found_partner,
    overlap,
    partners,
    reached_by_chance,
    same_rows,
    siblings,
)
from workbench.sae import SAE, SAEConfig, build_sae

HOOK = "blocks.0.mlp.hook_post"
D = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[SAE, FeatureIndex]]:
    """Two widths, each with its index, of one recording."""
    tokens = torch.randint(1, 30, (60, 12), generator=torch.Generator().manual_seed(1))
    tokens[:, 0] = 0
    dataset = Dataset(tokens)
    splits = ["test" if i % 3 == 0 else "train" for i in range(60)]
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [splits])
    model = Transformer(TransformerConfig(n_layers=1, d_model=16, n_heads=2, d_mlp=D, n_ctx=12, d_vocab=30)).eval()
    path = tmp_path_factory.mktemp("made")
    store = harvest(model, dataset, [HOOK], path / "rows")
    found = {}
    for width in (24, 48):
        sae = build_sae(SAEConfig(d_in=D, d_sae=width, k=4, hook_name=HOOK, seed=width)).requires_grad_(False)
        found[width] = sae, build_index(sae, store, model, path / f"index-{width}", dataset)
    return found


def test_a_dictionarys_siblings_in_itself_are_itself(made) -> None:
    sae, index = made[24]
    for feature in np.flatnonzero(~index.table["dead"]):
        found = siblings(sae.W_dec[feature], [Other("same", sae.W_dec, index)], index, int(feature), n=1)
        assert found["feature"].tolist() == [feature]
        assert found["cosine"][0] == pytest.approx(1, abs=1e-6)
        assert found["correlation"][0] == pytest.approx(1, abs=1e-6)
        assert found["name"][0] == index.table["name"][feature]


def test_siblings_are_the_largest_cosines_and_their_codes_correlate_as_numpy_says(made) -> None:
    (narrow, index), (wide, other) = made[24], made[48]
    feature = int(index.table["density"].idxmax())
    found = siblings(narrow.W_dec[feature], [Other("wide", wide.W_dec, other)], index, feature, n=5)
    cosines = torch.nn.functional.cosine_similarity(narrow.W_dec[feature][None], wide.W_dec).detach().numpy()
    assert found["feature"].tolist() == np.argsort(-cosines)[:5].tolist()
    assert found["cosine"].to_numpy() == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-6)
    for line in found.itertuples():
        dense = np.zeros((2, index.n_rows))
        for row, (which, f) in enumerate(((index, feature), (other, line.feature))):
            rows, values = which.values(f)
            dense[row, rows] = values
        expected = np.corrcoef(dense)[0, 1] if dense[1].any() else np.nan
        assert line.correlation == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_rows_of_another_width_are_left_out_and_without_an_index_there_is_no_correlation(made) -> None:
    sae, index = made[24]
    found = siblings(sae.W_dec[0], [Other("other hook", torch.ones(5, D + 1)), Other("plain", sae.W_dec)], index, 0)
    assert set(found["dictionary"]) == {"plain"}
    assert found["correlation"].isna().all()
    assert siblings(sae.W_dec[0], []).empty


def test_partners_both_ways_and_no_more_than_chance_among_random_directions(made) -> None:
    sae, _ = made[48]
    own = partners(sae.W_dec, sae.W_dec)
    near, bar = found_partner(own)
    assert own["other"].tolist() == own["feature"].tolist()
    assert own["mutual"].all()
    assert near.all()
    assert 0 < bar < 1
    noise = torch.randn(48, D, generator=torch.Generator().manual_seed(5))
    near, _ = found_partner(partners(sae.W_dec, noise))
    assert near.mean() < 0.25, "random directions are partners of few: one in twenty is meant"


def test_chance_falls_with_the_width_of_rows() -> None:
    few, many = (torch.randn(64, d, generator=torch.Generator().manual_seed(0)) for d in (8, 512))
    assert reached_by_chance(many) < 0.3 < reached_by_chance(few)


def test_dictionaries_of_other_hooks_are_refused() -> None:
    with pytest.raises(ValueError, match="choose two dictionaries of one hook"):
        partners(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="has no features"):
        partners(torch.ones(3, 4), torch.ones(0, 4))


def test_the_overlap_of_firing_is_counted(made) -> None:
    _, index = made[24]
    a, b = index.table["density"].nlargest(2).index
    fires = np.zeros((2, index.n_rows), bool)
    fires[0, index.values(int(a))[0]] = fires[1, index.values(int(b))[0]] = True
    found = overlap(index, int(a), index, int(b))
    both, either = (fires[0] & fires[1]).sum(), (fires[0] | fires[1]).sum()
    assert (found["both"], found["either"]) == (both, either)
    assert found["jaccard"] == pytest.approx(both / either)
    shuffled = np.random.default_rng(0)
    by_chance = []
    for _ in range(50):
        other = shuffled.permutation(fires[1])
        by_chance.append((fires[0] & other).sum() / (fires[0] | other).sum())
    assert found["chance"] == pytest.approx(np.mean(by_chance), rel=0.1)
    assert overlap(index, int(a), index, int(a))["jaccard"] == 1
    assert correlation(index, int(a), index, int(a)) == pytest.approx(1)


def test_the_same_rows_are_told_from_others(made) -> None:
    (_, a), (_, b) = made[24], made[48]
    assert same_rows(a, b)
