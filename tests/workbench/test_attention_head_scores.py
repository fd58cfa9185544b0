"""`head_scores` beside loops, TransformerLens's head detector, and subjects whose heads are known."""

import copy

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hub_folders import save_hub_model
from transformer_lens.head_detector import (
    compute_head_attention_similarity_score,
    detect_head,
    get_duplicate_token_head_detection_pattern,
    get_induction_head_detection_pattern,
    get_previous_token_head_detection_pattern,
)

from models import (
    Dataset,
    EncoderDecoderTransformer,
    EncoderDecoderTransformerConfig,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    Transformer,
    TransformerConfig,
)
from models.compiled import compiled_induction
from models.corpus.tokenizer import train_tokenizer
from models.hub import HubModel, HubModelConfig
from models.tasks import Copy
from workbench.attention import head_scores
from workbench.attention.random_heads import random_repeats_for
from workbench.attention.telling import telling_sequence

NAMED = {
    "previous_token": get_previous_token_head_detection_pattern,
    "duplicate_token": get_duplicate_token_head_detection_pattern,
    "induction": get_induction_head_detection_pattern,
}


def small(seed=0, **changes):
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "n_ctx": 16, "d_vocab": 12, "seed": seed}
    return Transformer(TransformerConfig(**shape | {"initializer_range": 0.5} | changes))


def random_tokens(n=5, length=12, d_vocab=12, seed=0):
    tokens = torch.randint(1, d_vocab, (n, length), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


def patterns_of(model, tokens):
    names = [name for name in model.hook_dict if name.endswith("hook_pattern")]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    return {name: cache[name] for name in names}


def values(table, score, text="real"):
    chosen = table[(table["score"] == score) & (table["text"] == text)]
    return chosen.sort_values(["layer", "head"])["value"].to_numpy()


def test_scores_are_those_of_loops_over_real_positions_alone():
    model, tokens = small(), random_tokens()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 7:] = mask[3, 4:] = False
    data = Dataset(tokens * mask, mask)
    found = head_scores(model, data, random_repeats=False, n_controls=0, window=2, batch_size=2)
    sums, counts = {}, {}
    for layer, pattern in enumerate(patterns_of(model, data.tokens).values()):
        for seq in range(5):
            ids = data.tokens[seq].tolist()
            for query in range(1, int(mask[seq].sum())):
                row = pattern[seq, :, query].double()
                marked = {
                    "previous_token": [query - 1],
                    "first_token": [0],
                    "current_token": [query],
                    "duplicate_token": [k for k in range(query) if ids[k] == ids[query]],
                    "induction": [k + 1 for k in range(query) if ids[k] == ids[query]],
                    "local": list(range(max(0, query - 2), query + 1)),
                }
                read = {name: row[:, keys].sum(1) for name, keys in marked.items() if keys}
                read["entropy"] = -torch.special.xlogy(row, row).sum(1) / np.log(2)
                read["distance"] = (row * (query - torch.arange(12))).sum(1)
                for name, value in read.items():
                    sums[layer, name] = sums.get((layer, name), 0) + value
                    counts[layer, name] = counts.get((layer, name), 0) + 1
    assert len(found) == 2 * len(sums) == 2 * 2 * 8
    for line in found.itertuples():
        at = (line.layer, line.score)
        assert line.positions == counts[at]
        assert line.value == pytest.approx(float(sums[at][line.head] / counts[at]), abs=1e-5), at
    assert found["control"].isna().all()
    whole = head_scores(model, data, random_repeats=False, n_controls=0, window=2, batch_size=64)
    assert whole["value"].to_numpy() == pytest.approx(found["value"].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("name", list(NAMED))
def test_transformer_lens_finds_the_same_heads(name):
    model = small(d_vocab=300)
    model.tokenizer = train_tokenizer(["a b a b"], 257)
    text = "abcabdabcaa"
    tokens = model.to_tokens(text)
    keys = NAMED[name](tokens)
    theirs = detect_head(model, text, f"{name}_head").flatten().numpy()
    # They divide by the attention of all queries, we by that of those which have a key.
    n = int(keys.any(-1).sum())
    found = head_scores(model, tokens, patterns=[name], random_repeats=False, n_controls=0)
    assert values(found, name) * n / tokens.shape[1] == pytest.approx(theirs, abs=1e-6)
    assert (found["positions"] == n).all()
    # With a key for every query the other measure is theirs too, which they round.
    every = keys.clone()
    every[~keys.any(-1), 0] = 1
    given = head_scores(
        model, tokens, patterns={"own": every.bool()}, measure="agreement", random_repeats=False, n_controls=0
    )
    pattern = patterns_of(model, tokens)
    kept = slice(1, None)  # BOS is no query of ours
    for line in given.itertuples():
        attention = pattern[line.hook][0, line.head]
        apart = (attention[kept] - every[kept]).abs().sum(-1).mean()
        assert line.value == pytest.approx(float(1 - apart), abs=1e-5)
        with_bos = compute_head_attention_similarity_score(
            attention, detection_pattern=every, exclude_bos=False, exclude_current_token=False, error_measure="abs"
        )
        # BOS looks at itself, as it should.
        assert line.value == pytest.approx(1 - (1 - with_bos) * 12 / 11, abs=1e-3)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_in_half_precision_scores_are_those_of_the_same_pattern_in_double(precision):
    model = small(n_ctx=400, n_layers=1, attn_only=True).to(precision)
    tokens = random_tokens(3, 400)
    found = head_scores(model, tokens, random_repeats=False, n_controls=0)
    (pattern,) = (value.double() for value in patterns_of(model, tokens).values())
    assert next(iter(patterns_of(model, tokens).values())).dtype == precision
    query, key = torch.arange(400)[:, None], torch.arange(400)
    asked = pattern[:, :, 1:]
    expected = {
        "distance": (asked * (query - key)[1:].clamp(min=0)).sum(-1).mean((0, 2)),
        "first_token": asked[..., 0].mean((0, 2)),
        "local": (asked * ((query - key >= 0) & (query - key <= 8))[1:]).sum(-1).mean((0, 2)),
        "entropy": -torch.special.xlogy(asked, asked).sum(-1).mean((0, 2)) / np.log(2),
    }
    for name, value in expected.items():
        assert values(found, name) == pytest.approx(value.numpy(), rel=1e-4), name


def test_a_circuit_set_by_hand_has_the_heads_it_was_given():
    model, _ = compiled_induction(d_vocab=20, n_ctx=13)
    half = 1 + torch.rand(8, 19, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :6]
    tokens = torch.cat([torch.zeros(8, 1, dtype=torch.long), half, half], 1)
    found = head_scores(model, tokens, n_random=8)
    for score, layer in (("previous_token", 0), ("induction", 1)):
        for text in ("real", "random repeated"):
            best = found[(found["score"] == score) & (found["text"] == text)].nlargest(1, "value").iloc[0]
            assert best["layer"] == layer
            assert best["value"] > 0.9
            assert best["control_high"] < 0.5


def test_random_repeats_are_of_the_vocabulary_and_twice_the_same():
    data = random_repeats_for(small(), Dataset(random_tokens()), 6, 0)
    assert data.tokens.shape == (6, 11)
    assert (data.tokens[:, 0] == 0).all()
    assert torch.equal(data.tokens[:, 1:6], data.tokens[:, 6:])
    assert (data.tokens[:, 1:] > 0).all()
    assert (data.tokens < 12).all()
    assert all(len(set(row[1:6].tolist())) == 5 for row in data.tokens)


def test_the_control_is_each_layers_random_heads():
    model, tokens, other = small(), random_tokens(), small(seed=7)
    found = head_scores(model, tokens, untrained=other, random_repeats=False)
    theirs = head_scores(other, tokens, random_repeats=False, n_controls=0)
    for line in found.itertuples():
        heads = theirs[(theirs["layer"] == line.layer) & (theirs["score"] == line.score)]["value"]
        assert (line.control_low, line.control_high) == (heads.min(), heads.max())
        assert line.control == pytest.approx(heads.mean())
    drawn = head_scores(model, tokens, random_repeats=False, n_controls=2, seed=5)
    twice = head_scores(model, tokens, random_repeats=False, n_controls=2, seed=5)
    pd.testing.assert_frame_equal(drawn, twice)
    assert (drawn["control_low"] < drawn["control_high"]).any()
    assert not np.allclose(drawn["control"], head_scores(model, tokens, random_repeats=False, seed=6)["control"])


def test_a_pattern_of_your_own_may_read_labels_and_none_edits_what_it_is_given():
    tokens = random_tokens()
    flat = tokens.flatten().numpy()
    labels = pa.table({"large": pa.array(flat > 6, mask=flat == 0)})
    model, data = small(), Dataset(tokens, labels=labels)

    def large(tokens, labels):
        return torch.from_numpy(labels["large"])[:, None, :].expand(-1, tokens.shape[1], -1).clone()

    matrix = (tokens > 6)[:, None, :].expand(-1, 12, -1)
    found = head_scores(model, data, patterns={"function": large, "matrix": matrix}, n_controls=0)
    assert set(found["text"]) == {"real"}  # random tokens have no labels
    assert values(found, "function") == pytest.approx(values(found, "matrix"))
    plain = patterns_of(model, tokens)["blocks.1.attn.hook_pattern"]
    before = plain.clone()
    head_scores(model, tokens, random_repeats=False)
    assert torch.equal(plain, before)


def test_the_subject_is_left_as_it_was():
    model, tokens = small().train(), random_tokens()
    before = copy.deepcopy(model.state_dict())
    head_scores(model, tokens)

    def fails(tokens, labels):
        raise RuntimeError("inside")

    def fails_later(tokens, labels):
        if len(tokens) > 1:
            raise RuntimeError("inside")
        return torch.ones(len(tokens), 12, 12, dtype=torch.bool)

    for bad in (fails, fails_later):
        with pytest.raises(RuntimeError, match="inside"):
            head_scores(model, tokens, patterns={"bad": bad}, random_repeats=False)
    assert model.training
    assert all(not point.fwd_hooks for point in model.hook_dict.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_encoder_and_a_decoder_each_have_their_own_positions():
    cfg = EncoderDecoderTransformerConfig(
        n_layers=1, d_model=16, n_heads=2, d_head=8, d_mlp=16, n_ctx=20, d_vocab=14, d_vocab_source=14
    )
    model, data = EncoderDecoderTransformer(cfg), Copy(n_symbols=8, min_length=5, max_length=8).dataset(6)
    found = head_scores(model, data, n_controls=1)
    hooks = [f"{place}.hook_pattern" for place in ("encoder_blocks.0.attn", "decoder_blocks.0.attn")]
    for hook, n in zip(hooks, (int(data.source_mask.sum()), int(data.counted.sum())), strict=True):
        line = found[(found["hook"] == hook) & (found["score"] == "first_token") & (found["text"] == "real")]
        assert (line["positions"] == n).all()
    cross = found[found["hook"] == "decoder_blocks.0.cross_attn.hook_pattern"]
    assert set(cross["score"]) == {"entropy"}
    right = torch.zeros(6, data.tokens.shape[1], data.source.shape[1], dtype=torch.bool)
    right[:, :, 2] = True
    with_source = head_scores(
        model, data, patterns={"third": right}, hooks="decoder_blocks.0.cross_attn.hook_pattern", n_controls=0
    )
    _, cache = model.run_with_cache(**data.batch(slice(None)), names_filter=with_source["hook"].iloc[0])
    attention = cache[with_source["hook"].iloc[0]]
    real = data.counted & data.source_mask[:, 2, None]
    assert values(with_source, "third") == pytest.approx(
        attention[..., 2].movedim(1, -1)[real].mean(0).numpy(), abs=1e-5
    )


@pytest.mark.parametrize("attention", ["bahdanau", "luong_dot"])
def test_a_recurrent_decoders_alignment_is_read_too(attention):
    data = Copy(n_symbols=8, min_length=5, max_length=8).dataset(6)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, n_ctx=20, d_vocab=14, d_vocab_source=14, attention=attention))
    found = head_scores(model, data, n_controls=0, random_repeats=False)
    _, cache = model.run_with_cache(**data.batch(slice(None)), names_filter="attn.hook_pattern")
    pattern = cache["attn.hook_pattern"][:, 0][data.counted].double()
    bits = -torch.special.xlogy(pattern, pattern).sum(1).mean() / np.log(2)
    assert values(found, "entropy") == pytest.approx(float(bits), abs=1e-5)
    assert found["layer"].isna().all()


def test_a_model_of_the_hub_is_scored_beside_its_shuffled_weights(tmp_path):
    save_hub_model(tmp_path / "gpt2", "GPT2LMHeadModel")
    model = HubModel(HubModelConfig.of(str(tmp_path / "gpt2")))
    tokens = torch.randint(1, 250, (3, 10), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = model.bos
    data = Dataset(tokens, bos=model.bos)
    found = head_scores(model, data, patterns=["previous_token", "entropy"])
    assert len(found) == 2 * 4 * 2 * 2
    pattern = patterns_of(model, tokens)["blocks.1.attn.hook_pattern"]
    want = pattern.diagonal(-1, 2, 3).mean((0, 2))
    line = found[(found["layer"] == 1) & (found["score"] == "previous_token") & (found["text"] == "real")]
    assert line["value"].to_numpy() == pytest.approx(want.detach().numpy(), abs=1e-5)
    assert not np.allclose(line["value"], line["control"])


def test_bad_input_is_one_plain_sentence(as_in_a_script):
    model, tokens = small(), random_tokens()
    for given, words in (
        ({"patterns": ["inductoin"]}, "no score 'inductoin'"),
        ({"patterns": ["matching_bracket"]}, "no label 'bracket'"),
        ({"patterns": {"own": torch.ones(3, 3, dtype=torch.bool)}}, r"must be bool \[1, 12, 12\]"),
        ({"patterns": {"own": torch.ones(12, 12)}}, "must be bool"),
        ({"patterns": {"own": torch.ones(4, 12, 12, dtype=torch.bool)}}, "4 sequences was given for 5"),
        ({"measure": "both"}, "attention or agreement"),
        ({"hooks": "blocks.0.attn.hook_patern"}, "no hook named"),
        ({"hooks": "blocks.0.attn.hook_q"}, "no attention pattern"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patterns": {"own": torch.zeros(12, 12, dtype=torch.bool)}, "random_repeats": False}, "nothing was scored"),
    ):
        with pytest.raises(ValueError, match=words):
            head_scores(model, tokens, **given)
    with pytest.raises(ValueError, match="has no attention"):
        head_scores(Recurrent(RecurrentConfig(cell="gru", d_model=8, d_vocab=12)), tokens)


def test_the_telling_sequence_gives_most_attention_to_what_the_score_asks():
    model, tokens = small().eval(), random_tokens(n=20)
    hook, first = "blocks.1.attn.hook_pattern", 9
    pattern = patterns_of(model, tokens)[hook][:, 1]
    repeated = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    weight = (pattern * repeated).sum(-1)[:, 1:first]
    found = telling_sequence(model, Dataset(tokens), hook, 1, "duplicate_token", first=first, batch_size=7)
    assert found.sequence == int(weight.sum(1).argmax())
    assert 0 < found.query < first
    assert weight[found.sequence, found.query - 1] >= 0.9 * weight[found.sequence].max()
    assert found.queries == int(repeated[found.sequence, 1:first].any(-1).sum())
    np.testing.assert_allclose(found.share, float(weight[found.sequence].sum()) / found.queries, rtol=1e-5)
    assert telling_sequence(model, Dataset(tokens), hook, 1, "entropy") is None
    assert telling_sequence(model, Dataset(tokens), hook, 1, "matching_bracket") is None, "without its labels"
