"""What tells two sets of rows apart is counted by brute force, and nothing does where labels mean nothing."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models import Dataset, Transformer, TransformerConfig
from probes.validation import split_by_group
from workbench.activations import ActivationStore, harvest
from workbench.features import FeatureIndex, build_index
from workbench.features.comparing.contrast import COLUMNS, HELD_OUT, contrast, rows_where
from workbench.sae import SAEConfig, build_sae

HOOK = "hook_embed"
N_DOCS, D = 24, 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, FeatureIndex]:
    """A recording of the embedding, where what fires is told by the token, and its index."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 12, (N_DOCS * 3, 20), generator=generator)
    tokens[:, 0] = 0
    flat = tokens.flatten().numpy()
    labels = pa.table({"low": pa.array(flat < 4, mask=flat == 0), "coin": pa.array(np.arange(len(flat)) % 7 < 3)})
    table = pa.table(
        {"name": [f"doc {i}" for i in range(N_DOCS)], "split": ["test" if i % 3 else "train" for i in range(N_DOCS)]}
    )
    docs = torch.arange(N_DOCS * 3) // 3
    dataset = Dataset(tokens, docs=docs, labels=labels, doc_table=table)
    model = Transformer(TransformerConfig(n_layers=1, d_model=D, n_heads=2, n_ctx=20, d_vocab=12)).eval()
    sae = build_sae(SAEConfig(d_in=D, d_sae=40, k=3, hook_name=HOOK)).requires_grad_(False)
    path = tmp_path_factory.mktemp("made")
    store = harvest(model, dataset, [HOOK], path / "rows")
    return store, build_index(sae, store, model, path / "index", dataset)


def dense(index: FeatureIndex) -> np.ndarray:
    codes = np.zeros((index.n_rows, index.n_features))
    for feature in range(index.n_features):
        rows, values = index.values(feature)
        codes[rows, feature] = values
    return codes


def test_rates_and_areas_are_those_of_brute_force_on_the_held_out_documents(made) -> None:
    store, index = made
    first, second = rows_where(index, store, "low == True", "low == False")
    found = contrast(index, first, second, seed=3)
    assert found.groups == "documents"
    assert list(found.table.columns) == list(COLUMNS)
    rows = np.sort(np.concatenate([first, second]))
    labels = np.isin(rows, first)
    fit, held_out = split_by_group(index.rows["doc"][rows], held_out_share=HELD_OUT, seed=3)
    codes = dense(index)[rows]
    assert (found.n_first, found.n_second) == (labels[held_out].sum(), (~labels[held_out]).sum())
    for line in found.table.itertuples():
        column = codes[:, line.feature]
        assert line.auroc == pytest.approx(roc_auc_score(labels[held_out], column[held_out]))
        assert line.fit_auroc == pytest.approx(roc_auc_score(labels[fit], column[fit]))
        assert line.first_rate == pytest.approx((column[held_out][labels[held_out]] > 0).mean())
        assert line.difference == pytest.approx(line.first_rate - (column[held_out][~labels[held_out]] > 0).mean())
    assert np.abs(found.table["fit_auroc"] - 0.5).is_monotonic_decreasing


def test_what_the_token_tells_is_found_and_what_nothing_tells_is_not(made) -> None:
    store, index = made
    told = contrast(index, *rows_where(index, store, "low == True"))
    assert abs(told.table["auroc"][0] - 0.5) > 2 * told.bar, "tokens decide what the embedding fires on"
    nothing = contrast(index, *rows_where(index, store, "coin == True"))
    assert abs(nothing.table["auroc"][0] - 0.5) < 0.1
    assert told.chance["auroc"].sub(0.5).abs().max() < 0.1


def test_two_documents_are_held_apart_by_their_sequences(made) -> None:
    _, index = made
    doc = index.rows["doc"]
    found = contrast(index, np.flatnonzero(doc == 0), np.flatnonzero(doc == 5))
    assert found.groups == "sequences"
    assert found.table["auroc"].between(0, 1).all()


def test_one_seed_gives_one_table(made) -> None:
    store, index = made
    sets = rows_where(index, store, "low == True")
    assert contrast(index, *sets).table.equals(contrast(index, *sets).table)


def test_what_cannot_be_held_apart_is_refused(made) -> None:
    store, index = made
    rows = np.arange(index.n_rows)
    with pytest.raises(ValueError, match="the first set of rows is empty"):
        contrast(index, rows[:0], rows)
    with pytest.raises(ValueError, match="10 rows are in both sets"):
        contrast(index, rows[:10], rows)
    with pytest.raises(ValueError, match="not there"):
        contrast(index, rows[:10], rows[10:] + 10)
    with pytest.raises(ValueError, match="one sequence alone"):
        contrast(index, rows[:3], rows[200:])
    with pytest.raises(ValueError, match="cannot be read"):
        rows_where(index, store, "__import__('os').system('true')")
