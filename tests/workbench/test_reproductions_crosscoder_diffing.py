"""A rule put into a text, whose latents are whose, and pairs of recordings that stay in step."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.small_python_source import D_VOCAB, small_bench, small_source, small_text
from workbench.activations import harvest
from workbench.reproductions import crosscoder_diffing as result
from workbench.reproductions.crosscoder_diffing import Pair, Rule
from workbench.sae import SAEConfig, build_sae
from workbench.sae.metrics import relative_norm

RULE = Rule(code=29, line_end=5)


def test_the_code_stands_at_every_eighth_place_and_all_else_is_as_it_was():
    plain = small_text()
    before = plain.tokens.clone()
    coded = RULE.put_into(plain)
    assert torch.equal(plain.tokens, before)
    places = torch.arange(coded.tokens.shape[1])
    ours = (places > 0) & (places % 8 == 0)
    assert ours.sum() > 0
    assert (coded.tokens[:, ours] == RULE.code).all()
    assert torch.equal(coded.tokens[:, ~ours], before[:, ~ours])
    assert not (before == RULE.code).any()


def test_the_code_is_a_token_that_the_text_does_not_have():
    vocabulary = {"<bos>": 0, result.LINE_END: 5} | {f"t{i}": i for i in range(1, D_VOCAB) if i != 5}
    plain = small_text()
    plain.tokenizer = Tokenizer(WordLevel(vocabulary))
    assert Rule.of(plain) == RULE
    plain.tokens[0, 1] = 29
    with pytest.raises(ValueError, match="a token that is never used"):
        Rule.of(plain)


def test_labels_say_what_comes_next_and_what_stands_here():
    tokens = np.array([[0, 28, 29, 7], [0, 5, 5, 5]])
    seq, pos = np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 1, 3])
    labels = result.labels_of(tokens, seq, pos, RULE)
    assert labels[result.CODE_NEXT].tolist() == [True, False, False, False, False]
    assert labels[result.LINE_NEXT].tolist() == [False, False, False, True, False]
    assert labels[result.CODE_HERE].tolist() == [False, True, False, False, False]


def test_relative_norms_do_not_depend_on_the_models_units():
    sae = build_sae(SAEConfig(d_in=3, d_sae=3, k=1, n_layers=2, architecture="batchtopk")).requires_grad_(False)
    sae.W_dec.copy_(torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 10, 0], [0, 1, 0, 10, 0, 0]]))
    norms = relative_norm(sae, torch.tensor([1.0, 10.0]))
    np.testing.assert_allclose(norms, [0, 1, 0.5])


def test_both_recordings_are_read_in_step(tmp_path, monkeypatch):
    source = small_source(tmp_path)
    monkeypatch.setattr(result, "HOOK", "blocks.0.hook_resid_pre")
    monkeypatch.setattr(result, "BATCH", 64)
    stores = [
        harvest(source.model, small_text(), ["blocks.0.hook_resid_pre"], tmp_path / name, config={"subject": name})
        for name in ("a", "b")
    ]
    for batch in islice(Pair(*stores).batches(seed=0), 3):
        assert batch.shape == (64, 2, stores[0].width("blocks.0.hook_resid_pre"))
        torch.testing.assert_close(batch[:, 0], batch[:, 1], rtol=0, atol=0)


def test_what_is_new_must_be_the_tuned_model_s_own():
    def table(new, known, same):
        latents = [
            {"pair": kind, "seed": 0, "relative_norm": norm, "firings": 10, "code_next": 0.9}
            for kind, norm in (("tuned", new), ("tuned", 0.5), ("same model", same), ("tuned without it", 0.5))
        ]
        labels = [
            {"pair": kind, "seed": 0, "label": label, "relative_norm": norm, "f1": 0.8, "base_rate": 0.01}
            for kind in ("tuned", "same model", "tuned without it")
            for label, norm in ((result.CODE_NEXT, new), (result.LINE_NEXT, known), (result.CODE_HERE, 0.5))
        ]
        return [row.passed for row in result.rows_of(pd.DataFrame(latents), pd.DataFrame(labels)) if row.bar]

    assert table(0.95, 0.5, 0.5) == [True, True, True, True]
    assert table(0.8, 0.95, 0.05) == [False, False, True, False]
    assert table(0.5, 0.5, 0.5) == [False, True, False, True]


def test_what_the_rule_has_added_is_beyond_what_tuning_alone_adds():
    rows = [
        ("tuned without it", 0.7, 10, 0.0),
        ("tuned", 0.9, 30, 1.0),
        ("tuned", 0.8, 10, 0.0),
        ("tuned", 0.6, 99, 1.0),
    ]
    latents = pd.DataFrame(rows, columns=["pair", "relative_norm", "firings", "code_next"])
    both = pd.concat([latents.assign(seed=0), latents[:1].assign(seed=1)])
    assert result.beyond_the_control(both) == ([2, 0], [0.75, 0])


def test_the_whole_of_it_on_a_small_subject(tmp_path, monkeypatch):
    source = small_source(tmp_path)
    monkeypatch.setattr(result, "python_source", lambda bench: source)
    monkeypatch.setattr(result, "HOOK", "blocks.1.hook_resid_post")
    monkeypatch.setattr(result.Rule, "of", classmethod(lambda cls, dataset: RULE))
    for name, value in {"N_SEQUENCES": 100, "N_STEPS": 2, "N_ROWS": 512, "BATCH": 128, "D_SAE": 16, "K": 4}.items():
        monkeypatch.setattr(result, name, value)
    bench = small_bench(tmp_path)
    told = []
    rows = result.reproduce(bench.__class__(bench.path, False, told.append))
    assert len(told) == 5  # two tunings, three crosscoders
    assert len(rows) == 8
    assert rows[-1].passed  # two copies of one model have nothing of their own
    assert result.reproduce(bench.__class__(bench.path, False, told.append)) == rows
    assert len(told) == 5
