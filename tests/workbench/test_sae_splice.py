"""An SAE spliced into a subject: what the error term keeps, what an edit of latents changes, and where nothing may."""

import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig
from models.tasks import Copy
from workbench.sae import SAEConfig, build_sae
from workbench.sae.splice import ablate_latents, clamp_latents, splice, steer

HOOK, HEADS, OUT = "blocks.0.mlp.hook_post", "blocks.0.attn.hook_z", "blocks.0.hook_mlp_out"
D_MLP, D_MODEL, D_SAE, K = 16, 8, 24, 4
ARCHITECTURES = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk")


def loud(model):
    """Weights so large that every hook matters to the output."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return loud(Transformer(TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=D_MLP, n_ctx=10, d_vocab=20)))


@pytest.fixture(scope="module")
def dataset():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(10) < torch.tensor([10, 10, 7, 4, 1])[:, None]
    tokens = torch.randint(1, 20, (5, 10), generator=generator) * mask
    tokens[:, 0] = 0
    return Dataset(tokens=tokens, mask=mask)


def make(d_in=D_MLP, hook=HOOK, architecture="topk", **more):
    k = K if architecture in ("topk", "batchtopk", "matryoshka_batchtopk") else None
    cfg = SAEConfig(d_in=d_in, d_sae=D_SAE, k=k, architecture=architecture, hook_name=hook, **more)
    sae = build_sae(cfg).requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    sae.b_dec.copy_(torch.randn(sae.b_dec.shape, generator=generator))
    if sae.W_skip is not None:
        sae.W_skip.copy_(torch.randn(sae.W_skip.shape, generator=generator))
    return sae


def transcoder():
    return make(hook_name_out=OUT, d_out=D_MODEL, skip=True)


def crosscoder():
    return make(D_MODEL, "", n_layers=2, hook_names=(OUT, "blocks.1.hook_mlp_out"))


def loss(model, dataset, hooks=()):
    batch = dataset.batch(slice(None))
    return model.run_with_hooks(**batch, return_type="loss", fwd_hooks=list(hooks)).item()


def held(model, dataset, name, hooks=()):
    """What stands at a hook once the splice is in."""
    found = []
    model.run_with_hooks(dataset.tokens, fwd_hooks=[*hooks, (name, lambda value, hook: found.append(value))])
    return found[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_with_its_error_term_a_splice_changes_nothing(model, dataset, architecture):
    sae = make(architecture=architecture)
    clean = loss(model, dataset)
    assert loss(model, dataset, splice(model, sae, dataset, error_term=True).hooks) == pytest.approx(clean, abs=1e-5)
    assert loss(model, dataset, splice(model, sae, dataset).hooks) != pytest.approx(clean, abs=1e-3)


@pytest.mark.parametrize("sae", [transcoder(), crosscoder(), make(8, HEADS)], ids=["transcoder", "crosscoder", "heads"])
def test_nor_does_one_of_another_kind_or_of_heads(model, dataset, sae):
    clean = loss(model, dataset)
    assert loss(model, dataset, splice(model, sae, dataset, error_term=True).hooks) == pytest.approx(clean, abs=1e-5)
    assert loss(model, dataset, splice(model, sae, dataset).hooks) != pytest.approx(clean, abs=1e-3)


def test_nor_in_a_recurrence_or_an_encoder(dataset):
    state = "blocks.0.rnn.hook_h"
    subject = loud(Recurrent(RecurrentConfig(cell="gru", d_model=8, d_vocab=20)))
    task = Copy()
    shape = {name: task.shape[name] for name in ("d_vocab", "d_vocab_source")}
    answering = loud(Seq2Seq(Seq2SeqConfig(cell="gru", d_model=8, **shape)))
    for a_model, data, hook in (
        (subject, dataset, state),
        (answering, task.dataset(20, 10), "encoder_blocks.0.rnn.hook_h"),
        (answering, task.dataset(20, 10), "decoder_blocks.0.rnn.hook_h"),
    ):
        sae = make(8, hook)
        clean = loss(a_model, data)
        kept = splice(a_model, sae, data, error_term=True)
        assert loss(a_model, data, kept.hooks) == pytest.approx(clean, abs=1e-5)
        assert loss(a_model, data, splice(a_model, sae, data).hooks) != pytest.approx(clean, abs=1e-3)
        n = int(data.on_axis("source" if hook.startswith("encoder") else "target").counted.sum())
        assert sum(len(codes.l0()) for codes in kept.codes) == n


def test_without_edits_the_reconstruction_stands_there_and_nowhere_else(model, dataset):
    sae, clean = make(), held(model, dataset, HOOK)
    made = held(model, dataset, HOOK, splice(model, sae, dataset).hooks)
    torch.testing.assert_close(made[dataset.counted], sae(clean[dataset.counted]))
    assert torch.equal(made[~dataset.counted], clean[~dataset.counted])
    nothing = held(model, dataset, HOOK, splice(model, sae, dataset, edits=[ablate_latents([])]).hooks)
    assert torch.equal(nothing, made)


def test_a_transcoder_writes_what_it_makes_of_what_it_reads(model, dataset):
    sae, read = transcoder(), held(model, dataset, HOOK)
    made = held(model, dataset, OUT, splice(model, sae, dataset).hooks)
    torch.testing.assert_close(made[dataset.counted], sae(read[dataset.counted]))
    assert torch.equal(held(model, dataset, HOOK, splice(model, sae, dataset).hooks), read)


@pytest.mark.parametrize("sae", [make(), transcoder()], ids=["sae", "transcoder"])
def test_ablating_all_latents_leaves_the_bias_and_the_error(model, dataset, sae):
    hook = OUT if sae.cfg.d_out else HOOK
    read, clean = held(model, dataset, HOOK)[dataset.counted], held(model, dataset, hook)[dataset.counted]
    spliced = splice(model, sae, dataset, edits=[ablate_latents(range(D_SAE))], error_term=True)
    made = held(model, dataset, hook, spliced.hooks)[dataset.counted]
    rest = sae.b_dec if sae.W_skip is None else sae.b_dec + read @ sae.W_skip.T
    torch.testing.assert_close(made, clean - sae(read) + rest, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("error_term", [False, True])
def test_edits_are_those_of_the_dense_code_one_after_the_other(model, dataset, error_term):
    sae, clean = make(), held(model, dataset, HOOK)
    x = clean[dataset.counted]
    f = sae.encode(x)
    a, b, c, d = (f > 0).sum(0).topk(4).indices.tolist()
    assert (f[:, [a, b, c, d]] > 0).any(0).all()
    edits = [clamp_latents({a: 5.0, b: 0.5}), ablate_latents([a, c], at=2), steer(d, -2.0), steer(d, 1.0, at=4)]
    made = held(model, dataset, HOOK, splice(model, sae, dataset, edits=edits, error_term=error_term).hooks)
    pos = dataset.counted.nonzero()[:, 1]
    f[:, a], f[:, b] = 5.0, 0.5
    f[(pos == 2)[:, None] & torch.isin(torch.arange(D_SAE), torch.tensor([a, c]))] = 0
    f[:, d] -= 2
    f[pos == 4, d] += 1
    expected = sae.decode(f) + (x - sae(x) if error_term else 0)
    torch.testing.assert_close(made[dataset.counted], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(made[~dataset.counted], clean[~dataset.counted])


def test_steering_adds_the_decoder_row(model, dataset):
    sae, clean = make(), held(model, dataset, HOOK)
    row = torch.zeros(10, dtype=torch.bool)
    row[[0, 3]] = True
    spliced = splice(model, sae, dataset, edits=[steer(5, 2.5)], at=row, error_term=True)
    added = held(model, dataset, HOOK, spliced.hooks) - clean
    expected = (row & dataset.counted)[..., None] * 2.5 * sae.W_dec[5]  # BOS, position 0, is never spliced
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=1e-5)
    assert expected.any()


def test_a_mask_may_differ_from_sequence_to_sequence(model, dataset):
    where = torch.zeros(5, 10, dtype=torch.bool)
    where[1, 4] = where[2, 9] = True  # the second is padding
    spliced = splice(model, make(), dataset, at=where, edits=[steer(5, 2.5, at=where)])
    changed = (held(model, dataset, HOOK, spliced.hooks) != held(model, dataset, HOOK)).any(-1)
    assert changed.nonzero().tolist() == [[1, 4]]


def test_one_step_of_a_recurrence_is_spliced_and_the_later_ones_go_on_from_it(dataset):
    hook, sae = "blocks.0.rnn.hook_h", make(8, "blocks.0.rnn.hook_h")
    subject = loud(Recurrent(RecurrentConfig(cell="gru", d_model=8, d_vocab=20)))
    first = Dataset(tokens=dataset.tokens[:2])
    _, clean = subject.run_with_cache(first.tokens)
    with subject.hooks(fwd_hooks=splice(subject, sae, first, at=3).hooks):
        _, spliced = subject.run_with_cache(first.tokens)
    assert torch.equal(spliced[hook][:, :3], clean[hook][:, :3])
    torch.testing.assert_close(spliced[hook][:, 3], sae(clean[hook][:, 3]))
    by_hand = subject.run_with_hooks(
        first.tokens, fwd_hooks=[(hook, lambda h, hook: sae(h[:, 0])[:, None] if hook.ctx["t"] == 3 else h)]
    )
    torch.testing.assert_close(
        subject.run_with_hooks(first.tokens, fwd_hooks=splice(subject, sae, first, at=3).hooks), by_hand
    )
    assert not torch.allclose(spliced[hook][:, 4:], clean[hook][:, 4:], atol=1e-3)


def test_what_is_generated_is_spliced_too(model, dataset):
    first = Dataset(tokens=dataset.tokens[:2, :4])
    spliced = splice(model, make(), first, edits=[steer(5, 20.0)], error_term=True)
    with model.hooks(fwd_hooks=spliced.hooks):
        tokens = model.generate(first.tokens, max_new=4)
    whole = Dataset(tokens=tokens)
    again = splice(model, make(), whole, edits=[steer(5, 20.0)], error_term=True)
    logits = model.run_with_hooks(tokens, fwd_hooks=again.hooks)
    assert torch.equal(logits[:, 3:-1].argmax(-1), tokens[:, 4:])
    assert not torch.equal(model(tokens)[:, 3:-1].argmax(-1), tokens[:, 4:])


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_gradients_pass_through_the_splice(dataset, architecture):
    """Of the output in the value that the SAE reads, and in its weights, in double precision."""
    cfg = TransformerConfig(n_layers=1, d_model=4, n_heads=1, d_mlp=6, n_ctx=4, d_vocab=5, dtype=torch.float64)
    subject = loud(Transformer(cfg).double())
    data = Dataset(tokens=torch.tensor([[0, 1, 2, 3]]))
    sae = make(6, architecture=architecture, dtype="float64").requires_grad_(True)
    value = held(subject, data, HOOK).clone().requires_grad_()
    readers = dict(sae.named_parameters())
    readers.pop("threshold", None)  # the jump itself has no derivative outside training

    def output(value, *_):
        hooks = [(HOOK, lambda _, hook: value), *splice(subject, sae, data).hooks]
        return subject.run_with_hooks(data.tokens, fwd_hooks=hooks)

    assert torch.autograd.gradcheck(output, (value, *readers.values()), eps=1e-7, atol=1e-5, fast_mode=True)
    grad = torch.autograd.grad(output(value).square().sum(), value)[0]
    assert grad[0, 0].abs().sum() > 0  # BOS is not spliced: its gradient goes straight on
    assert grad[0, 1:].abs().sum() > 0


@pytest.mark.parametrize("sae", [make(), transcoder(), crosscoder()], ids=["sae", "transcoder", "crosscoder"])
def test_the_gradient_of_a_code_is_what_steering_its_latent_does(model, dataset, sae):
    """With the error kept the subject is at its own point, and the codes' gradients are its own there."""
    whole = Dataset(tokens=dataset.tokens[:2])
    spliced = splice(model, sae, whole, error_term=True, gradients=True)
    model.run_with_hooks(whole.tokens, return_type="loss", fwd_hooks=spliced.hooks).backward()
    (codes,) = spliced.codes
    grad = type(codes)(codes.values.grad, *codes[1:]).to_dense(D_SAE)
    assert grad.abs().max() > 1e-3
    latent = int(grad.abs().sum(0).argmax())
    active = codes.to_dense(D_SAE)[:, latent] > 0
    where = torch.zeros(2, 10, dtype=torch.bool)
    where[whole.counted] = active

    def moved(by):
        return loss(model, whole, splice(model, sae, whole, edits=[steer(latent, by, where)], error_term=True).hooks)

    slope = (moved(1e-2) - moved(-1e-2)) / 2e-2
    assert grad[:, latent].sum().item() == pytest.approx(slope, rel=2e-2, abs=1e-4)


def test_what_cannot_be_spliced_is_refused_in_one_sentence(model, dataset):
    sae = make()
    with pytest.raises(ValueError, match="no latent 24: they are numbered 0 to 23"):
        splice(model, sae, dataset, edits=[ablate_latents([24])])
    with pytest.raises(ValueError, match="strength is nan: it must be a finite number"):
        steer(3, float("nan"))
    with pytest.raises(ValueError, match="no position 10: they are numbered 0 to 9"):
        splice(model, sae, dataset, at=10)
    with pytest.raises(ValueError, match=r"a mask of shape \(4,\) does not fit 5 sequences of 10 positions"):
        splice(model, sae, dataset, edits=[steer(1, 1.0, at=torch.ones(4, dtype=torch.bool))])
    with pytest.raises(ValueError, match="made for 5 sequences, but the model is run on 2"):
        model.run_with_hooks(dataset.tokens[:2], fwd_hooks=splice(model, sae, dataset).hooks)
    backwards = make(D_MODEL, OUT, d_out=D_MLP, hook_name_out=HOOK)
    with pytest.raises(ValueError, match=f"{HOOK} comes before {OUT}"):
        model.run_with_hooks(dataset.tokens, fwd_hooks=splice(model, backwards, dataset).hooks)
    with pytest.raises(ValueError, match="this crosscoder names no hooks"):
        splice(model, make(D_MODEL, "", n_layers=2), dataset)
    with pytest.raises(ValueError, match=f"reads {HOOK} of 2 subjects: it cannot stand in the place of one's"):
        splice(model, make(D_MLP, "", n_layers=2, hook_names=(HOOK, HOOK)), dataset)
    with pytest.raises(ValueError, match="a transcoder names its hooks itself"):
        splice(model, transcoder(), dataset, hook_name=HOOK)
