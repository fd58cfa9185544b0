"""A loss that asks given targets: what counts, and the last block run only where something is asked."""

import pytest
import torch
import torch.nn.functional as F
from native_oracle import random_tokens, subject

from models import Recurrent, RecurrentConfig
from models.loss import IGNORED

SHAPES = [
    {},
    {"attn_only": True, "normalization_type": None},
    {"positional_embedding_type": "rotary", "gated_mlp": True, "act_fn": "silu", "normalization_type": "RMS"},
    {"n_layers": 1, "act_fn": "solu_ln", "positional_embedding_type": "none", "tie_word_embeddings": True},
]


def sparse_targets(columns=(4, 8), seed=0):
    """Targets `[3, 9]` at some of the columns, none in the first row."""
    targets = torch.full((3, 9), IGNORED)
    targets[1:, list(columns)] = torch.randint(31, (2, len(columns)), generator=torch.Generator().manual_seed(seed))
    targets[2, columns[0]] = IGNORED
    return targets


def observe(value, hook):
    """A hook that changes nothing."""


@pytest.mark.parametrize("columns", [(8,), (0, 5), (4, 8), (1, 2, 3, 5, 6, 7, 8)])
@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_loss_is_cross_entropy_of_the_targets_on_every_path(overrides, columns):
    model, tokens = subject(**overrides), random_tokens()
    targets = sparse_targets((*columns, 3))
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    parameters = list(model.parameters())
    reference = torch.autograd.grad(expected, parameters)
    sparse = model(tokens, return_type="loss", targets=targets)
    assert torch.allclose(sparse, expected, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(sparse, parameters), reference, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    last = f"blocks.{model.cfg.n_layers - 1}.attn.hook_z"
    for name in (last, "hook_embed"):
        hooked = model.run_with_hooks(tokens, return_type="loss", targets=targets, fwd_hooks=[(name, observe)])
        assert torch.allclose(hooked, expected, atol=1e-6)
    _, both = model(tokens, return_type="both", targets=targets)
    assert torch.allclose(both, expected, atol=1e-6)


def positions_written(model, targets):
    """How many positions the last block writes at."""
    seen = []
    handle = model.blocks[-1].register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    model(random_tokens(), return_type="loss", targets=targets)
    handle.remove()
    return seen[0]


def test_the_last_block_runs_where_something_is_asked_until_one_of_its_hooks_is_used():
    model = subject()
    assert positions_written(model, sparse_targets()) == 2
    assert positions_written(model, random_tokens()) == 9
    for name in ("hook_embed", "blocks.0.hook_resid_post"):
        with model.hooks([(name, observe)]):
            assert positions_written(model, sparse_targets()) == 2
    for name in ("blocks.1.hook_resid_pre", "blocks.1.mlp.hook_post", "ln_final.hook_scale"):
        with model.hooks([(name, observe)]):
            assert positions_written(model, sparse_targets()) == 9


def test_next_tokens_as_targets_are_the_plain_loss():
    model, tokens = subject(), random_tokens()
    mask = torch.arange(9) < torch.tensor([[9], [5], [2]])
    targets = F.pad(tokens[:, 1:], (0, 1), value=IGNORED).masked_fill(~F.pad(mask[:, 1:], (0, 1)), IGNORED)
    plain = model(tokens, return_type="loss", mask=mask)
    assert torch.allclose(model(tokens, return_type="loss", mask=mask, targets=targets), plain, atol=1e-6)


def test_loss_per_token_has_every_position_where_targets_are_given():
    model, tokens, targets = subject(), random_tokens(), sparse_targets()
    log_p = model(tokens).log_softmax(-1)
    expected = -log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0].masked_fill(targets == IGNORED, 0)
    for return_type, pick in (("loss", lambda out: out), ("both", lambda out: out[1])):
        ours = pick(model(tokens, return_type=return_type, targets=targets, loss_per_token=True))
        assert torch.allclose(ours, expected, atol=1e-6)
    assert model(tokens, return_type="loss", loss_per_token=True).shape == (3, 8)


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (torch.full((3, 9), IGNORED), "targets ask nothing"),
        (torch.full((3, 9), 31), "targets run from 31 to 31, but there are 31"),
        (torch.full((3, 9), -1), "targets run from -1"),
        (torch.zeros(3, 8, dtype=torch.long), "targets are \\[3, 8\\]"),
        (torch.zeros(3, 9), "targets must be token ids"),
    ],
)
def test_targets_that_do_not_fit_are_one_plain_sentence(targets, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject()(random_tokens(), return_type="loss", targets=targets)


def test_what_is_padding_is_not_asked_whatever_its_target_says():
    model = Recurrent(RecurrentConfig(cell="gru", d_model=4, d_in=2, d_out=3))
    x, mask = torch.randn(2, 4, 2), torch.tensor([[True] * 4, [True, True, False, False]])
    targets = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 0]])
    ignored = targets.masked_fill(~mask, IGNORED)
    for wanted in ("loss", "both"):
        ours, theirs = (model(x, mask=m, targets=t, return_type=wanted) for m, t in ((mask, targets), (None, ignored)))
        torch.testing.assert_close(ours, theirs)
