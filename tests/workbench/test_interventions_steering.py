"""Steering: what is said under an edit is what a subject run by hand under it would say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from models import MLP, Dataset, MLPConfig, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from workbench.interventions import Edit, Subspace, add, set_to
from workbench.interventions.steering import COLUMNS, steer, steerable, steering_direction, steering_effects

D, VOCAB, NEW = 12, 20, 5
RESID, STATE = "blocks.0.hook_resid_post", "blocks.0.rnn.hook_h"


def loud(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.6 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False)


SUBJECTS = [
    pytest.param(
        loud(Transformer(TransformerConfig(n_layers=2, d_model=D, n_heads=2, d_mlp=16, n_ctx=16, d_vocab=VOCAB))),
        RESID,
        id="transformer",
    ),
    pytest.param(loud(Recurrent(RecurrentConfig(cell="gru", d_model=D, d_vocab=VOCAB))), STATE, id="gru"),
]


@pytest.fixture
def prompts():
    """Of four, six and three tokens."""
    mask = torch.arange(6) < torch.tensor([4, 6, 3])[:, None]
    tokens = torch.randint(1, VOCAB, (3, 6), generator=torch.Generator().manual_seed(0)) * mask
    tokens[:, 0] = 0
    return Dataset(tokens=tokens, mask=mask)


@pytest.fixture
def line():
    return Subspace.along(torch.randn(D, generator=torch.Generator().manual_seed(5)))


def by_hand(model, hook_name, prompt, vector, first=1):
    """Greedily, every token from a run over all before it; from position `first` on the vector is added."""

    def edit(value, hook):
        if "t" in hook.ctx:
            return value + vector if hook.ctx["t"] >= first else None
        return torch.cat([value[:, :first], value[:, first:] + vector], 1)

    tokens = prompt.tolist()
    with torch.no_grad():
        for _ in range(NEW):
            logits = model.run_with_hooks(torch.tensor([tokens]), fwd_hooks=[(hook_name, edit)])
            tokens.append(int(logits[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize(("model", "hook"), SUBJECTS)
@pytest.mark.parametrize("prompt_too", [True, False])
def test_a_steered_text_is_that_of_a_subject_edited_by_hand_at_every_position(model, hook, prompt_too, prompts, line):
    table = steer(model, prompts, {"a": add(line, 2.0)}, hook, max_new=NEW, prompt_too=prompt_too, n_controls=1)
    vector, apart = 2 * line.write[0].float(), 0
    for i, row in enumerate(prompts.tokens):
        prompt = row[prompts.mask[i]]
        said = table[table["sequence"] == i].set_index("variant")["tokens"]
        assert said["unsteered"] == by_hand(model, hook, prompt, 0 * vector)
        assert said["steered"] == by_hand(model, hook, prompt, vector, 1 if prompt_too else len(prompt))
        apart += said["steered"] != said["unsteered"]
        assert prompt_too or said["steered"][0] == said["unsteered"][0]  # it is said before anything is edited
    assert apart
    assert list(table.columns) == list(COLUMNS)
    assert table["variant"].value_counts().to_dict() == {"unsteered": 3, "steered": 3, "random direction": 3}


@pytest.mark.parametrize(("model", "hook"), SUBJECTS)
def test_texts_are_drawn_alike_whatever_the_edit_and_whatever_shares_their_batch(model, hook, prompts, line):
    how = {"max_new": NEW, "n_controls": 2, "temperature": 1.0, "top_p": 0.95, "seed": 3}
    edits = {"none": add(line, 0.0), "some": add(line, 2.0)}
    table = steer(model, prompts, edits, hook, **how)
    unsteered = table.loc[table["variant"] == "unsteered", "tokens"].tolist()
    for variant, of in table[table["edit"] == "none"].groupby(["variant", "seed"], dropna=False):
        assert of["tokens"].tolist() == unsteered, variant
    assert table.loc[table["edit"] == "some", "tokens"].tolist()[:3] != unsteered
    alone = steer(model, prompts, edits, hook, **how, batch_size=2)
    assert alone["tokens"].tolist() == table["tokens"].tolist()
    np.testing.assert_allclose(alone["loss"], table["loss"], rtol=1e-4)
    assert steer(model, prompts, edits, hook, **how | {"seed": 4})["tokens"].tolist()[:3] != unsteered


@pytest.mark.parametrize(("model", "hook"), SUBJECTS)
def test_the_loss_is_what_the_unedited_subject_makes_of_the_new_tokens_alone(model, hook, prompts, line):
    table = steer(model, prompts, add(line, 3.0), hook, max_new=NEW, n_controls=1)
    for row in table.itertuples():
        prompt = prompts.tokens[row.sequence][prompts.mask[row.sequence]]
        whole = torch.cat([prompt, torch.tensor(row.tokens)])
        shares = model(whole[None]).detach()[0].log_softmax(-1)
        at = torch.arange(len(prompt), len(whole))
        expected = -shares[at - 1, whole[at]].mean()
        assert row.loss == pytest.approx(float(expected), rel=1e-4)
        assert row.perplexity == pytest.approx(math.exp(expected), rel=1e-4)


def test_along_a_tokens_own_direction_it_is_said_and_along_random_ones_it_is_not():
    """Of a subject whose read-out is orthonormal and that has nothing else to say."""
    model = Transformer(TransformerConfig(n_layers=1, d_model=32, n_heads=2, d_mlp=16, n_ctx=16, d_vocab=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.05)
        model.ln_final.w.fill_(1.0)
        model.unembed.W_U.copy_(torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).Q)
    edits = {"7": add(Subspace.along(model.unembed.W_U[:, 7]), 5.0)}
    prompts = torch.tensor([[0, 3, 4], [0, 9, 1]])
    table = steer(model, prompts, edits, RESID, max_new=4, n_controls=3, score=lambda new: (new == 7).double().mean())
    effects = steering_effects(table).query("measure == 'score'").set_index("variant")["effect"]
    assert effects["steered"] == 1
    assert (effects["random direction"] <= 0.25).all()


def test_a_text_ends_at_eos_and_only_its_own_tokens_count(prompts, line):
    model, hook = SUBJECTS[0].values
    free = steer(model, prompts, add(line, 2.0), hook, max_new=NEW, n_controls=0)
    eos = free["tokens"][0][2]
    ended = steer(model, prompts, add(line, 2.0), hook, max_new=NEW, n_controls=0, eos=eos)
    for long, short in zip(free["tokens"], ended["tokens"], strict=True):
        assert short == (long[: long.index(eos) + 1] if eos in long else long)
    assert ended["text"][0] == " ".join(map(str, ended["tokens"][0]))


@pytest.mark.parametrize(("model", "hook"), SUBJECTS)
def test_a_steering_direction_goes_from_one_mean_to_the_other(model, hook, prompts):
    others = torch.randint(1, VOCAB, (4, 5), generator=torch.Generator().manual_seed(8))
    others[:, 0] = 0

    def rows(data, last):
        _, cache = model.run_with_cache(data.tokens, mask=data.mask, names_filter=hook)
        kept = [row[mask][-1:] if last else row[mask][1:] for row, mask in zip(cache[hook], data.mask, strict=True)]
        return torch.cat(kept).double().mean(0)

    for last in (False, True):
        direction = steering_direction(model, others, prompts, hook, last=last, batch_size=2)
        start, end = rows(prompts, last), rows(Dataset(tokens=others), last)
        torch.testing.assert_close(add(direction, 1.0)(start[None])[0], end)
        torch.testing.assert_close(
            direction.coordinates(torch.stack([start, end]))[:, 0], torch.tensor([-0.5, 0.5]).double()
        )


def test_effects_are_differences_from_the_unsteered_text_of_the_same_prompt():
    lines = [("unsteered", "", 0.0, pd.NA), ("steered", "a", 2.0, pd.NA), ("random direction", "a", 2.0, 0)]
    texts = pd.DataFrame(
        [
            {"hook": "h", "sequence": i, "edit": edit, "kind": "add", "strength": strength, "variant": variant}
            | {"seed": seed, "loss": 1.0 + i + 3 * (variant == "steered"), "score": math.nan}
            for variant, edit, strength, seed in lines
            for i in (1, 0)
        ]
    )
    effects = steering_effects(texts).set_index("variant")
    assert effects["measure"].eq("loss").all()
    assert effects.loc["steered", ["value", "unsteered", "effect", "effect_low", "effect_high"]].tolist() == [
        *(4.5, 1.5, 3.0, 3.0, 3.0)
    ]
    assert effects.loc["random direction", "effect"] == 0
    assert effects.loc["steered", ["low", "high"]].tolist() == [4.0, 5.0]


def test_what_cannot_be_steered_is_said_in_a_sentence_and_the_subject_is_left_as_it_was(prompts, line, as_in_a_script):
    model, hook = SUBJECTS[0].values
    model.train()
    wide, nothing = Subspace.along(torch.ones(D + 1)), Edit("mine", 1.0, line, lambda c: c * torch.nan)
    for edits, where, more, expected in (
        ({}, hook, {}, "no edits were given"),
        (add(line, 1.0), "blocks.0.hook_resid_pots", {}, "no hook named"),
        (set_to(wide, 1.0), hook, {}, f"directions are of {D + 1} numbers"),
        (nothing, hook, {}, f"an edit made NaN or infinite values at {hook}"),
        (add(line, 1.0), hook, {"score": lambda new: math.nan}, "the score is NaN or infinite"),
        (add(line, 1.0), hook, {"max_new": 0}, "max_new is 0"),
        (add(line, 1.0), hook, {"max_new": 11}, "more than the 16 positions"),
    ):
        with pytest.raises(ValueError, match=expected):
            steer(model, prompts, edits, where, **{"n_controls": 0, "max_new": NEW} | more)
        assert model.training
        assert not any(point.fwd_hooks or "offset" in point.ctx for point in model.hook_dict.values())
    with pytest.raises(ValueError, match="a MLP does not go on from prompts"):
        steer(MLP(MLPConfig(d_mlp=D, d_in=3, d_out=2)), torch.zeros(2, 4, 3), add(line, 1.0), "blocks.0.mlp.hook_post")
    with pytest.raises(ValueError, match="no positions but BOS"):
        steering_direction(model, prompts, torch.zeros(2, 1).long(), hook)


def test_hooks_that_can_be_steered_are_told_with_their_widths_and_the_subject_is_left_as_it_was():
    cfg = TransformerConfig(n_layers=1, d_model=8, n_heads=2, d_mlp=12, n_ctx=8, d_vocab=11)
    model = Transformer(cfg).train()
    found = steerable(model)
    assert found["blocks.0.hook_resid_post"] == 8
    assert found["blocks.0.mlp.hook_post"] == 12
    assert not [name for name in found if name.endswith(("hook_z", "hook_pattern", "hook_scale"))]
    assert model.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    for name, width in found.items():
        texts = steer(
            model, torch.zeros(1, 3, dtype=torch.long), add(Subspace.along(torch.ones(width)), 1.0), name, max_new=2
        )
        assert set(texts["variant"]) == {"unsteered", "steered", "random direction"}
