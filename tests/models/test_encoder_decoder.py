"""`EncoderDecoderTransformer` against `torch.nn.Transformer` with the same weights, and against itself step by step."""

import json
import math

import pytest
import torch
from native_oracle import random_tokens
from torch import nn

from models.encoder_decoder import EncoderDecoderTransformer, EncoderDecoderTransformerConfig
from models.positions import sinusoids
from models.step_hooks import at_pos

SHAPE = {"n_layers": 2, "d_model": 16, "n_heads": 4, "d_mlp": 24, "n_ctx": 12, "d_vocab": 19, "d_vocab_source": 23}
SOURCE, TARGET = random_tokens(pos=7, d_vocab=23, seed=1), random_tokens(pos=9, d_vocab=19, seed=2)
SOURCE_MASK = torch.arange(7) < torch.tensor([[7], [4], [1]])
SHAPES = [
    {},
    {"pre_norm": True},
    {"pre_norm": True, "positional_embedding_type": "standard", "act_fn": "gelu"},
    {"positional_embedding_type": "standard", "tie_word_embeddings": True},
]


@torch.no_grad()
def subject(seed=0, **overrides):
    """A small model with arbitrary biases and gains too."""
    model = EncoderDecoderTransformer(EncoderDecoderTransformerConfig(**(SHAPE | overrides))).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.3
        parameter.copy_(noise + 1 if name.endswith(".w") else noise)
    return model


@torch.no_grad()
def torch_transformer(model):
    """PyTorch's own with the weights of `model`. It always has final norms, which the paper has not."""
    cfg = model.cfg
    theirs = nn.Transformer(
        cfg.d_model,
        cfg.n_heads,
        cfg.n_layers,
        cfg.n_layers,
        cfg.d_mlp,
        dropout=0.0,
        activation=cfg.act_fn,
        batch_first=True,
        norm_first=cfg.pre_norm,
    ).eval()

    def norm(target, source):
        target.weight.copy_(source.w)
        target.bias.copy_(source.b)

    def attention(target, source):
        reads = [w.transpose(1, 2).flatten(0, 1) for w in (source.W_Q, source.W_K, source.W_V)]
        target.in_proj_weight.copy_(torch.cat(reads))
        target.in_proj_bias.copy_(torch.cat([source.b_Q, source.b_K, source.b_V]).flatten())
        target.out_proj.weight.copy_(source.W_O.flatten(0, 1).T)
        target.out_proj.bias.copy_(source.b_O)

    for stack, blocks in ((theirs.encoder, model.encoder_blocks), (theirs.decoder, model.decoder_blocks)):
        for target, block in zip(stack.layers, blocks, strict=True):
            attention(target.self_attn, block.attn)
            target.linear1.weight.copy_(block.mlp.W_in.T)
            target.linear1.bias.copy_(block.mlp.b_in)
            target.linear2.weight.copy_(block.mlp.W_out.T)
            target.linear2.bias.copy_(block.mlp.b_out)
            norm(target.norm1, block.ln1)
            norm(target.norm2, block.ln2)
            if stack is theirs.decoder:
                attention(target.multihead_attn, block.cross_attn)
                norm(target.norm3, block.ln3)
    if cfg.pre_norm:
        norm(theirs.encoder.norm, model.encoder_ln_final)
        norm(theirs.decoder.norm, model.ln_final)
    else:
        theirs.encoder.norm = theirs.decoder.norm = None
    return theirs


def embedded(model, tokens, embed, positions):
    table = sinusoids(12, 16) if model.cfg.positional_embedding_type == "sinusoidal" else positions.W_pos
    return embed.W_E[tokens] * 4 + table[: tokens.shape[1]]


def run_theirs(model, source_mask):
    theirs = torch_transformer(model)
    padding = None if source_mask is None else ~source_mask
    memory = theirs.encoder(
        embedded(model, SOURCE, model.source_embed, model.source_pos_embed), src_key_padding_mask=padding
    )
    hidden = theirs.decoder(
        embedded(model, TARGET, model.embed, model.pos_embed),
        memory,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(9),
        memory_key_padding_mask=padding,
    )
    return theirs, memory, hidden


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("source_mask", [None, SOURCE_MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_logits_are_torchs_own(overrides, source_mask, hooked):
    model = subject(**overrides)
    _, memory, hidden = run_theirs(model, source_mask)
    arguments = {"source": SOURCE, "source_mask": source_mask}
    if hooked:
        logits, cache = model.run_with_cache(TARGET, **arguments)
        ours = cache["hook_encoder_out"]
        real = torch.ones_like(SOURCE_MASK) if source_mask is None else source_mask
        assert torch.allclose(ours[real], memory[real], atol=1e-5)
    else:
        logits = model(TARGET, **arguments)
    W_U = model.embed.W_E.T if model.cfg.tie_word_embeddings else model.unembed.W_U
    assert torch.allclose(logits, hidden @ W_U + model.unembed.b_U, atol=1e-5)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_cross_attention_patterns_are_torchs_own(pre_norm):
    model = subject(pre_norm=pre_norm)
    theirs, memory, _ = run_theirs(model, SOURCE_MASK)
    _, cache = model.run_with_cache(TARGET, source=SOURCE, source_mask=SOURCE_MASK)
    for layer in (0, 1):
        read = cache[f"decoder_blocks.{layer}.hook_resid_mid"]
        target = theirs.decoder.layers[layer]
        read = target.norm2(read) if pre_norm else read
        _, pattern = target.multihead_attn(
            read, memory, memory, key_padding_mask=~SOURCE_MASK, average_attn_weights=False
        )
        ours = cache[f"decoder_blocks.{layer}.cross_attn.hook_pattern"]
        assert ours.shape == (3, 4, 9, 7)
        assert torch.allclose(ours, pattern, atol=1e-5)
        assert not ours[1, :, :, 4:].any()
        own = cache[f"decoder_blocks.{layer}.attn.hook_pattern"]
        assert not own.triu(1).any()
        assert not cache[f"encoder_blocks.{layer}.attn.hook_pattern"][1, :, :, 4:].any()
        assert cache[f"encoder_blocks.{layer}.attn.hook_pattern"][0].triu(1).any()


@pytest.mark.parametrize("overrides", SHAPES[:2], ids=str)
def test_fused_and_explicit_gradients_agree(overrides):
    model = subject(**overrides)
    arguments = {"source": SOURCE, "source_mask": SOURCE_MASK, "return_type": "loss"}
    parameters = list(model.parameters())
    fused = torch.autograd.grad(model(TARGET, **arguments), parameters)
    with model.hooks([(name, lambda value, hook: None) for name in model.hook_dict]):
        explicit = torch.autograd.grad(model(TARGET, **arguments), parameters)
    for (name, _), ours, theirs in zip(model.named_parameters(), fused, explicit, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_loss_is_of_the_next_target_token_or_of_given_targets():
    model = subject()
    mask = torch.arange(9) < torch.tensor([[9], [5], [2]])
    log_p = model(TARGET, source=SOURCE).log_softmax(-1)
    each = -log_p[:, :-1].gather(-1, TARGET[:, 1:, None])[..., 0]
    loss = model(TARGET, source=SOURCE, mask=mask, return_type="loss")
    assert torch.allclose(loss, each[mask[:, 1:]].mean(), atol=1e-6)
    per_token = model(TARGET, source=SOURCE, mask=mask, return_type="loss", loss_per_token=True)
    assert torch.allclose(per_token, each * mask[:, 1:], atol=1e-6)
    targets = torch.full((3, 9), -100)
    targets[1, 8] = 4
    assert torch.allclose(model(TARGET, source=SOURCE, targets=targets, return_type="loss"), -log_p[1, 8, 4])


def test_source_padding_changes_nothing():
    model = subject()
    other = SOURCE.masked_fill(~SOURCE_MASK, 17)
    logits = model(TARGET, source=SOURCE, source_mask=SOURCE_MASK)
    assert torch.allclose(logits, model(TARGET, source=other, source_mask=SOURCE_MASK), atol=1e-6)
    assert torch.allclose(logits[1:2], model(TARGET[1], source=SOURCE[1, :4]), atol=1e-5)
    assert not torch.allclose(logits, model(TARGET, source=SOURCE), atol=1e-3)


HOOKS = {
    "none": [],
    "one target position": [("decoder_blocks.0.hook_resid_mid_cross", at_pos(lambda value, hook: value * -3, 4))],
    "cross pattern": [("decoder_blocks.1.cross_attn.hook_pattern", lambda value, hook: value.flip(-1))],
    "one source position": [("decoder_blocks.0.cross_attn.hook_v", at_pos(lambda value, hook: value * -3, 2))],
    "encoder": [("encoder_blocks.1.attn.hook_z", lambda value, hook: value * -2)],
}


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("overrides", [SHAPES[0], SHAPES[2]], ids=str)
def test_greedy_decoding_is_the_likeliest_token_after_each_whole_prefix(overrides, hooks):
    model, eos = subject(**overrides), 5
    with model.hooks(HOOKS[hooks]):
        said = model.greedy_decode(SOURCE, SOURCE_MASK, max_new=6, eos=eos)
        for row in range(3):
            tokens = torch.zeros(1, 1, dtype=torch.long)
            part = {"source": SOURCE[row : row + 1], "source_mask": SOURCE_MASK[row : row + 1]}
            while tokens.shape[1] < 7 and (tokens.shape[1] == 1 or tokens[0, -1] != eos):
                tokens = torch.cat([tokens, model(tokens, **part)[:, -1:].argmax(-1)], 1)
            assert torch.equal(said[row, : tokens.shape[1]], tokens[0])
            assert not said[row, tokens.shape[1] :].any()
    assert not any("offset" in point.ctx for point in model.hook_dict.values())


def test_hooks_say_whose_positions_they_count():
    model = subject(pre_norm=True)
    _, cache = model.run_with_cache(TARGET, source=SOURCE, source_mask=SOURCE_MASK)
    for name, value in cache.items():
        axis = 2 if name.endswith(("hook_pattern", "hook_attn_scores")) else 1
        assert value.shape[axis] == {"source": 7, "target": 9}[model.position_axis(name)], name
    with pytest.raises(ValueError, match="no hook named"):
        model.position_axis("decoder_blocks.9.hook_resid_pre")


def test_a_full_cache_leaves_out_the_forks_until_they_are_asked_for():
    _, cache = subject().run_with_cache(TARGET, source=SOURCE)
    assert not any(name.endswith(("hook_result", "hook_q_input", "hook_attn_in")) for name in cache.cache_dict)
    model = subject(use_attn_result=True)
    _, cache = model.run_with_cache(TARGET, source=SOURCE)
    written = cache["decoder_blocks.0.cross_attn.hook_result"].sum(2) + model.decoder_blocks[0].cross_attn.b_O
    assert torch.allclose(written, cache["decoder_blocks.0.hook_cross_attn_out"], atol=1e-5)


def test_one_heads_memory_reaches_that_head_alone():
    model = subject()
    _, clean = model.run_with_cache(TARGET, source=SOURCE)

    def wipe_head_2(value, hook):
        value[:, :, 2] = 0
        return value

    with model.hooks([("decoder_blocks.1.cross_attn.hook_k_input", wipe_head_2)]):
        _, cache = model.run_with_cache(TARGET, source=SOURCE)
    ours, theirs = (c["decoder_blocks.1.cross_attn.hook_k"] for c in (cache, clean))
    assert [h for h in range(4) if not torch.allclose(ours[:, :, h], theirs[:, :, h], atol=1e-5)] == [2]
    assert torch.allclose(*(c["decoder_blocks.1.cross_attn.hook_q"] for c in (cache, clean)), atol=1e-5)


def test_config_and_weights_round_trip():
    for overrides in SHAPES:
        model = subject(**overrides)
        again = EncoderDecoderTransformerConfig.from_dict(json.loads(json.dumps(model.cfg.to_dict())))
        assert again == model.cfg
        copy = EncoderDecoderTransformer(again)
        copy.load_state_dict(model.state_dict())
        assert torch.equal(copy(TARGET, source=SOURCE), model(TARGET, source=SOURCE))


def test_it_learns_to_copy():
    cfg = EncoderDecoderTransformerConfig(
        n_layers=1, d_model=32, n_heads=2, n_ctx=8, d_vocab=10, d_vocab_source=10, pre_norm=True
    )
    model, generator = EncoderDecoderTransformer(cfg), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(100):
        source = torch.randint(1, 10, (24, 3), generator=generator)
        target = torch.cat([torch.zeros(24, 1, dtype=torch.long), source], 1)
        loss = model(target, source=source, return_type="loss")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * math.log(9)
    source = torch.randint(2, 10, (32, 3), generator=generator)
    said = model.greedy_decode(source, max_new=3, eos=1)
    assert (said[:, 1:] == source).float().mean() > 0.95


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"d_vocab_source": 0}, "d_vocab_source is 0"),
        ({"positional_embedding_type": "rotary"}, "'rotary' is none of an encoder–decoder's"),
        ({"attn_only": True}, "attn_only is True"),
        ({"n_heads": 3}, "3 heads do not divide d_model 16"),
    ],
)
def test_inconsistent_config_is_one_plain_sentence(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        EncoderDecoderTransformerConfig(**(SHAPE | overrides))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"source": SOURCE[:2]}, "there are 3 targets, but 2 sources"),
        ({"source": SOURCE + 22}, "source tokens run from"),
        ({"source": torch.zeros(3, 13, dtype=torch.long)}, "13 source tokens are more than the 12"),
        ({"source": torch.zeros(3, 0, dtype=torch.long)}, "no source tokens"),
        ({"source_mask": SOURCE_MASK[:, :5]}, "source_mask must be bool"),
        ({"source_mask": SOURCE_MASK & False}, "source_mask must be True from a row's first position on"),
        ({"input": TARGET + 10}, "ids of tokens run from"),
        ({"targets": torch.zeros(3, 9)}, "targets must be token ids"),
    ],
)
def test_what_does_not_fit_is_one_plain_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject()(**({"input": TARGET, "source": SOURCE} | arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"max_new": 12}, "max_new is 12"), ({"max_new": 0}, "max_new is 0"), ({"eos": 19}, "eos")],
)
def test_what_cannot_be_said_is_one_plain_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject().greedy_decode(SOURCE, **({"max_new": 3, "eos": 1} | arguments))
