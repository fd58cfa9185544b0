"""Distributed alignment search finds directions that were planted, and interchanges are what they say."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from models import MLP, Dataset, MLPConfig, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from workbench.interventions import Subspace
from workbench.interventions.interchange import COLUMNS, Interchange, interchange_scores, swapped
from workbench.interventions.rotation import fit_rotation

D, N = 10, 400
POST, STATE = "blocks.0.mlp.hook_post", "blocks.0.rnn.hook_h"
ROTATION = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(3))).Q
SIGNS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])  # of the two variables, in each class


def planted_mlp():
    """Three numbers go in, along rotated axes of ten; it says the signs of the first two. The ReLUs are always open."""
    model = MLP(MLPConfig(d_mlp=D, d_in=3, d_out=4))
    with torch.no_grad():
        model.blocks[0].mlp.W_in.copy_(ROTATION[:3])
        model.blocks[0].mlp.b_in.fill_(8.0)
        model.unembed.W_U.copy_(2 * ROTATION[:2].T @ SIGNS.T)
        model.unembed.b_U.copy_(-8.0 * model.unembed.W_U.sum(0))
    return model


def planted_rnn():
    """The same at the first of four steps, and said after the last; the state is so small that tanh is linear."""
    small = 0.01
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=D, d_in=3, d_out=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.blocks[0].rnn.load_state_dict(_cell(model.blocks[0].rnn.state_dict(), small))
        model.unembed.W_U.copy_(2 / small * ROTATION[:2].T @ SIGNS.T)
    return model


def _cell(weights, small):
    """What keeps the state as it is and adds the inputs along the rotated axes."""
    filled = {}
    for name, weight in weights.items():
        if weight.shape == (D, D):
            filled[name] = torch.eye(D)
        elif weight.shape in ((D, 3), (3, D)):
            filled[name] = small * (ROTATION[:3].T if weight.shape == (D, 3) else ROTATION[:3])
        else:
            filled[name] = torch.zeros_like(weight)
    assert {tuple(weight.shape) for weight in filled.values()} > {(D, D)}
    return filled


def pairs(n_steps, n=N):
    """Bases and sources, and what should be said once the first variable is the source's."""
    values = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0))
    values = values + 0.3 * values.sign()  # neither variable is near zero
    base, source = (torch.nn.functional.pad(x[:, None], (0, 0, 0, n_steps - 1)) for x in values)
    counterfactual = torch.stack([values[1, :, 0], values[0, :, 1]], 1).sign()
    targets = torch.full((n, n_steps), -100)
    targets[:, -1] = (counterfactual[:, None] == SIGNS).all(-1).int().argmax(1)
    return base, source, targets


PLANTED = [
    pytest.param(planted_mlp, POST, 1, None, id="perceptron"),
    pytest.param(planted_rnn, STATE, 4, 2, id="a step of a recurrence"),
]


def angle(found, planted):
    return np.degrees(subspace_angles(found.write.T.numpy(), planted.T.double().numpy()).max())


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize(("subject", "hook", "n_steps", "at"), PLANTED)
def test_the_planted_axis_is_found_and_swapping_along_it_is_the_counterfactual(subject, hook, n_steps, at):
    model = subject()
    untrained = type(model)(model.cfg) if at is None else None
    base, source, targets = pairs(n_steps)
    both = {"both": Subspace.along(ROTATION[:2]), "other": Subspace.along(ROTATION[1:2])}
    found = fit_rotation(model, base, source, targets, hook, 1, at=at, n_steps=200, beside=both, untrained=untrained)
    assert angle(found.subspace, ROTATION[:1]) < 5
    assert angle(found.subspace, ROTATION[1:2]) > 80
    scores = found.scores.set_index(["name", "variant"])["value"].groupby(level=[0, 1]).mean()
    unchanged = float((both_signs(base) == targets[:, -1]).double().mean())
    assert scores["", "learned"] > 0.98
    assert untrained is None or scores["", "untrained subject"] < 0.6
    assert scores["", "random frame"] < 0.75
    assert scores["", "nothing swapped"] == pytest.approx(unchanged, abs=0.1)  # of other pairs
    assert scores["", "everything swapped"] < 0.65
    assert scores["both", "given"] < 0.65
    assert scores["other", "given"] < 0.4
    assert found.scores["pairs"].eq(N / 4).all()
    assert list(found.scores.columns) == list(COLUMNS)
    assert found.losses["loss"].iloc[-10:].mean() < found.losses["loss"].iloc[:10].mean() / 2


def both_signs(base):
    return (base[:, 0, :2].sign()[:, None] == SIGNS).all(-1).int().argmax(1)


@pytest.mark.usefixtures("as_in_a_script")
def test_a_planted_plane_is_found_and_not_the_plane_of_most_variance():
    model = planted_mlp()
    base, source, _ = pairs(1)
    stretched = torch.tensor([1.0, 1.0, 3.0])
    base, source = base * stretched, source * stretched
    targets = both_signs(source)[:, None]  # both variables are the source's
    found = fit_rotation(model, base, source, targets, POST, 2, n_steps=250, n_controls=3)
    scores = found.scores.groupby("variant")["value"].mean()
    assert angle(found.subspace, ROTATION[:2]) < 5
    assert scores["learned"] > 0.98
    assert scores["everything swapped"] == 1
    assert scores["principal axes"] < 0.85


def test_the_same_seed_finds_the_same_and_the_best_of_several_starts_is_taken():
    base, source, targets = pairs(1, 80)
    how = {"n_steps": 10, "n_starts": 3, "n_controls": 1}
    first, again, other = (
        fit_rotation(planted_mlp(), base, source, targets, POST, 1, **how, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.subspace.write, again.subspace.write)
    assert first.scores.equals(again.scores)
    assert not torch.equal(first.subspace.write, other.subspace.write)
    assert first.losses.groupby("start").size().tolist() == [10, 10, 10]
    torch.testing.assert_close(first.subspace.write @ first.subspace.write.T, torch.eye(1).double())


def loud_transformer():
    model = Transformer(TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, n_ctx=6, d_vocab=9))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model.double()


@pytest.fixture
def texts():
    mask = torch.arange(6) < torch.tensor([6, 6, 4])[:, None]
    tokens = torch.randint(1, 9, (2, 3, 6), generator=torch.Generator().manual_seed(0)) * mask
    tokens[..., 0] = 0
    return [Dataset(tokens=part, mask=mask) for part in tokens]


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z"])
def test_an_interchange_is_a_run_in_which_the_rows_were_exchanged_by_hand(hook, texts):
    model, (base, source) = loud_transformer(), texts
    line = Subspace.along(torch.randn(2, 8, generator=torch.Generator().manual_seed(4)))
    made = Interchange.of(model, base, source, base.tokens, hook, batch_size=2)
    output, _ = made.run(torch.tensor([2, 0]), swapped(line), "both")
    _, cache = model.run_with_cache(source.tokens, mask=source.mask, names_filter=hook)
    theirs = cache[hook][[2, 0]].flatten(2)
    real = base.counted[[2, 0]][..., None]

    def exchange(value, hook):
        x = value.flatten(2)
        change = (theirs - x) @ torch.linalg.pinv(line.write) @ line.write
        return torch.where(real, x + change, x).view_as(value)

    expected = model.run_with_hooks(base.tokens[[2, 0]], mask=base.mask[[2, 0]], fwd_hooks=[(hook, exchange)])
    torch.testing.assert_close(output, expected)
    assert (output - model(base.tokens[[2, 0]])).abs().max() > 0.1


def test_swapping_everything_before_the_first_block_is_reading_the_source(texts):
    model, (base, source) = loud_transformer(), texts
    hook = "blocks.0.hook_resid_pre"
    likeliest = model(source.tokens, mask=source.mask).argmax(-1)
    targets = torch.where(source.counted, likeliest, -100)
    whole = {"all": Subspace.along(torch.eye(8))}
    scores = interchange_scores(model, base, source, targets, hook, whole, n_controls=2)
    by_variant = scores.groupby("variant")["value"].mean()
    assert by_variant["given"] == by_variant["everything swapped"] == by_variant["random frame"] == 1
    assert by_variant["nothing swapped"] < 1


def test_gradients_reach_the_directions_through_the_swap(texts):
    model, (base, source) = loud_transformer(), texts
    made = Interchange.of(model, base, source, base.tokens, "blocks.0.hook_resid_post", 2)
    model.requires_grad_(False)
    start = torch.randn(8, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()

    def loss(free):
        frame = torch.linalg.qr(free).Q
        swap = lambda x, s: x + (s - x) @ frame @ frame.T  # noqa: E731
        return made.run(torch.arange(3), swap, "both")[1]

    assert torch.autograd.gradcheck(loss, (start,), eps=1e-6, atol=1e-6)


def test_what_cannot_be_aligned_is_said_in_a_sentence_and_the_subject_is_left_as_it_was(texts, as_in_a_script):
    model, (base, source) = loud_transformer(), texts
    model.train()
    hook, targets = "blocks.0.hook_resid_post", base.tokens
    last = torch.full_like(targets, -100)
    last[:, 2] = 1
    vectors = torch.zeros(3, 6, 9)
    shorter = dataclasses.replace(source, tokens=source.tokens[:, :5], mask=source.mask[:, :5])
    for change, expected in (
        ({"k": 9}, "there are not 9 directions"),
        ({"k": 0}, "k is 0"),
        ({"hook_name": "blocks.0.hook_resid"}, "no hook named"),
        ({"source": shorter}, "same number of tokens"),
        ({"targets": targets[:, :4]}, "targets are"),
        ({"targets": vectors}, "the targets are vectors"),
        ({"metric": lambda output: output.sum((1, 2))}, "must take the batch too"),
        ({"held_out": 0.01}, "0 of 3 pairs would be held out"),
        ({"beside": {"wide": Subspace.along(torch.ones(9))}}, "directions are of 9 numbers"),
        ({"at": 4, "targets": last}, "nothing leads from"),
        ({"at": 0}, "nothing but BOS and padding"),
    ):
        given = {"base": base, "source": source, "targets": targets, "hook_name": hook, "k": 1, "held_out": 0.4}
        with pytest.raises(ValueError, match=expected):
            fit_rotation(model, **given | change)
        assert model.training
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        assert not any(point.fwd_hooks for point in model.hook_dict.values())
