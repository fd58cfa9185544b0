"""TransformerLens's own tools run on `Transformer` unchanged, and say what they say of its native model."""

import pytest
import torch
from native_oracle import native_of, random_tokens, subject
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformer_lens import SVDInterpreter, patching
from transformer_lens.head_detector import detect_head
from transformer_lens.model_protocol import TransformerLensModel, TransformerLensModelWithWeights
from transformer_lens.tools.analysis import attribution_patching, interchange
from transformer_lens.tools.analysis.direct_logit_attribution import direct_logit_attribution
from transformer_lens.tools.analysis.logit_lens import logit_lens

CLEAN, CORRUPT = random_tokens(batch=2, pos=6, seed=1), random_tokens(batch=2, pos=6, seed=2)


SHAPES = [
    {},
    {"normalization_type": None},
    {"attn_only": True},
    {
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": True,
        "gated_mlp": True,
        "act_fn": "silu",
        "normalization_type": "RMS",
    },
]


@pytest.fixture(scope="module", params=SHAPES, ids=["learned", "no norm", "attention-only", "Llama's"])
def pair(request):
    """A subject and TransformerLens's native model with the same weights."""
    model = subject(unembed_bias=False, **request.param)
    return model, native_of(model)


@pytest.fixture(scope="module")
def caches(pair):
    return [model.run_with_cache(CLEAN)[1] for model in pair]


def logit_difference(logits):
    return logits[0, -1, 5] - logits[1, -1, 7]


def agree(ours, theirs):
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=2e-5)


CACHE_METHODS = {
    "decompose_resid": lambda c: c.decompose_resid(),
    "decompose_resid, normalised": lambda c: c.decompose_resid(apply_ln=True, pos_slice=-1),
    "decompose_resid, into block 1": lambda c: c.decompose_resid(layer=1, apply_ln=True),
    "accumulated_resid": lambda c: c.accumulated_resid(incl_mid=False, apply_ln=True),
    "stack_head_results": lambda c: c.stack_head_results(incl_remainder=True, apply_ln=True),
    "get_full_resid_decomposition": lambda c: c.get_full_resid_decomposition(expand_neurons=False),
    "logit_attrs": lambda c: c.logit_attrs(
        c.decompose_resid(), tokens=torch.tensor([3, 4]), incorrect_tokens=torch.tensor([8, 9])
    ),
    "apply_ln_to_stack": lambda c: c.apply_ln_to_stack(c.stack_activation("resid_post"), layer=-1),
}


@pytest.mark.parametrize("method", CACHE_METHODS)
def test_cache_methods(caches, method):
    agree(*(CACHE_METHODS[method](cache) for cache in caches))


def test_neurons_of_the_residual_decomposition():
    model = subject(unembed_bias=False)
    ours, theirs = (
        m.run_with_cache(CLEAN)[1].get_full_resid_decomposition(apply_ln=True) for m in (model, native_of(model))
    )
    agree(ours, theirs)


def test_components_sum_to_the_stream_and_results_to_the_attention(pair, caches):
    model, cache = pair[0], caches[0]
    agree(cache.decompose_resid().sum(0), cache["resid_post", 1])
    agree(cache.get_full_resid_decomposition(expand_neurons=not model.cfg.attn_only).sum(0), cache["resid_post", 1])
    _, results = model.run_with_cache(CLEAN, names_filter="blocks.1.attn.hook_result")
    agree(results["result", 1].sum(2) + model.blocks[1].attn.b_O, cache["attn_out", 1])


PATCHES = [
    "get_act_patch_resid_pre",
    "get_act_patch_resid_mid",
    "get_act_patch_attn_out",
    "get_act_patch_mlp_out",
    "get_act_patch_attn_head_out_by_pos",
    "get_act_patch_attn_head_q_by_pos",
    "get_act_patch_attn_head_k_by_pos",
    "get_act_patch_attn_head_v_by_pos",
    "get_act_patch_attn_head_pattern_by_pos",
    "get_act_patch_attn_head_pattern_dest_src_pos",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_q_all_pos",
    "get_act_patch_attn_head_k_all_pos",
    "get_act_patch_attn_head_v_all_pos",
    "get_act_patch_attn_head_pattern_all_pos",
    "get_act_patch_attn_head_all_pos_every",
    "get_act_patch_attn_head_by_pos_every",
    "get_act_patch_block_every",
]


@torch.no_grad()
@pytest.mark.parametrize("name", PATCHES)
def test_activation_patching(name):
    model, patch = subject(unembed_bias=False), getattr(patching, name)
    ours, theirs = (patch(m, CORRUPT, m.run_with_cache(CLEAN)[1], logit_difference) for m in (model, native_of(model)))
    agree(ours, theirs)


def test_the_list_of_patches_is_whole():
    public = {name for name in dir(patching) if name.startswith("get_act_patch") and "direct_path" not in name}
    assert public == set(PATCHES)


@torch.no_grad()
@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_direct_path_patching_moves_one_heads_reading_by_one_heads_write(component):
    model = subject()
    clean, corrupt = (model.run_with_cache(tokens)[1] for tokens in (CLEAN, CORRUPT))
    results = patching.get_act_patch_direct_path_all_sources(
        model, CORRUPT, clean, corrupt, logit_difference, component, verbose=False
    )
    source, target = 3, 1
    write = (clean["z", 0] - corrupt["z", 0])[:, :, source] @ model.W_O[0, source]
    norm = model.blocks[1].ln1
    reading = torch.nn.functional.layer_norm(corrupt["resid_pre", 1] + write, (16,), norm.w, norm.b)
    weight, bias = (getattr(model, f"{kind}_{component.upper()}")[1, target] for kind in ("W", "b"))

    def replace(value, hook):
        value[:, :, target] = reading @ weight + bias
        return value

    expected = logit_difference(model.run_with_hooks(CORRUPT, fwd_hooks=[(f"blocks.1.attn.hook_{component}", replace)]))
    agree(results[0, source, 1, target], expected)
    assert not model.cfg.use_split_qkv_input


def test_protocols():
    assert isinstance(subject(), TransformerLensModel)
    assert isinstance(subject(), TransformerLensModelWithWeights)


def test_head_detector_scores_the_share_of_attention():
    words = {f"w{i}": i for i in range(31)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w30"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    model = subject()
    model.tokenizer = tokenizer
    text = "w5 w7 w5 w9 w7"
    patterns = model.run_with_cache(text, remove_batch_dim=True)[1]
    scores = detect_head(model, text, "previous_token_head")
    for layer in range(2):
        pattern = patterns["pattern", layer]
        previous = pattern.diagonal(-1, dim1=1, dim2=2).sum(-1)
        assert torch.allclose(scores[layer], previous / pattern.sum((1, 2)), atol=1e-3)
    # The fifth word, at position 5, was the second: an induction head looks at what came after that.
    induction = detect_head(model, text, "induction_head")
    assert torch.allclose(induction[1], patterns["pattern", 1][:, [3, 5], [2, 3]].sum(-1) / 6, atol=1e-3)


@pytest.mark.parametrize(("kind", "head"), [("OV", 2), ("w_in", None), ("w_out", None)])
def test_singular_vectors(kind, head):
    model = subject(unembed_bias=False)
    ours, theirs = (SVDInterpreter(m).get_singular_vectors(kind, 1, 4, head) for m in (model, native_of(model)))
    agree(ours.abs(), theirs.abs())  # a singular vector is known but for its sign


def test_logit_lens(pair):
    ours, theirs = (logit_lens(model, CLEAN) for model in pair)
    agree(ours.readout.values, theirs.readout.values)
    agree(ours.readout.values[-1], pair[0](CLEAN)[:, -1])


@pytest.mark.parametrize("unit", ["component", "layer", "head"])
def test_direct_logit_attribution_of_the_folded_model(unit):
    model = subject(unembed_bias=False)
    folded, native = model.folded(), native_of(model)
    native.enable_compatibility_mode()
    answers, wrong = torch.tensor([5, 6]), torch.tensor([9, 2])
    ours, theirs = (direct_logit_attribution(m, CLEAN, answers, wrong, unit=unit) for m in (folded, native))
    agree(ours.attribution, theirs.attribution)


@pytest.mark.parametrize("overrides", [{}, {"normalization_type": "RMS"}, {"normalization_type": None}], ids=str)
def test_direct_logit_attribution_sums_to_the_logit(overrides):
    folded = subject(**overrides).folded()
    for unit in ("component", "head"):
        result = direct_logit_attribution(folded, CLEAN, torch.tensor([5, 6]), unit=unit)
        last = folded(CLEAN)[:, -1]
        agree(result.attribution.sum(0) + folded.b_U[[5, 6]], last[[0, 1], [5, 6]])


def one_logit(logits):
    return logits[0, -1, 5] - logits[0, -1, 7]


@pytest.mark.parametrize("normalization", ["LN", None])
def test_attribution_patching(normalization):
    model = subject(unembed_bias=False, normalization_type=normalization)
    native = native_of(model)
    ours, theirs = (attribution_patching.attribution_patch(m, CLEAN, CORRUPT, one_logit) for m in (model, native))
    assert len(ours.node_scores) == 6 * (1 + 2 * (4 + 1))
    for node, score in ours.node_scores.items():
        assert score == pytest.approx(theirs.node_scores[node], abs=2e-5)


def test_edges_of_a_node_sum_to_its_attribution():
    model = subject()
    nodes = attribution_patching.attribution_patch(model, CLEAN, CORRUPT, one_logit)
    config = attribution_patching.EdgeAttributionConfig(granularity="edge")
    edges = attribution_patching.attribution_patch(model, CLEAN, CORRUPT, one_logit, config)
    for node, score in nodes.node_scores.items():
        assert score == pytest.approx(edges.node_scores[node], abs=2e-5)
    flags = (model.cfg.use_attn_result, model.cfg.use_split_qkv_input, model.cfg.use_hook_mlp_in)
    assert not any(flags)


def test_interchange_of_the_whole_stream_is_the_source():
    model, hook = subject(), "blocks.1.hook_resid_post"
    last = torch.full((2,), 5)
    source = interchange.collect_activations(model, hook, CLEAN, lambda tokens: model(tokens), positions=last)
    logits = interchange.intervened_logits(
        model,
        hook,
        interchange.SubspaceInterchange(torch.eye(16)),
        CORRUPT,
        source,
        lambda tokens: model(tokens)[:, -1],
        positions=last,
    )
    agree(logits, model(CLEAN)[:, -1].detach())


def test_learned_subspaces():
    model = subject(unembed_bias=False).double()
    last, targets = torch.full((2,), 5), torch.tensor([1, 0])

    def fit(m):
        hook, choices = "blocks.0.hook_resid_post", [5, 7]
        positions = {"base_positions": last, "source_positions": last}
        return interchange.fit_das(
            m, hook, CORRUPT, CLEAN, targets, lambda tokens: m(tokens)[:, -1, choices], rank=2, epochs=8, **positions
        )

    ours, theirs = fit(model), fit(native_of(model))
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-4)
    assert ours.losses[-1] < ours.losses[0]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_untrained_control_resets_every_weight():
    model = subject()
    control = interchange.reinitialized(model, seed=3)
    same = interchange.reinitialized(model, seed=3)
    for name, value in control.state_dict().items():
        assert not torch.equal(value, model.state_dict()[name]), name
        assert torch.equal(value, same.state_dict()[name]), name
