"""A prompt is read as the subject reads it: every number against the subject and the dictionary themselves."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models import Transformer, TransformerConfig
from workbench.features import read_prompt
from workbench.features.reading.changed import aligned, changed_features, changed_tokens, with_token
from workbench.features.reading.layers import answer_by_layer, layers_at, stream_hooks
from workbench.features.reading.state_change import EDIT, RANDOM_TOKENS, state_change
from workbench.features.reading.units import ElsewhereHeld, unit_hooks, unusual_units
from workbench.features.vocabulary import token_strings
from workbench.interventions import TunedLens, lens_tokens
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


CHANGED = "def f(self): self self\n"  # as many tokens


def test_one_pass_holds_what_any_pane_asks_for(model, sae):
    hooks = [*unit_hooks(model), *stream_hooks(model)]
    reading = read_prompt(model, sae, TEXT, hooks=hooks)
    _, cache = model.run_with_cache(torch.from_numpy(reading.token_ids)[None])
    assert list(reading.held) == hooks
    for hook, value in reading.held.items():
        torch.testing.assert_close(value, cache[hook][0])


def test_a_text_with_another_token_is_the_text_but_for_its_characters(model, tokenizer):
    reading = read_prompt(model, None, TEXT)
    for position, token in enumerate(reading.tokens[1:], 1):
        before, after = ("".join(part) for part in (reading.tokens[1:position], reading.tokens[position + 1 :]))
        assert with_token(tokenizer, TEXT, position, token) == TEXT
        assert with_token(tokenizer, TEXT, position, "NEW") == before + "NEW" + after
        assert with_token(tokenizer, TEXT, position, "") == before + after
    for position in (0, len(reading.tokens)):
        with pytest.raises(ValueError, match="has no token of this text: they stand at 1 to"):
            with_token(tokenizer, TEXT, position, "x")


def test_a_piece_of_a_character_stands_for_the_whole(tokenizer):
    text = "a🙂b"
    pieces = tokenizer.encode(text).offsets
    assert len(pieces) > 3
    for position, (start, end) in enumerate(pieces, 1):
        assert with_token(tokenizer, text, position, "-") == text[:start] + "-" + text[end:]


def test_white_space_that_a_tokenizer_leaves_out_belongs_to_the_token_after_it():
    spaced = Tokenizer(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    spaced.pre_tokenizer = pre_tokenizers.Whitespace()
    assert with_token(spaced, "a b a", 2, " x") == "a x a"


@pytest.mark.parametrize(
    ("second", "gone", "come"),
    [(CHANGED, 0, 0), (TEXT + "x", 0, 1), ("x" + TEXT, 0, 1), (TEXT.replace("self", "", 1), None, 0), (TEXT, 0, 0)],
)
def test_every_token_of_both_texts_is_aligned_once_and_in_order(model, second, gone, come):
    first, other = read_prompt(model, None, TEXT), read_prompt(model, None, second)
    pairs = aligned(first, other)
    for side, reading in enumerate((first, other)):
        assert [pair[side] for pair in pairs if pair[side] is not None] == list(range(len(reading.tokens)))
    assert come == sum(pair[0] is None for pair in pairs)
    assert gone is None or gone == sum(pair[1] is None for pair in pairs)


def test_what_changed_is_two_separate_readings(model, sae):
    first, second = read_prompt(model, sae, TEXT), read_prompt(model, sae, CHANGED)
    table = changed_tokens(first, second)
    assert len(first.tokens) == len(second.tokens) == len(table)
    assert table["difference"].to_numpy() == pytest.approx(second.loss - first.loss, nan_ok=True)
    edited = np.flatnonzero(first.token_ids != second.token_ids)
    assert np.flatnonzero(table["edited"]).tolist() == edited.tolist()
    assert (table["difference"][1 : edited[0]] == 0).all(), "nothing before the edit knows of it"
    at = int(edited[0])
    found = changed_features(first, second, at, at).set_index("feature")
    dense, dense2 = (np.zeros(48) for _ in range(2))
    dense[first.features[at]], dense2[second.features[at]] = first.values[at], second.values[at]
    differ = np.flatnonzero(~np.isclose(dense, dense2, rtol=1e-4, atol=0))
    assert set(found.index) == set(differ)
    assert found["difference"].loc[differ].to_numpy() == pytest.approx(dense2[differ] - dense[differ])
    assert (found["difference"].abs().diff().dropna() <= 0).all()
    assert set(found.index[found["what"] == "came"]) == set(np.flatnonzero((dense == 0) & (dense2 > 0)))
    assert set(found.index[found["what"] == "went"]) == set(np.flatnonzero((dense > 0) & (dense2 == 0)))
    assert (changed_features(first, second, at, None)["what"] == "went").all()
    assert changed_features(first, first, at, at).empty


def test_the_lens_at_a_token_is_the_lens_of_the_whole_text(model):
    reading = read_prompt(model, None, TEXT, hooks=stream_hooks(model))
    lens = TunedLens.fit(model, torch.from_numpy(reading.token_ids)[None], n_steps=2)
    at = 4
    found = layers_at(model, reading, at, lens=lens, k=3, n_controls=2, seed=5)
    ids = torch.from_numpy(reading.token_ids)[None]
    whole = lens_tokens(model, ids, lens=lens, k=3, n_controls=2, seed=5)
    whole = whole[whole["position"] == at]
    keys = ["variant", "seed", "hook", "place"]
    one, other = (t.fillna({"seed": -1}).set_index(keys).sort_index() for t in (found, whole))
    assert one.index.tolist() == other.index.tolist()
    assert one["token"].tolist() == other["token"].tolist()
    for ours, theirs in (
        ("probability", "probability"),
        ("rank", "target_rank"),
        ("answer_probability", "target_probability"),
        ("entropy", "entropy"),
        ("kl", "kl"),
    ):
        assert one[ours].to_numpy(float) == pytest.approx(other[theirs].to_numpy(float), abs=1e-5), ours
    assert set(found["answer"]) == {reading.tokens[at + 1]}
    lines = answer_by_layer(found)
    assert len(lines) == 2 * len(found[found["place"] == 1])


def test_behind_the_last_token_the_answer_is_the_likeliest(model):
    reading = read_prompt(model, None, TEXT, hooks=stream_hooks(model))
    last = len(reading.tokens) - 1
    found = layers_at(model, reading, last, n_controls=0)
    own = found[found["hook"] == stream_hooks(model)[-1]]
    assert own["rank"].eq(1).all()
    assert own["text"].iloc[0] == own["answer"].iloc[0] == reading.predictions[last][0][0]
    assert own["kl"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_states_move_by_what_lies_between_two_readings_and_controls_by_random_tokens(model):
    hooks = stream_hooks(model)
    first, second = (read_prompt(model, None, text, hooks=hooks) for text in (TEXT, CHANGED))
    edited = int(np.flatnonzero(first.token_ids != second.token_ids)[0])
    table = state_change(model, first, second, edited, hooks=hooks)
    own = table[table["variant"] == EDIT].set_index(["measure", "hook"])["value"]
    for hook in hooks:
        difference = second.held[hook][edited] - first.held[hook][edited]
        assert own["norm", hook] == pytest.approx(float(difference.norm()), rel=1e-5)
        assert own["share", hook] == pytest.approx(float(difference.norm() / first.held[hook][edited].norm()), rel=1e-5)
    control = table[table["variant"] == RANDOM_TOKENS]
    assert (control["low"] <= control["value"]).all()
    assert (control["value"] <= control["high"]).all()
    assert (control["low"] > 0).all(), "a random token is another token"
    assert table.equals(state_change(model, first, second, edited, hooks=hooks)), "one seed, one result"
    before = state_change(model, first, second, edited - 1, hooks=hooks)
    assert before["value"].to_numpy() == pytest.approx(0, abs=1e-5), "nothing sees what comes later"


def test_states_of_texts_of_other_lengths_are_compared_where_they_are_aligned(model):
    hooks = stream_hooks(model)
    shorter = TEXT.replace("def ", "", 1)
    first, second = (read_prompt(model, None, text, hooks=hooks) for text in (TEXT, shorter))
    assert len(second.tokens) < len(first.tokens)
    pairs = dict(aligned(first, second))
    last = len(first.tokens) - 1
    table = state_change(model, first, second, last, hooks=hooks)
    difference = second.held[hooks[-1]][pairs[last]] - first.held[hooks[-1]][last]
    own = table[(table["hook"] == hooks[-1]) & (table["variant"] == EDIT)].set_index("measure")["value"]
    assert own["norm"] == pytest.approx(float(difference.norm()), rel=1e-5)
    gone = next(one for one, other in aligned(first, second) if one is not None and other is None)
    with pytest.raises(ValueError, match="this token is not in the second text"):
        state_change(model, first, second, gone, hooks=hooks)


def test_a_unit_is_unusual_by_its_own_values_elsewhere():
    rng = np.random.default_rng(0)
    held = {"h": torch.from_numpy(rng.normal(size=(1001, 4)) * [1, 10, 0, 1]).float()}
    elsewhere = ElsewhereHeld.of_prompt("h", held)
    here = np.array([0.0, 11.0, 0.0, -3.0], np.float32)
    found = unusual_units(here, elsewhere)
    assert found["unit"].tolist()[:2] == [3, 1], "eleven is little of what varies by ten"
    rows = held["h"].numpy()[1:]
    by_unit = found.set_index("unit")
    for unit in range(4):
        share = (rows[:, unit] < here[unit]).mean() + (rows[:, unit] == here[unit]).mean() / 2
        assert by_unit.loc[unit, "percentile"] == pytest.approx(100 * share)
        low, median, high = np.quantile(rows[:, unit], [0.05, 0.5, 0.95])
        assert by_unit.loc[unit, ["low", "median", "high"]].tolist() == pytest.approx([low, median, high], abs=1e-5)
    assert by_unit.loc[2, "deviations"] == 0, "what never moves is nowhere unusual"
    with pytest.raises(ValueError, match="has 4 units"):
        unusual_units(here[:3], elsewhere)
