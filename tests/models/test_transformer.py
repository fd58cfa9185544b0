"""`Transformer` against TransformerLens's native model, closed forms, and itself on another path."""

import copy
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from native_oracle import SHAPE, native_of, random_tokens, subject
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch.func import functional_call

from models import loss as losses
from models.transformer import Transformer, TransformerConfig

SHAPES = [
    {},
    {"act_fn": "gelu_new"},
    {"act_fn": "relu", "normalization_type": None},
    {"act_fn": "silu", "normalization_type": "RMS"},
    {"normalization_type": "LNPre"},
    {"attn_only": True},
    {"d_head": 3, "d_mlp": 20, "eps": 1e-2},
    {"act_fn": "silu", "gated_mlp": True, "normalization_type": "RMS", "tie_word_embeddings": True},
    {"act_fn": "gelu", "gated_mlp": True, "positional_embedding_type": "sinusoidal"},
    {"act_fn": "solu", "positional_embedding_type": "none"},
    {"act_fn": "solu_ln", "positional_embedding_type": "sinusoidal", "tie_word_embeddings": True},
    {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True},
    {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True, "rotary_dim": 2, "rotary_base": 50.0},
]
QUIET = ["blocks.0.attn.hook_pattern", "blocks.1.attn.hook_attn_scores", "blocks.0.ln1.hook_scale"]


def observe(value, hook):
    """A hook that changes nothing."""


def nudge(amount):
    return lambda value, hook: value + amount


@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_logits_and_shared_hooks_are_transformer_lens_own(overrides):
    model, tokens = subject(unembed_bias=False, **overrides), random_tokens()
    theirs, their_cache = native_of(model).run_with_cache(tokens)
    ours, cache = model.run_with_cache(tokens)
    assert torch.allclose(ours, theirs, atol=1e-5)
    # What its rotary attention and SoLU make on the way the native model keeps to itself.
    inner = {name for name in cache.keys() - their_cache.keys() if not name.endswith(("hook_rot_q", "hook_rot_k"))}
    assert inner == ({f"blocks.{n}.mlp.hook_mid" for n in (0, 1)} if overrides.get("act_fn") == "solu_ln" else set())
    for name in cache.keys() & their_cache.keys():
        value = cache[name]
        # The native model keeps its pattern under the name of the scores.
        value = value.softmax(-1) if name.endswith("hook_attn_scores") else value
        assert torch.allclose(value, their_cache[name], atol=1e-5), name


@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_fused_and_explicit_paths_agree_with_their_gradients(overrides):
    model, tokens = subject(**overrides), random_tokens()
    fused = model(tokens, return_type="loss")
    fused_grads = torch.autograd.grad(fused, list(model.parameters()))
    with model.hooks([(name, observe) for name in model.hook_dict]):
        logits, loss = model(tokens, return_type="both")
    assert torch.allclose(logits, model(tokens), atol=1e-5)
    assert torch.allclose(loss, fused, atol=1e-5)
    for (name, _), ours, theirs in zip(
        model.named_parameters(), fused_grads, torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5), name


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize(
    "overrides", [{}, {"normalization_type": None, "attn_only": True}, SHAPES[7], SHAPES[12]], ids=str
)
def test_hooked_gradients_are_finite_differences(overrides, forked):
    model, tokens = subject(**overrides).double(), random_tokens()
    model.set_use_split_qkv_input(forked)
    model.set_use_attn_in(forked)
    model.set_use_attn_result(forked)
    # The forks are normalised past the hooks of ln1.
    names = [name for name in model.match_hooks(None) if not (forked and ".ln1." in name)]
    _, cache = model.run_with_cache(tokens, names_filter=names, incl_bwd=True, return_type="loss")
    generator = torch.Generator().manual_seed(0)
    for name in names:
        direction = torch.randn(cache[name].shape, generator=generator, dtype=torch.float64)
        # Where a score is −∞ there is nothing to differ.
        direction = direction.masked_fill(~cache[name].isfinite(), 0) * 1e-5
        up, down = (
            model.run_with_hooks(tokens, return_type="loss", fwd_hooks=[(name, nudge(sign * direction))]).item()
            for sign in (1, -1)
        )
        slope = (cache[f"{name}_grad"] * direction).sum().item()
        assert (up - down) / 2 == pytest.approx(slope, rel=1e-5, abs=1e-12), name


@pytest.mark.parametrize("chunk", [31, 31 * 4, 31 * 1000])
@pytest.mark.parametrize("frozen", [(), ("W",), ("x", "b")])
def test_unembedded_loss_is_cross_entropy_of_the_logits(monkeypatch, chunk, frozen):
    monkeypatch.setattr(losses, "_CPU_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    sizes = {"x": (3, 5, 8), "W": (8, 31), "b": (31,)}
    given_ = {k: torch.randn(s, generator=generator, dtype=torch.float64) for k, s in sizes.items()}
    wanted = [value.requires_grad_() for name, value in given_.items() if name not in frozen]
    targets = torch.randint(0, 31, (3, 5), generator=generator)
    targets[1, 2:] = losses.IGNORED
    ours = losses.unembedded_loss(*given_.values(), targets)
    theirs = F.cross_entropy((given_["x"] @ given_["W"] + given_["b"]).flatten(0, 1), targets.flatten())
    assert torch.allclose(ours, theirs)
    for mine, reference in zip(
        torch.autograd.grad(3 * ours, wanted), torch.autograd.grad(3 * theirs, wanted), strict=True
    ):
        assert torch.allclose(mine, reference)
    with torch.no_grad():
        assert torch.allclose(losses.unembedded_loss(*given_.values(), targets), theirs)


def test_what_is_known_by_heart_still_has_a_gradient_of_some_digits():
    """At the target softmax − 1 would be all rounding; float64 tells what it should be."""
    targets = torch.tensor([[0]])
    grads = []
    for dtype in (torch.float32, torch.float64):
        b = torch.tensor([20.0, 1.0, 0.0], dtype=dtype, requires_grad=True)
        x, W = torch.zeros(1, 1, 2, dtype=dtype), torch.zeros(2, 3, dtype=dtype)
        grads += torch.autograd.grad(losses.unembedded_loss(x, W, b, targets), b)
    assert 1e-9 < grads[1].abs().max() < 1e-8
    torch.testing.assert_close(grads[0].double(), grads[1], rtol=1e-5, atol=0)


def test_loss_counts_real_next_tokens_only():
    model, tokens = subject(), random_tokens()
    mask = torch.arange(9) < torch.tensor([[9], [5], [2]])
    log_p = model(tokens).log_softmax(-1)
    each = [-log_p[b, t, tokens[b, t + 1]] for b in range(3) for t in range(8) if mask[b, t + 1]]
    assert len(each) == 8 + 4 + 1
    assert torch.allclose(model(tokens, return_type="loss", mask=mask), torch.stack(each).mean())
    per_token = model(tokens, return_type="loss", mask=mask, loss_per_token=True)
    assert torch.allclose(per_token[mask[:, 1:]], torch.stack(each), atol=1e-6)
    assert not per_token[~mask[:, 1:]].any()
    everything = torch.ones_like(mask)
    assert torch.equal(model(tokens, return_type="loss", mask=everything), model(tokens, return_type="loss"))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**16), st.booleans())
def test_no_position_sees_a_later_token(position, seed, explicit):
    model, tokens = subject(), random_tokens()
    other = tokens.clone()
    other[:, position:] = random_tokens(seed=seed)[:, position:]
    with model.hooks([(QUIET[0], observe)] if explicit else []):
        before, after = model(tokens)[:, :position], model(other)[:, :position]
    assert torch.allclose(before, after, atol=1e-6)


def test_stop_at_layer_gives_what_enters_the_block():
    model, tokens = subject(n_layers=3), random_tokens()
    _, cache = model.run_with_cache(tokens, return_type=None)
    for layer in (0, 1, 2, -1, -2):
        stopped, part = model.run_with_cache(tokens, stop_at_layer=layer)
        assert torch.allclose(stopped, cache["resid_pre", layer % 3], atol=1e-5)
        assert not any(name.startswith(f"blocks.{layer % 3}.") for name in part.cache_dict)


def test_seed_decides_the_weights_and_touches_no_other_random_number():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (Transformer(TransformerConfig(**SHAPE, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    assert not torch.equal(first.W_E, other.W_E)


def test_initial_weights_have_the_stated_spread():
    cfg = TransformerConfig(n_layers=2, d_model=64, n_heads=4, n_ctx=16, d_vocab=512, initializer_range=0.05)
    model = Transformer(cfg)
    for weight in (model.W_E, model.W_U, model.W_Q, model.W_in):
        assert weight.std().item() == pytest.approx(0.05, rel=0.03)
    for weight in (model.W_O, model.W_out):
        assert weight.std().item() == pytest.approx(0.025, rel=0.03)
    assert not any(bias.any() for bias in (model.b_Q, model.b_O, model.b_in, model.b_U))


@pytest.mark.parametrize("overrides", [*SHAPES, {"normalization_type": "RMSPre"}], ids=str)
@pytest.mark.parametrize("center", [True, False])
def test_folded_has_equal_log_probabilities(overrides, center):
    model, tokens = subject(**overrides), random_tokens()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = model.folded(center_writing_weights=center, center_unembed=center, fold_value_biases=center)
    assert not any(name.endswith((".w", "ln1.b", "ln2.b", "ln_final.b")) for name in folded.state_dict())
    ours, theirs = model(tokens), folded(tokens)
    assert torch.allclose(ours.log_softmax(-1), theirs.log_softmax(-1), atol=1e-5)
    if center:
        assert folded.W_U.mean(-1).abs().max() < 1e-6
        assert not folded.b_V.any()
    else:
        assert torch.allclose(ours, theirs, atol=1e-5)
    if center and model.cfg.normalization_type in ("LN", "LNPre"):
        for written in (folded.W_E, folded.W_O, folded.b_O, *([folded.W_pos] if model.pos_embed else [])):
            assert written.mean(-1).abs().max() < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_hooks_may_write_into_what_they_are_given():
    model, tokens = subject(), random_tokens()
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def wipe(value, hook):
        value[:] = 0
        return value

    forks = ["attn.hook_attn_in", "attn.hook_q_input", "attn.hook_k_input", "attn.hook_v_input", "hook_mlp_in"]
    with torch.no_grad():
        for fork in forks:
            _, clean = model.run_with_cache(tokens, names_filter="blocks.0.hook_resid_pre")
            with model.hooks([(f"blocks.0.{fork}", wipe)]):
                _, cache = model.run_with_cache(tokens)
            written = cache["blocks.0.hook_attn_out"] + cache["blocks.0.hook_mlp_out"]
            assert torch.equal(cache["blocks.0.hook_resid_pre"], clean["blocks.0.hook_resid_pre"])
            assert torch.allclose(
                cache["blocks.0.hook_resid_post"] - cache["blocks.0.hook_resid_pre"], written, atol=1e-5
            )
        model.run_with_hooks(tokens, fwd_hooks=[("hook_pos_embed", wipe)])
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_one_heads_input_reaches_that_head_alone():
    model, tokens = subject(), random_tokens()
    _, clean = model.run_with_cache(tokens)

    def wipe_head_2(value, hook):
        value[:, :, 2] = 0
        return value

    for letter in "qkv":
        with model.hooks([(f"blocks.1.attn.hook_{letter}_input", wipe_head_2)]):
            _, cache = model.run_with_cache(tokens)
        for other in "qkv":
            ours, theirs = (c[f"blocks.1.attn.hook_{other}"] for c in (cache, clean))
            unlike = [h for h in range(4) if not torch.allclose(ours[:, :, h], theirs[:, :, h], atol=1e-5)]
            assert unlike == ([2] if other == letter else [])


def test_config_follows_the_weights():
    model = subject().double()
    assert model.cfg.dtype == torch.float64
    assert model(random_tokens()).dtype == torch.float64
    assert model.folded().W_E.dtype == torch.float64


def test_config_round_trips_through_json():
    changes = {"act_fn": "relu", "normalization_type": None, "dtype": torch.bfloat16, "use_attn_result": True}
    for overrides in (*SHAPES, changes):
        cfg = TransformerConfig(**(SHAPE | overrides))
        assert TransformerConfig.from_dict(json.loads(json.dumps(cfg.to_dict()))) == cfg


def test_config_written_before_a_field_was_there_still_loads():
    values = TransformerConfig(**SHAPE).to_dict()
    for new in ("rotary_dim", "rotary_base", "rotary_adjacent_pairs", "tie_word_embeddings"):
        del values[new]
    assert TransformerConfig.from_dict(values) == TransformerConfig(**SHAPE)


def test_config_of_a_model_is_its_own():
    cfg = TransformerConfig(**SHAPE)
    Transformer(cfg).set_use_attn_result(True)
    assert not cfg.use_attn_result


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"n_heads": 3}, "3 heads do not divide d_model 16"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"n_ctx": 0}, "n_ctx is 0"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"d_mlp": 0}, "d_mlp 0"),
        ({"act_fn": "tanh"}, "act_fn 'tanh' is unknown: there are gelu, gelu_new, relu, silu"),
        ({"normalization_type": "ln"}, "normalization_type 'ln' is unknown: there are LN"),
        ({"positional_embedding_type": "rope"}, "'rope' is unknown: there are standard, sinusoidal, rotary, none"),
        ({"positional_embedding_type": "rotary", "d_head": 3}, "rotary_dim is 3: it must be even"),
        ({"positional_embedding_type": "rotary", "rotary_dim": 6}, "rotary_dim is 6.*at most d_head, 4"),
        ({"positional_embedding_type": "rotary", "rotary_dim": 0}, "rotary_dim is 0"),
        ({"positional_embedding_type": "rotary", "rotary_base": 1.0}, "rotary_base is 1.0"),
        ({"rotary_dim": 4}, "rotary_dim is 4, but positions are 'standard'"),
        ({"positional_embedding_type": "sinusoidal", "d_model": 15, "d_head": 4}, "d_model is 15.*need an even one"),
        ({"gated_mlp": True, "act_fn": "solu_ln"}, "a gated MLP has no norm after its activation"),
        ({"final_rms": True}, "final_rms is True"),
        ({"n_key_value_heads": 2}, "n_key_value_heads is 2"),
    ],
)
def test_inconsistent_config_is_one_plain_sentence(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        TransformerConfig(**(SHAPE | overrides))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"d_modle": 3}, "no field d_modle"), ({"dtype": "float31"}, "dtype 'float31'"), ({"n_ctx": ...}, "n_ctx")],
)
def test_foreign_config_is_one_plain_sentence(change, sentence):
    values = TransformerConfig(**SHAPE).to_dict() | change
    with pytest.raises(ValueError, match=sentence):
        TransformerConfig.from_dict({name: value for name, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (torch.zeros(1, 13, dtype=torch.long), "13 tokens are more than the 12"),
        (torch.tensor([[0, 31]]), "run from 0 to 31, but the vocabulary is 0 to 30"),
        (torch.tensor([[-1, 3]]), "run from -1"),
        (torch.zeros(1, 0, dtype=torch.long), "no tokens"),
        (torch.zeros(0, 4, dtype=torch.long), "no tokens"),
        (torch.zeros(1, 1, 4, dtype=torch.long), "must be integers"),
        (torch.zeros(1, 4), "must be integers"),
    ],
)
def test_tokens_that_do_not_fit_are_one_plain_sentence(tokens, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject()(tokens)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"return_type": "logit"}, "return_type 'logit' is unknown"), ({"stop_at_layer": 3}, "has 2 layers")],
)
def test_what_cannot_be_returned_is_one_plain_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject()(random_tokens(), **arguments)


def test_a_loss_needs_something_to_predict():
    model, tokens = subject(), random_tokens()
    with pytest.raises(ValueError, match="at least two tokens"):
        model(tokens[:, :1], return_type="loss")
    with pytest.raises(ValueError, match="no real token"):
        model(tokens, return_type="loss", mask=torch.arange(9) < torch.tensor([[1], [1], [1]]))
    with pytest.raises(ValueError, match="mask must be bool"):
        model(tokens, return_type="loss", mask=torch.ones(3, 8, dtype=torch.bool))


def test_parameters_carry_transformer_lens_names_and_shapes():
    model = subject()
    native = native_of(subject(unembed_bias=False))
    ours = {name: tuple(value.shape) for name, value in model.tl_parameters().items()}
    assert ours == {name: tuple(value.shape) for name, value in native.tl_parameters().items()}
    for name in (
        "W_E",
        "W_pos",
        "W_U",
        "b_U",
        "W_Q",
        "W_K",
        "W_V",
        "W_O",
        "b_Q",
        "b_O",
        "W_in",
        "W_out",
        "b_in",
        "b_out",
    ):
        assert getattr(model, name).shape == getattr(native, name).shape, name


def test_factored_circuits_are_products_of_weights():
    model = subject()
    assert torch.allclose(model.OV.AB[1, 2], model.blocks[1].attn.W_V[2] @ model.blocks[1].attn.W_O[2], atol=1e-5)
    assert torch.allclose(model.QK.AB[0, 3], model.blocks[0].attn.W_Q[3] @ model.blocks[0].attn.W_K[3].T, atol=1e-5)


def test_accumulated_bias_is_what_a_model_of_biases_writes():
    model = subject()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("b_O", "b_out")):
                parameter.zero_()
    _, cache = model.run_with_cache(random_tokens())
    for layer in range(2):
        assert torch.allclose(cache["resid_pre", layer][0, 0], model.accumulated_bias(layer))
        assert torch.allclose(cache["resid_mid", layer][0, 0], model.accumulated_bias(layer, mlp_input=True))
    assert torch.allclose(cache["resid_post", 1][0, 0], model.accumulated_bias(2))
    only_attention = model.b_O.sum(0)
    assert torch.allclose(model.accumulated_bias(2, include_mlp_biases=False), only_attention)
    with pytest.raises(ValueError, match="layer 3"):
        model.accumulated_bias(3)


def test_weights_that_a_shape_lacks_are_one_plain_sentence():
    with pytest.raises(ValueError, match="attention-only"):
        _ = subject(attn_only=True).W_in
    with pytest.raises(ValueError, match="not gated: it has no W_gate"):
        _ = subject().W_gate
    with pytest.raises(ValueError, match="'rotary': this model has no W_pos"):
        _ = subject(positional_embedding_type="rotary").W_pos


def test_tied_weights_are_one_parameter_saved_once():
    model, tokens = subject(tie_word_embeddings=True), random_tokens()
    assert torch.equal(model.W_U, model.W_E.T)
    assert not any(name.endswith("W_U") for name in (*model.state_dict(), *model.tl_parameters()))
    again = Transformer(model.cfg)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(tokens), model(tokens))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.embed.W_E.zero_()
    assert not copied.W_U.any()
    assert model.W_U.any()
    folded = model.folded()
    assert not folded.cfg.tie_word_embeddings
    assert "unembed.W_U" in folded.state_dict()


def test_gradient_of_tied_weights_is_the_sum_of_both_uses():
    tied, tokens = subject(tie_word_embeddings=True), random_tokens()
    apart = Transformer(dataclasses.replace(tied.cfg, tie_word_embeddings=False))
    apart.load_state_dict(tied.state_dict() | {"unembed.W_U": tied.W_U.detach()})
    (ours,) = torch.autograd.grad(tied(tokens, return_type="loss"), [tied.W_E])
    read, written = torch.autograd.grad(apart(tokens, return_type="loss"), [apart.W_E, apart.W_U])
    assert torch.allclose(ours, read + written.T, atol=1e-6)


def test_gated_mlp_is_the_product_of_an_activation_and_a_projection():
    model = subject(gated_mlp=True, act_fn="silu", normalization_type=None)
    _, cache = model.run_with_cache(random_tokens())
    x, mlp = cache["blocks.0.hook_resid_mid"], model.blocks[0].mlp
    pre, linear = x @ model.W_gate[0] + model.b_gate[0], x @ model.W_in[0] + model.b_in[0]
    assert torch.allclose(cache["blocks.0.mlp.hook_pre"], pre, atol=1e-5)
    assert torch.allclose(cache["blocks.0.mlp.hook_pre_linear"], linear, atol=1e-5)
    post = pre / (1 + (-pre).exp()) * linear
    assert torch.allclose(cache["blocks.0.mlp.hook_post"], post, atol=1e-5)
    assert torch.allclose(cache["blocks.0.hook_mlp_out"], post @ mlp.W_out + mlp.b_out, atol=1e-5)


def test_runs_under_functional_call():
    model, tokens = subject(), random_tokens()
    doubled = {"unembed.W_U": model.W_U * 2, "unembed.b_U": model.b_U * 2}
    assert torch.allclose(functional_call(model, doubled, (tokens,)), model(tokens) * 2, atol=1e-5)


@pytest.fixture(scope="module")
def reader():
    """A subject that reads text through a tokenizer of its own."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=300, special_tokens=["<bos>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["def main():\n    return self.x\n", "for x in range(x):\n"] * 20, trainer)
    model = subject(d_vocab=tokenizer.get_vocab_size(), n_ctx=64)
    model.tokenizer = tokenizer
    return model


def test_text_goes_to_tokens_and_back(reader):
    text = "def main(x): return é"
    tokens = reader.to_tokens(text)
    assert tokens[0, 0] == 0
    assert tokens[0, 1:].tolist() == reader.tokenizer.encode(text).ids
    assert torch.equal(reader.to_tokens(text, prepend_bos=False), tokens[:, 1:])
    assert reader.to_string(tokens[0, 1:]) == text
    assert reader.to_string(tokens[:, 1:]) == [text]
    strings = reader.to_str_tokens("def main()")
    assert strings == reader.to_str_tokens(reader.to_tokens("def main()"))
    assert (strings[0], "".join(strings[1:])) == ("<bos>", "def main()")
    assert reader.to_str_tokens(["def", "x"]) == [reader.to_str_tokens("def"), reader.to_str_tokens("x")]


def test_single_tokens_and_their_directions(reader):
    x, bracket = reader.to_single_token("x"), reader.to_single_token("(")
    assert torch.equal(reader.tokens_to_residual_directions("x"), reader.W_U[:, x])
    pair = reader.tokens_to_residual_directions(torch.tensor([[x, bracket]]))
    assert torch.equal(pair, reader.W_U.T[[x, bracket]][None])
    with pytest.raises(ValueError, match="is 2 tokens, not one"):
        reader.to_single_token("x(")


def test_texts_are_read_as_their_tokens_and_padding_is_ignored(reader):
    texts = ["def main(x): return x", "x"]
    assert torch.equal(reader(texts[0]), reader(reader.to_tokens(texts[0])))
    assert torch.equal(reader(reader.to_tokens(texts[0])[0]), reader(texts[0]))
    padded = reader.to_tokens(texts)
    assert padded[1, 2:].eq(0).all()
    both = reader(texts, return_type="loss", loss_per_token=True)
    alone = [reader(text, return_type="loss", loss_per_token=True)[0] for text in texts]
    assert torch.allclose(reader(texts, return_type="loss"), torch.cat(alone).mean(), atol=1e-5)
    assert not both[1, 1:].any()


def test_text_needs_a_tokenizer_and_must_fit(reader):
    with pytest.raises(ValueError, match="no tokenizer"):
        subject()("text")
    with pytest.raises(ValueError, match="more than the 64"):
        reader("x(" * 64)
    with pytest.raises(ValueError, match="no tokens"):
        reader([])


def test_fields_are_transformer_lens_own():
    names = {field.name for field in dataclasses.fields(TransformerConfig)}
    assert {"use_attn_in", "use_hook_mlp_in", "default_prepend_bos", "n_key_value_heads"} <= names
