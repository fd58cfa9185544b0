"""Rollout and value-weighted patterns beside products written out, and importance beside heads that are known."""

import numpy as np
import pytest
import torch
from hub_folders import save_hub_model

from models import Dataset, EncoderDecoderTransformer, EncoderDecoderTransformerConfig, Transformer, TransformerConfig
from models.compiled import compiled_induction
from models.hub import HubModel, HubModelConfig
from models.tasks import Copy
from workbench.attention import head_scores
from workbench.attention.importance import head_importance, weighted_scores
from workbench.attention.rollout import rollout, value_weighted


def small(seed=0, **changes):
    shape = {"n_layers": 3, "d_model": 16, "n_heads": 2, "d_head": 8, "n_ctx": 16, "d_vocab": 12, "seed": seed}
    return Transformer(TransformerConfig(**shape | {"initializer_range": 0.5} | changes))


def random_tokens(n=5, length=10, d_vocab=12, seed=0):
    tokens = torch.randint(1, d_vocab, (n, length), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


def cached(model, tokens, ending):
    names = [name for name in model.hook_dict if name.endswith(ending)]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    return [cache[name].detach() for name in names]


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [0.5, 0.0])
def test_rollout_is_the_product_of_layers_each_mixed_with_the_stream(heads, residual):
    model, tokens = small(), random_tokens()
    found = rollout(model, tokens, residual=residual, heads=heads, batch_size=2)
    layers = [pattern.double().numpy() for pattern in cached(model, tokens, "hook_pattern")]
    for seq in range(len(tokens)):
        product = np.eye(10)
        for layer in layers:
            one = getattr(np, heads)(layer[seq], axis=0)
            one = one / one.sum(1, keepdims=True)
            product = ((1 - residual) * one + residual * np.eye(10)) @ product
        np.testing.assert_allclose(found[seq].numpy(), product, atol=1e-5)
    assert torch.allclose(found.sum(-1), torch.ones(5, 10), atol=1e-5)


def test_what_is_moved_is_as_long_as_the_values_once_written():
    model, tokens = small(), random_tokens()
    (v,) = cached(model, tokens, "blocks.1.attn.hook_v")
    (pattern,) = cached(model, tokens, "blocks.1.attn.hook_pattern")
    W_O = model.blocks[1].attn.W_O.detach()
    found = value_weighted(model, tokens, "blocks.1.attn.hook_pattern", batch_size=2)
    for seq in range(5):
        for head in range(2):
            for query in range(10):
                for key in range(query + 1):
                    moved = pattern[seq, head, query, key] * v[seq, key, head] @ W_O[head]
                    assert float(found[seq, head, query, key]) == pytest.approx(float(moved.norm()), rel=1e-4)


def test_rollout_of_what_is_moved_weighs_heads_by_it():
    model, tokens = small(n_layers=1), random_tokens()
    moved = value_weighted(model, tokens, "blocks.0.attn.hook_pattern").sum(1)
    want = moved / moved.sum(-1, keepdim=True)
    assert torch.allclose(rollout(model, tokens, weights="value", residual=0), want, atol=1e-5)


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_models_of_the_hub_may_share_values_among_heads(tmp_path, kind):
    save_hub_model(tmp_path / kind, kind)
    model = HubModel(HubModelConfig.of(str(tmp_path / kind)))
    tokens = torch.randint(1, 250, (2, 8), generator=torch.Generator().manual_seed(0))
    found = value_weighted(model, Dataset(tokens, bos=model.bos), "blocks.1.attn.hook_pattern")
    (pattern,) = cached(model, tokens, "blocks.1.attn.hook_pattern")
    (v,) = cached(model, tokens, "blocks.1.attn.hook_v")
    W_O = model.network.get_submodule(
        "transformer.h.1.attn.c_proj" if kind.startswith("GPT2") else "model.layers.1.self_attn.o_proj"
    )
    W_O = next(p for n, p in W_O.named_parameters() if n.endswith("weight"))
    W_O = W_O if kind.startswith("GPT2") else W_O.T
    v = v.reshape(2, 8, -1, 8)
    v = v.repeat_interleave(4 // v.shape[2], dim=2)
    written = torch.einsum("bkhd,hdm->bhkm", v, W_O.reshape(4, 8, 32)).norm(dim=-1)
    assert torch.allclose(found, pattern * written[:, :, None], rtol=1e-3, atol=1e-5)


def test_an_encoder_decoder_has_two_rollouts():
    cfg = EncoderDecoderTransformerConfig(
        n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=16, n_ctx=20, d_vocab=14, d_vocab_source=14
    )
    model, data = EncoderDecoderTransformer(cfg), Copy(n_symbols=8, min_length=5, max_length=8).dataset(4)
    source, target = rollout(model, data, axis="source"), rollout(model, data)
    assert source.shape == (4, 8, 8)
    assert target.shape == (4, 10, 10)
    assert target.triu(1).abs().max() == 0
    assert source[0].triu(1).abs().max() > 0
    from_padding = source[data.source_mask].reshape(-1, 8)[
        ~data.source_mask.repeat_interleave(data.source_mask.sum(1), 0)
    ]
    assert len(from_padding)
    assert (from_padding == 0).all()
    moved = value_weighted(model, data, "decoder_blocks.0.cross_attn.hook_pattern")
    assert moved.shape == (4, 2, 10, 8)


def test_the_heads_of_a_circuit_are_those_whose_loss_costs():
    model, _ = compiled_induction(d_vocab=20, n_ctx=13)
    half = 1 + torch.rand(32, 19, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :6]
    tokens = torch.cat([torch.zeros(32, 1, dtype=torch.long), half, half], 1)
    scores = head_scores(model, tokens, n_controls=1, random_repeats=False)
    wanted = {
        tuple(scores[scores["score"] == score].nlargest(1, "value")[["layer", "head"]].iloc[0])
        for score in ("previous_token", "induction")
    }
    table = head_importance(model, tokens, ablation="zero")
    lost = table[table["variant"] == "ablation"]
    assert set(lost["ablation"]) == {"zero"}
    assert {tuple(row) for row in lost.nlargest(2, "share")[["layer", "head"]].to_numpy().tolist()} == wanted
    for _, of in table.groupby(["variant", table["seed"].fillna(-1)]):
        assert of["share"].sum() == pytest.approx(1)
    weighted = weighted_scores(scores, table).set_index("score")
    assert weighted.loc["induction", "value"] > 1.5 * weighted.loc["induction", "unweighted"]
    by_hand = lost.merge(scores[scores["score"] == "induction"], on=["layer", "head"], suffixes=("", "_of"))
    want = (by_hand["share"] * by_hand["value_of"]).sum()
    assert weighted.loc["induction", "value"] == pytest.approx(want)
    with pytest.raises(ValueError, match="no importance"):
        weighted_scores(scores, table[table["layer"] == 0])


def test_bad_input_is_one_plain_sentence(as_in_a_script):
    model, tokens = small(), random_tokens()
    for given, words in (
        ({"residual": 1}, "residual is 1"),
        ({"heads": "median"}, "heads is 'median'"),
        ({"weights": "value", "heads": "max"}, "added up"),
        ({"axis": "source"}, "no self-attention of its source"),
    ):
        with pytest.raises(ValueError, match=words):
            rollout(model, tokens, **given)
    with pytest.raises(ValueError, match="no hook named"):
        value_weighted(model, tokens, "blocks.7.attn.hook_pattern")
