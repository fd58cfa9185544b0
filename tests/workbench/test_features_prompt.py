"""A prompt is read as the subject reads it: every number against the subject and the dictionary themselves."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models import Transformer, TransformerConfig
from workbench.features import read_prompt
from workbench.features.vocabulary import token_strings
from workbench.sae import SAEConfig, build_sae

HOOK = "blocks.0.mlp.hook_post"
TEXT = "def f(self): return self\n"


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|bos|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT * 20], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def model(tokenizer):
    cfg = TransformerConfig(
        n_layers=2, d_model=16, n_heads=2, d_mlp=32, n_ctx=24, d_vocab=tokenizer.get_vocab_size(), seed=0
    )
    model = Transformer(cfg).eval()
    model.tokenizer = tokenizer
    return model


@pytest.fixture(scope="module")
def sae():
    return build_sae(SAEConfig(d_in=32, d_sae=48, k=5, hook_name=HOOK)).requires_grad_(False)


def test_a_reading_is_the_subjects_and_the_dictionarys_own(model, sae, tokenizer):
    reading = read_prompt(model, sae, TEXT)
    ids = torch.tensor([0, *tokenizer.encode(TEXT).ids])
    assert reading.token_ids.tolist() == ids.tolist()
    assert "".join(reading.tokens[1:]) == TEXT
    logits, cache = model.run_with_cache(ids[None])
    loss = model(ids[None], return_type="loss", loss_per_token=True)[0].detach().numpy()
    assert np.isnan(reading.loss[0])
    assert reading.loss[1:] == pytest.approx(loss, abs=1e-5)
    probabilities = logits[0].softmax(-1)
    for pos, predictions in enumerate(reading.predictions):
        assert [p for _, p in predictions] == pytest.approx(probabilities[pos].topk(5).values.tolist(), abs=1e-6)
        best = int(probabilities[pos].argmax())
        assert predictions[0][0] == token_strings(tokenizer, [best])[0]
    for layer in range(2):
        pattern = reading.patterns[layer]
        assert pattern.shape == (2, len(ids), len(ids))
        assert torch.allclose(pattern, cache[f"blocks.{layer}.attn.hook_pattern"][0], atol=1e-6)
    dense = sae.encode(cache[HOOK][0]).detach().numpy()
    assert len(reading.features[0]) == 0
    for pos in range(1, len(ids)):
        assert set(reading.features[pos]) == set(np.flatnonzero(dense[pos]))
        assert reading.values[pos] == pytest.approx(dense[pos][reading.features[pos]], abs=1e-6)
        assert (np.diff(reading.values[pos]) <= 0).all()


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu"])
def test_a_prompt_is_read_where_each_position_has_as_many_features_as_are_active(model, architecture):
    cfg = SAEConfig(d_in=32, d_sae=48, architecture=architecture, hook_name=HOOK)
    sae = build_sae(cfg).requires_grad_(False)
    sae.b_dec.fill_(0.01)
    reading = read_prompt(model, sae, TEXT)
    _, cache = model.run_with_cache(torch.from_numpy(reading.token_ids)[None], names_filter=[HOOK])
    dense = sae.encode(cache[HOOK][0]).numpy()
    assert len(reading.features[0]) == 0
    for pos in range(1, len(dense)):
        assert set(reading.features[pos]) == set(np.flatnonzero(dense[pos]))
        assert reading.values[pos] == pytest.approx(dense[pos][reading.features[pos]], abs=1e-6)
        assert (np.diff(reading.values[pos]) <= 0).all()
    assert len({len(found) for found in reading.features}) > 2


def test_without_a_dictionary_no_feature_fires(model):
    reading = read_prompt(model, None, TEXT)
    assert all(len(found) == 0 for found in reading.features)
    assert len(reading.features) == len(reading.tokens)


def test_what_cannot_be_read_is_refused(model, sae):
    with pytest.raises(ValueError, match="the prompt is empty"):
        read_prompt(model, sae, "")
    with pytest.raises(ValueError, match="the prompt is 40 tokens long: with BOS before it, at most 23 fit"):
        read_prompt(model, sae, "#" * 40)
    several = build_sae(SAEConfig(d_in=32, d_sae=48, k=5, n_layers=2, hook_names=(HOOK, HOOK)))
    with pytest.raises(ValueError, match="a crosscoder reads several hooks at once"):
        read_prompt(model, several, TEXT)
    elsewhere = build_sae(SAEConfig(d_in=32, d_sae=48, k=5, hook_name="blocks.9.mlp.hook_post"))
    with pytest.raises(ValueError, match="blocks.9.mlp.hook_post', a hook that this model does not have"):
        read_prompt(model, elsewhere, TEXT)


def test_a_subject_without_a_tokenizer_reads_no_text(sae):
    model = Transformer(TransformerConfig(n_layers=1, d_model=16, n_heads=2, d_mlp=32, n_ctx=8, d_vocab=10))
    with pytest.raises(ValueError, match="no tokenizer"):
        read_prompt(model, sae, TEXT)


def test_every_token_has_a_name_of_its_own(tokenizer):
    names = token_strings(tokenizer, range(tokenizer.get_vocab_size()))
    assert all(names)
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(names)
    assert "self" in {name.strip() for name in names}
    assert token_strings(None, [3, 4]) == ["3", "4"]
