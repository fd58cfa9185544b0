"""`HookedModel`: naming, attaching, caching, and leaving no trace."""

import gc
import weakref

import pytest
import torch
from native_oracle import random_tokens, subject
from torch import nn
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint

from models.hooks import HookedModel


class TwoLayers(HookedModel):
    """`y = (x W + 1)²`: a model that is not a transformer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()
        self.setup()

    def forward(self, x):
        return self.hook_post(self.hook_pre(x @ self.weight + 1).square()).sum()


def attached_anywhere(model):
    return {name: len(handles) for name, handles in model.list_hooks().items()}


def double(value, hook):
    return value * 2


@pytest.mark.parametrize("direction", ["fwd_hooks", "bwd_hooks"])
def test_unknown_hook_is_named_with_what_is_close(direction):
    model = subject()
    hooks = [("blocks.0.hook_resid_pre", double), ("blocks.0.attn.hook_patern", double)]
    with pytest.raises(ValueError, match=r"no hook named 'blocks.0.attn.hook_patern'.*blocks.0.attn.hook_pattern"):
        model.run_with_hooks(random_tokens(), **{direction: hooks})
    assert not attached_anywhere(model)


@pytest.mark.parametrize("names_filter", [lambda name: False, [], "nothing", ["hook_embed", "hook_embd"]])
def test_filter_that_misses_is_an_error(names_filter):
    with pytest.raises(ValueError, match=r"matches none|no hook named '(nothing|hook_embd)'"):
        subject().run_with_cache(random_tokens(), names_filter=names_filter)


def test_add_hook_knows_only_hook_points():
    model = subject()
    with pytest.raises(ValueError, match=r"no hook named 'blocks\.0'"):
        model.add_hook("blocks.0", double)


def test_exception_in_a_hook_leaves_everything_as_it_was():
    model, tokens = subject(), random_tokens()
    before = model(tokens)

    def fail(value, hook):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.run_with_hooks(tokens, fwd_hooks=[("hook_embed", double), ("blocks.1.mlp.hook_post", fail)])
    with pytest.raises(ZeroDivisionError), model.hooks([("blocks.0.hook_mlp_out", fail)]):
        model.run_with_cache(tokens)
    assert not attached_anywhere(model)
    assert model.context_level == 0
    assert torch.equal(model(tokens), before)


def test_caching_keeps_hooks_that_others_attached():
    model, tokens = subject(), random_tokens()
    model.add_perma_hook("hook_embed", double)
    model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.hook_attn_out", double)], reset_hooks_end=False)
    with model.hooks([("blocks.1.hook_resid_mid", double)]):
        edited = model(tokens)
        inside = attached_anywhere(model)
        assert len(inside) == 3
        logits, _ = model.run_with_cache(tokens)
        assert attached_anywhere(model) == inside
        assert torch.allclose(logits, edited, atol=1e-5)


def test_edit_and_cache_in_one_run():
    model, tokens = subject(), random_tokens()
    with model.hooks([("blocks.0.hook_attn_out", lambda value, hook: torch.zeros_like(value))]):
        _, cache = model.run_with_cache(tokens)
    assert torch.equal(cache["blocks.0.hook_resid_mid"], cache["blocks.0.hook_resid_pre"])


def test_predicate_attaches_to_all_that_match():
    model, seen = subject(), []
    model.run_with_hooks(
        random_tokens(), fwd_hooks=[(lambda n: n.endswith("hook_z"), lambda v, hook: seen.append(hook.name))]
    )
    assert seen == ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]


def test_any_module_can_be_a_subject():
    model, x = TwoLayers(), torch.tensor([[1.0, -1.0]])
    output, cache = model.run_with_cache(x, incl_bwd=True)
    assert isinstance(cache, ActivationCache)
    assert cache["hook_pre"].tolist() == [[-1.0, -1.0]]
    assert output.item() == 2.0
    assert cache["hook_pre_grad"].tolist() == [[-2.0, -2.0]]


def test_plain_dict_holds_no_model():
    model = subject()
    cache = model.run_with_cache(random_tokens(), return_cache_object=False)[1]
    assert type(cache) is dict
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert cache["blocks.0.hook_resid_post"].grad_fn is None


def test_cached_values_own_their_memory():
    cache = subject().run_with_cache(random_tokens(), pos_slice=-1, return_cache_object=False)[1]
    for name, value in cache.items():
        assert value.untyped_storage().nbytes() <= value.numel() * value.element_size(), name


@pytest.mark.parametrize("where", [-1, 2, (1, 6), (0, 9, 3), [0, 4]])
def test_pos_slice_takes_positions_of_every_hook(where):
    model, tokens = subject(), random_tokens()
    for flag in (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_attn_in):
        flag(True)
    _, full = model.run_with_cache(tokens)
    _, part = model.run_with_cache(tokens, pos_slice=where)
    positions = (
        [where] if isinstance(where, int) else list(range(9))[slice(*where)] if isinstance(where, tuple) else where
    )
    assert part.keys() == full.keys()
    for name, value in full.items():
        on_queries = name.endswith(("hook_pattern", "hook_attn_scores"))
        assert torch.equal(part[name], value[:, :, positions] if on_queries else value[:, positions]), name


def test_remove_batch_dim():
    model = subject()
    _, cache = model.run_with_cache(random_tokens(batch=1), remove_batch_dim=True)
    assert not cache.has_batch_dim
    assert cache["blocks.0.attn.hook_pattern"].shape == (4, 9, 9)
    with pytest.raises(ValueError, match="batch of one"):
        model.run_with_cache(random_tokens(batch=2), remove_batch_dim=True)


def test_gradients_in_the_cache_are_autograds():
    model, tokens = subject(), random_tokens()
    _, cache = model.run_with_cache(tokens, incl_bwd=True, return_type="loss")
    kept = {}

    def keep(value, hook):
        kept[hook.name] = value

    names = ["hook_embed", "blocks.0.attn.hook_pattern", "blocks.1.mlp.hook_post", "blocks.1.hook_resid_post"]
    loss = model.run_with_hooks(tokens, return_type="loss", fwd_hooks=[(name, keep) for name in names])
    for name, grad in zip(names, torch.autograd.grad(loss, [kept[name] for name in names]), strict=True):
        assert torch.allclose(cache[f"{name}_grad"], grad, atol=1e-6), name


def test_gradient_cache_needs_a_scalar_and_autograd():
    model, tokens = subject(), random_tokens()
    with pytest.raises(ValueError, match="one number"):
        model.run_with_cache(tokens, incl_bwd=True)
    with torch.no_grad(), pytest.raises(ValueError, match="switched off"):
        model.run_with_cache(tokens, incl_bwd=True, return_type="loss")
    assert not attached_anywhere(model)


def test_add_caching_hooks_stays_until_reset():
    model, tokens = subject(), random_tokens()
    cache = model.add_caching_hooks("hook_embed")
    model(tokens)
    first = cache["hook_embed"]
    model(tokens.flip(0))
    assert torch.equal(cache["hook_embed"], first.flip(0))
    model.reset_hooks()
    assert not attached_anywhere(model)


def test_gated_hooks_fire_when_named_and_are_cached_when_switched_on():
    model, tokens = subject(), random_tokens()
    gated = {
        "attn.hook_result",
        "attn.hook_attn_in",
        "attn.hook_q_input",
        "attn.hook_k_input",
        "attn.hook_v_input",
        "hook_mlp_in",
    }
    names = {f"blocks.{layer}.{name}" for layer in range(2) for name in gated}
    assert names.isdisjoint(model.run_with_cache(tokens)[1].keys())
    _, cache = model.run_with_cache(tokens, names_filter=list(names))
    assert set(cache.keys()) == names
    for flag in (
        model.set_use_attn_result,
        model.set_use_split_qkv_input,
        model.set_use_attn_in,
        model.set_use_hook_mlp_in,
    ):
        flag(True)
    assert names <= model.run_with_cache(tokens)[1].keys()
