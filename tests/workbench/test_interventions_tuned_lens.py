"""The tuned lens: an affine map of each layer, learned against what the subject says in the end."""

import json

import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from workbench.interventions import reading_out
from workbench.interventions.logit_lens import logit_lens, read_outs
from workbench.interventions.reading_out import read_out_of
from workbench.interventions.tuned_lens import TunedLens

D_VOCAB = 12
FIRST, LAST = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"


def loud(model, scale=0.4):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def model():
    return loud(Transformer(TransformerConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=8, d_vocab=D_VOCAB)))


def tokens(n, seed, length=8):
    return torch.randint(0, D_VOCAB, (n, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def lens(model):
    return TunedLens.fit(model, tokens(64, seed=0), n_steps=80, lr=2e-2)


def kl(table, variant):
    lines = table[(table["variant"] == variant) & (table["measure"] == "kl")]
    return lines.set_index("hook")["value"]


def test_it_is_nearer_to_the_final_logits_on_text_it_has_not_seen(model, lens):
    held_out = tokens(40, seed=1)
    found = logit_lens(model, held_out, lens=lens)
    plain, tuned = kl(found, "logit lens"), kl(found, "tuned lens")
    assert len(tuned) == 3
    assert (tuned.iloc[:-1] < 0.8 * plain.iloc[:-1]).all()
    assert tuned.iloc[-1] == plain.iloc[-1] == pytest.approx(0, abs=1e-6)
    assert (lens.kl[-10:].mean(0) < lens.kl[:3].mean(0)).all()


@pytest.mark.usefixtures("as_in_a_script")
def test_one_of_shuffled_pairs_is_no_better_than_what_is_said_on_average(model, lens):
    held_out = tokens(40, seed=1)
    shuffled = TunedLens.fit(model, tokens(64, seed=0), n_steps=150, lr=2e-2, shuffled=True)
    own = model(held_out)[:, :-1].flatten(0, 1).double().softmax(-1)
    average = (own * (own / own.mean(0)).log()).sum(-1).mean()
    control = kl(logit_lens(model, held_out, lens=shuffled), "tuned lens").iloc[:-1]
    assert (control > 0.95 * float(average)).all()
    assert (control > kl(logit_lens(model, held_out, lens=lens), "tuned lens").iloc[:-1]).all()


@pytest.fixture(scope="module")
def affine():
    """One token a sequence and no norm: attention can only look at itself, and what the block does is affine."""
    shape = {"n_layers": 1, "d_model": 8, "n_heads": 2, "n_ctx": 1, "d_vocab": D_VOCAB, "attn_only": True}
    model = loud(Transformer(TransformerConfig(normalization_type=None, **shape)), scale=0.3)
    data = torch.arange(D_VOCAB)[:, None]
    return model, Dataset(tokens=data, targets=(data + 1) % D_VOCAB)


@pytest.mark.usefixtures("as_in_a_script")
def test_what_is_affine_is_found(affine):
    model, data = affine
    attn = model.blocks[0].attn
    A = (attn.W_V @ attn.W_O).sum(0)
    b = torch.einsum("hd,hdm->m", attn.b_V, attn.W_O) + attn.b_O
    known = TunedLens((FIRST,), A[None], b[None], torch.zeros(1, 1))
    assert kl(logit_lens(model, data, lens=known), "tuned lens")[FIRST] == pytest.approx(0, abs=1e-6)
    found = TunedLens.fit(model, data, n_steps=150, lr=3e-2)
    table = logit_lens(model, data, lens=found)
    assert kl(table, "tuned lens")[FIRST] < 0.01 * kl(table, "logit lens")[FIRST]


def test_it_begins_as_the_logit_lens_and_its_gradient_is_autograds(affine):
    model, data = affine
    one_step = TunedLens.fit(model, data, n_steps=1, batch_size=12, lr=1e-9)
    assert float(one_step.kl[0, 0]) == pytest.approx(kl(logit_lens(model, data), "logit lens")[FIRST], abs=1e-6)
    A = torch.zeros(8, 8, requires_grad=True)
    read_out = read_out_of(model)
    _, cache = model.run_with_cache(data.tokens)
    before, after = cache[FIRST].flatten(0, 1), cache[LAST].flatten(0, 1)
    log_p, own = read_out(before + before @ A).log_softmax(-1), read_out(after).log_softmax(-1)
    torch.nn.functional.kl_div(log_p, own, log_target=True, reduction="batchmean").backward()
    # Adam's first step is the sign of the gradient.
    assert torch.equal(one_step.A[0].sign(), -A.grad.sign())


def test_gradients_that_are_made_a_few_rows_at_a_time_are_the_same(model, monkeypatch):
    whole = TunedLens.fit(model, tokens(20, seed=0), n_steps=3, batch_size=8)
    monkeypatch.setattr(reading_out, "_CPU_CHUNK", 5 * D_VOCAB)
    apart = TunedLens.fit(model, tokens(20, seed=0), n_steps=3, batch_size=8)
    assert torch.allclose(apart.kl, whole.kl, atol=1e-5)
    assert torch.allclose(apart.A, whole.A, atol=1e-4)


def test_the_subject_is_left_as_it_was(affine):
    model, data = affine
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.requires_grad_(True).train()
    TunedLens.fit(model, data, n_steps=3)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.requires_grad_(False).eval()


def test_a_seed_gives_one_lens(model):
    data = tokens(20, seed=0)
    one, same, other = (TunedLens.fit(model, data, n_steps=4, batch_size=6, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.A, same.A)
    assert not torch.equal(one.A, other.A)


def test_a_recurrent_layer_below_the_last():
    model = loud(Recurrent(RecurrentConfig(cell="gru", n_layers=2, d_model=12, d_vocab=D_VOCAB)))
    lens = TunedLens.fit(model, tokens(64, seed=0), n_steps=60, lr=1e-2)
    assert lens.hooks == ("blocks.0.hook_out",)
    found = logit_lens(model, tokens(30, seed=1), lens=lens)
    assert kl(found, "tuned lens").iloc[0] < 0.5 * kl(found, "logit lens").iloc[0]


def test_saved_and_loaded(model, lens, tmp_path):
    again = TunedLens.load(lens.save(tmp_path / "lens"))
    assert (again.hooks, again.settings, again.subject) == (lens.hooks, lens.settings, lens.subject)
    assert lens.settings["n_steps"] == 80
    ours, theirs = (read_outs(model, tokens(3, seed=2), lens=one)[1] for one in (lens, again))
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, read_outs(model, tokens(3, seed=2))[1], atol=0.1)


def test_damage_is_told(lens, tmp_path):
    with pytest.raises(ValueError, match=r"holds no tuned lens: it has no tuned_lens\.json"):
        TunedLens.load(tmp_path)
    folder = lens.save(tmp_path / "lens")
    config = json.loads((folder / "tuned_lens.json").read_text())
    (folder / "tuned_lens.json").write_text(json.dumps(config | {"hooks": ["blocks.0.hook_resid_pre"]}))
    with pytest.raises(ValueError, match="do not fit what is said of them"):
        TunedLens.load(folder)
    lens.save(folder)
    weights = folder / "tuned_lens.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ValueError, match="is damaged"):
        TunedLens.load(folder)


def test_bad_input(model, lens):
    recurrent = Recurrent(RecurrentConfig(cell="gru", d_model=12, d_vocab=D_VOCAB))
    data = tokens(4, seed=0)
    bad = [
        (lambda: TunedLens.fit(model, data, lr=0), "lr is 0"),
        (lambda: TunedLens.fit(model, data, n_steps=0), "n_steps is 0"),
        (lambda: TunedLens.fit(recurrent, data), "there is nothing to tune"),
        (lambda: logit_lens(recurrent, data, lens=lens), "the lens is of 16 numbers, but this subject reads out 12"),
        (lambda: logit_lens(model, data, hooks=["blocks.0.hook_resid_mid"], lens=lens), "was not fitted at"),
    ]
    for call, sentence in bad:
        with pytest.raises(ValueError, match=sentence):
            call()
