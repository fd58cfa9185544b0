"""Accuracy by length."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.seq2seq import Seq2Seq, Seq2SeqConfig
from models.tasks.copying import Copy
from workbench.reproductions.long_sentences import MODELS, accuracy_by_length, by_bin, subject


def test_each_length_is_measured_on_strings_of_that_length():
    task = Copy(n_symbols=4, min_length=2, max_length=6)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, **(task.shape | {"n_ctx": None})))
    lengths = []
    model.hook_source_embed.register_forward_hook(lambda _m, x, _y: lengths.append(x[0].shape[1]))
    curve = accuracy_by_length(model, task, [2, 9], n=5, seed=0)
    assert lengths == curve["length"].tolist() == [2, 9]
    trained_on = {row.tobytes() for step in range(50) for row in task.batch(64, 0, step)["source"].numpy()}
    drawn = Copy(n_symbols=4, min_length=9, max_length=9).draw(5, np.random.default_rng([0, 9]))
    batch = drawn.dataset().batch(slice(None))
    assert not {row.tobytes() for row in batch["source"].numpy()} & trained_on
    with torch.inference_mode():
        assert curve["accuracy"].iloc[1] == task.accuracy(model(**batch), batch)


def test_bins_hold_both_their_ends():
    curve = pd.DataFrame({"length": [2, 3, 4, 5], "accuracy": [1.0, 0.8, 0.4, 0.0]})
    assert by_bin(curve, [(2, 3), (4, 5)]) == pytest.approx([0.9, 0.2])


def test_subjects_take_sentences_longer_than_those_they_learn():
    for model in MODELS:
        recipe = subject(model, 10, seed=1)
        assert recipe.task.max_length == 10
        assert recipe.build(recipe.data()).cfg.n_ctx is None
