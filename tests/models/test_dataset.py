"""A dataset keeps tokens, documents and labels together through selection, splitting and saving."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.dataset import Dataset


def small_dataset() -> Dataset:
    """Three documents, one of them for testing, in five sequences; the label of a token is ten times its id."""
    tokens = torch.tensor([[0, 1, 2, 3], [0, 4, 5, 0], [0, 6, 7, 8], [0, 9, 0, 0], [0, 1, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    real = tokens[mask].numpy()
    labels = pa.table(
        {
            "tenfold": pa.array(np.where(real > 0, real * 10, 0).astype(np.int16), mask=real == 0),
            "kind": pa.array([None if t == 0 else "even" if t % 2 == 0 else "odd" for t in real]).dictionary_encode(),
        }
    )
    return Dataset(
        tokens,
        mask,
        torch.tensor([0, 0, 1, 1, 2]),
        labels,
        pa.table({"name": ["a", "b", "c"], "split": ["train", "test", "train"]}),
    )


def test_labels_follow_their_tokens_through_a_selection():
    chosen = small_dataset().select(torch.tensor([3, 1]))
    assert chosen.tokens.tolist() == [[0, 4, 5, 0], [0, 9, 0, 0]]  # reading order
    assert chosen.labels["tenfold"].to_pylist() == [None, 40, 50, None, 90]


def test_splits_are_by_document_and_share_none():
    data = small_dataset()
    train, test = data.split("train"), data.split("test")
    assert set(train.docs.tolist()) == {0, 2}
    assert set(test.docs.tolist()) == {1}
    assert len(train) + len(test) == len(data)


def test_a_dataset_is_shown_by_its_shapes():
    assert repr(small_dataset()) == "Dataset(5 sequences × 4 positions; 3 documents; labels: 2 columns)"
    vectors = Dataset(torch.zeros(2, 3, 7), targets=torch.zeros(2, 3, 1))
    assert repr(vectors) == "Dataset(2 sequences × 3 positions × 7 numbers; 2 documents; targets: 2 × 3 × 1)"


def test_bos_and_padding_are_not_counted():
    assert small_dataset().n_tokens == 3 + 2 + 3 + 1 + 3


def test_saving_and_loading_give_the_same_dataset(tmp_path):
    data = small_dataset()
    data.save(tmp_path / "run")
    back = Dataset.load(tmp_path / "run")
    assert back.id == data.id
    for name in ("tokens", "mask", "docs"):
        assert torch.equal(getattr(back, name), getattr(data, name))
    assert back.labels.to_pylist() == data.labels.to_pylist()
    assert back.doc_table.equals(data.doc_table)


def test_equal_datasets_have_equal_ids(tmp_path):
    assert small_dataset().save(tmp_path / "a") == small_dataset().save(tmp_path / "b")


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split is called 'dev': there are train and test"):
        small_dataset().split("dev")


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels have 2 rows, but there are 4 real positions"):
        Dataset(torch.zeros(1, 4, dtype=torch.long), labels=pa.table({"x": [1, 2]}))
