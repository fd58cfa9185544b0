"""Edits as hooks of any subject: they act where they were asked to, and later steps go on from them."""

import pytest
import torch

from models import (
    MLP,
    Dataset,
    EncoderDecoderTransformer,
    EncoderDecoderTransformerConfig,
    MLPConfig,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    Transformer,
    TransformerConfig,
)
from models.tasks import Copy
from probes import LogisticProbe
from probes.erasure import LEACE
from workbench.interventions import Subspace, add, edit_at, erase, project_out, set_to, swap
from workbench.interventions.many import Job, run_edited

D = 8
RESID, HEADS, STATE = "blocks.0.hook_resid_post", "blocks.0.attn.hook_z", "blocks.0.rnn.hook_h"


def loud(model):
    """Weights so large that every hook matters to the output."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.requires_grad_(False).eval()


def recurrent(cell="gru", **more):
    return loud(Recurrent(RecurrentConfig(cell=cell, d_model=D, d_vocab=20, **more)))


@pytest.fixture(scope="module")
def transformer():
    return loud(Transformer(TransformerConfig(n_layers=2, d_model=D, n_heads=2, d_mlp=16, n_ctx=10, d_vocab=20)))


@pytest.fixture(scope="module")
def dataset():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(10) < torch.tensor([10, 10, 7, 4])[:, None]
    tokens = torch.randint(1, 20, (4, 10), generator=generator) * mask
    tokens[:, 0] = 0
    return Dataset(tokens=tokens, mask=mask)


def subspace(d=D, k=1):
    return Subspace.along(torch.randn(k, d, generator=torch.Generator().manual_seed(5)))


def held(model, data, name, hooks=()):
    """What stands at a hook once the edits are in."""
    with model.hooks(fwd_hooks=list(hooks)):
        batch = data.batch(slice(None))
        batch.pop("targets", None)
        return model.run_with_cache(**batch, names_filter=name, return_type=None)[1][name]


SOURCE = Copy().dataset(20, 10)
SHAPE = {name: Copy().shape[name] for name in ("d_vocab", "d_vocab_source")}


def subjects():
    """A subject of each kind with a hook, its data, and where positions count."""
    vectors = Dataset(tokens=torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)))
    of_ten = Dataset(tokens=torch.cat([torch.zeros(4, 1, dtype=torch.int64), torch.arange(36).view(4, 9) % 20], 1))
    seq2seq = loud(Seq2Seq(Seq2SeqConfig(cell="gru", d_model=D, **SHAPE)))
    cfg = EncoderDecoderTransformerConfig(
        n_layers=1, d_model=D, n_heads=2, d_mlp=16, n_ctx=Copy().shape["n_ctx"], **SHAPE
    )
    yield "recurrent", recurrent(), of_ten, STATE
    yield "lstm's cell", recurrent("lstm"), of_ten, "blocks.0.rnn.hook_c"
    yield "mingru", recurrent("mingru"), of_ten, STATE
    yield "encoder", seq2seq, SOURCE, "encoder_blocks.0.rnn.hook_h"
    yield "decoder", seq2seq, SOURCE, "decoder_blocks.0.rnn.hook_h"
    yield "encoder-decoder", loud(EncoderDecoderTransformer(cfg)), SOURCE, "encoder_blocks.0.hook_resid_post"
    yield "perceptron", loud(MLP(MLPConfig(d_mlp=D, d_in=3, d_out=2))), vectors, "blocks.0.mlp.hook_post"
    once = loud(MLP(MLPConfig(d_mlp=D, d_vocab=20, d_model=4, n_ctx=10)))
    yield "perceptron over tokens", once, of_ten, "blocks.0.mlp.hook_post"


SUBJECTS = list(subjects())


def axis(model, hook):
    return model.position_axis(hook) if hasattr(model, "position_axis") else "target"


@pytest.mark.parametrize(("model", "data", "hook"), [s[1:] for s in SUBJECTS], ids=[s[0] for s in SUBJECTS])
def test_on_every_subject_an_edit_reads_as_it_was_written(model, data, hook):
    line, real = subspace(), data.on_axis(axis(model, hook)).counted
    clean = held(model, data, hook)
    made = held(model, data, hook, edit_at(model, data, hook, set_to(line, 2.5)))
    torch.testing.assert_close(line.coordinates(made[real]), torch.full((int(real.sum()), 1), 2.5))
    alone = ~real
    if "rnn" in hook:  # of a recurrence, padding comes after what was edited
        alone = alone & (torch.arange(real.shape[1]) == 0)
    assert torch.equal(made[alone], clean[alone])
    before, after = (run(model, data, edits) for edits in ((), edit_at(model, data, hook, add(line, 3.0))))
    assert (after - before).abs().max() > 1e-2
    same = run(model, data, edit_at(model, data, hook, add(line, 0.0)))
    torch.testing.assert_close(same, before, atol=1e-6, rtol=1e-5)


def run(model, data, hooks=()):
    batch = data.batch(slice(None))
    batch.pop("targets", None)
    return model.run_with_hooks(**batch, fwd_hooks=list(hooks))


def test_bos_and_padding_are_left_alone_unless_bos_is_asked_for(transformer, dataset):
    line = subspace()
    clean = held(transformer, dataset, RESID)
    for bos in (False, True):
        made = held(transformer, dataset, RESID, edit_at(transformer, dataset, RESID, add(line, 1.0), bos=bos))
        changed = (made != clean).any(-1)
        assert torch.equal(changed, dataset.mask if bos else dataset.counted)
    with pytest.raises(ValueError, match=r"nothing but BOS and padding .* \(bos=True edits BOS too\)"):
        edit_at(transformer, dataset, RESID, add(line, 1.0), at=0)
    assert edit_at(transformer, dataset, RESID, add(line, 1.0), at=0, bos=True)


def test_one_position_a_mask_of_positions_and_one_of_each_row(transformer, dataset):
    line, clean = subspace(), held(transformer, dataset, RESID)
    row = torch.tensor([True, True] + [False] * 4 + [True, False, False, True])
    each = torch.zeros(4, 10, dtype=torch.bool)
    each[0, 3] = each[2, 9] = each[3, 1] = True  # the second is padding
    for at, expected in ((3, torch.arange(10) == 3), (row, row), (each, each)):
        made = held(transformer, dataset, RESID, edit_at(transformer, dataset, RESID, add(line, 1.0), at=at))
        assert torch.equal((made != clean).any(-1), expected & dataset.counted)


def test_heads_are_edited_side_by_side(transformer, dataset):
    line = subspace(2 * (D // 2))
    clean = held(transformer, dataset, HEADS)
    made = held(transformer, dataset, HEADS, edit_at(transformer, dataset, HEADS, add(line, 1.0), at=5))
    assert clean.ndim == 4
    torch.testing.assert_close((made - clean)[0, 5].flatten(), line.write[0].float())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mingru"])
def test_at_a_step_of_a_recurrence_earlier_ones_are_untouched_and_later_ones_go_on_from_it(cell, dataset):
    model, line = recurrent(cell), subspace()
    hook = "blocks.0.rnn.hook_c" if cell == "lstm" else STATE
    first = Dataset(tokens=dataset.tokens[:2])
    clean = held(model, first, hook)
    hooks = edit_at(model, first, hook, add(line, 2.0), at=4)
    made = held(model, first, hook, hooks)
    assert torch.equal(made[:, :4], clean[:, :4])
    torch.testing.assert_close(made[:, 4], clean[:, 4] + 2 * line.write[0].float())
    by_hand = model.run_with_hooks(
        first.tokens,
        fwd_hooks=[(hook, lambda h, hook: h + 2 * line.write.float() if hook.ctx["t"] == 4 else None)],
    )
    torch.testing.assert_close(model.run_with_hooks(first.tokens, fwd_hooks=hooks), by_hand)
    assert (made[:, 5] - clean[:, 5]).abs().min() > 1e-4
    assert torch.equal(
        run(model, first, hooks)[:, :4], run(model, first, edit_at(model, first, hook, add(line, 0.0)))[:, :4]
    )


def test_editing_every_step_goes_on_from_every_edit(dataset):
    model, line = recurrent(), subspace()
    first = Dataset(tokens=dataset.tokens[:2])
    made = held(model, first, STATE, edit_at(model, first, STATE, set_to(line, 1.0)))
    state = None
    for t in range(10):
        _, state = model.run_steps(first.tokens[:, t : t + 1], state)
        if t:  # BOS is left as it is
            state = [(set_to(line, 1.0)(state[0][0]),)]
        torch.testing.assert_close(made[:, t], state[0][0])


def test_in_a_cell_that_runs_from_the_end_the_steps_before_it_go_on(dataset):
    model, line = recurrent(bidirectional=True), subspace()
    first, hook = Dataset(tokens=dataset.tokens[:2]), "blocks.0.rnn_reverse.hook_h"
    clean = held(model, first, hook)
    made = held(model, first, hook, edit_at(model, first, hook, add(line, 2.0), at=4))
    assert torch.equal(made[:, 5:], clean[:, 5:])
    assert (made[:, 3] - clean[:, 3]).abs().max() > 1e-3


def test_swapping_twice_at_one_hook_is_not_swapping(transformer, dataset):
    twice = edit_at(transformer, dataset, RESID, swap(subspace())) * 2
    torch.testing.assert_close(run(transformer, dataset, twice), run(transformer, dataset), atol=1e-4, rtol=1e-4)
    once = run(transformer, dataset, twice[:1])
    assert (once - run(transformer, dataset)).abs().max() > 1e-2


def test_after_swapping_each_row_reads_as_the_other_class(transformer, dataset):
    rows = held(transformer, dataset, RESID)[dataset.counted]
    labels = dataset.tokens[dataset.counted] > 10
    probe = LogisticProbe(C=100.0).fit(rows, labels)
    hooks = edit_at(transformer, dataset, RESID, swap(Subspace.of_probe(probe)))
    after = held(transformer, dataset, RESID, hooks)[dataset.counted]
    assert torch.equal(probe.predict(after), ~probe.predict(rows))


def test_what_leace_erased_in_the_subject_no_refitted_probe_can_read(dataset):
    """The theorem, on what stands at the hook: the loss of the best linear probe is the constant's."""
    model = recurrent(dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(1, 20, (30, 10), generator=generator)
    tokens[:, 0] = 0
    data = Dataset(tokens=tokens)
    hook = "blocks.0.hook_out"  # not within the recurrence: erasing at a step changes the states that come after it
    rows, labels = held(model, data, hook)[data.counted], (tokens > 10)[data.counted]
    hooks = edit_at(model, data, hook, erase(LEACE().fit(rows, labels).eraser_))
    erased = held(model, data, hook, hooks)[data.counted]

    def loss(x):
        p = LogisticProbe(C=1e6, tol=1e-8).fit(x, labels).predict_proba(x)[:, 1]
        return torch.nn.functional.binary_cross_entropy(p, labels.double()).item()

    share = labels.double().mean()
    constant = -(share * share.log() + (1 - share) * (1 - share).log()).item()
    assert loss(erased) == pytest.approx(constant, abs=1e-6)
    assert loss(rows) < constant - 0.05
    assert (run(model, data, hooks) - run(model, data)).abs().max() > 1e-3


def test_what_a_subject_goes_on_to_say_is_edited_too(transformer, dataset):
    first = Dataset(tokens=dataset.tokens[:2, :4])
    with transformer.hooks(fwd_hooks=edit_at(transformer, first, RESID, add(subspace(), 6.0))):
        tokens = transformer.generate(first.tokens, max_new=4)
    logits = run(transformer, Dataset(tokens=tokens), edit_at(transformer, tokens, RESID, add(subspace(), 6.0)))
    assert torch.equal(logits[:, 3:-1].argmax(-1), tokens[:, 4:])
    assert not torch.equal(transformer(tokens)[:, 3:-1].argmax(-1), tokens[:, 4:])


@pytest.mark.parametrize("at", [None, 3], ids=["everywhere", "at a position"])
def test_what_follows_a_short_prompt_is_edited_as_if_it_stood_alone(transformer, dataset, at):
    lengths = torch.tensor([6, 3])
    mask = torch.arange(6) < lengths[:, None]
    both = Dataset(dataset.tokens[:2, :6] * mask, mask)
    steered = add(subspace(), 6.0)
    where = None if at is None else torch.arange(6).eq(at)
    for model, hook in ((transformer, RESID), (recurrent(), STATE)):
        with model.hooks(fwd_hooks=edit_at(model, both, hook, steered, where)):
            together = model.generate(both.tokens, 4, mask=mask)
        for row, length in zip(together, lengths.tolist(), strict=True):
            alone = Dataset(both.tokens[:1, :length] * 0 + row[None, :length])
            # Of a prompt that ends before it, the position is not the prompt's, and nobody asked for it.
            edits = edit_at(model, alone, hook, steered, at) if at is None or at < length else []
            with model.hooks(fwd_hooks=edits):
                assert torch.equal(row[: length + 4], model.generate(alone.tokens, 4)[0])
            if at is None:
                assert not torch.equal(row[: length + 4], model.generate(alone.tokens, 4)[0])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_flow_through_an_edit_into_the_steps_before(cell, dataset):
    model = recurrent(cell, dtype=torch.float64)
    first = Dataset(tokens=dataset.tokens[:2, :5])
    edits = edit_at(model, first, STATE, project_out(subspace(k=2)), at=3)

    def output(embedded):
        return model.run_with_hooks(first.tokens, fwd_hooks=[("hook_embed", lambda _, hook: embedded), *edits])

    embedded = held(model, first, "hook_embed").clone().requires_grad_()
    assert torch.autograd.gradcheck(output, (embedded,), eps=1e-6, atol=1e-6, fast_mode=True)
    assert torch.autograd.grad(output(embedded)[:, 4].sum(), embedded)[0][:, 1].abs().max() > 1e-8


def test_many_edits_in_one_pass_are_those_edits_one_by_one(dataset):
    model, line = recurrent("lstm"), subspace()
    other = subspace(k=2)
    masks = [dataset.counted, torch.arange(10).eq(6) & dataset.counted, torch.arange(10).eq(2) & dataset.counted]
    jobs = [Job(edit, where) for where in masks for edit in (None, add(line, 2.0), project_out(other))]

    def last(one):
        return one.output[:, -1].clone()

    for batch_size in (1, 3, 100):
        found = run_edited(model, dataset, STATE, jobs, last, batch_size=batch_size)
        assert len(found.seq) == 3 * 4 + 3 * 3 + 3 * 4  # the shortest sequence has no position 6
        for number, job in enumerate(jobs):
            hooks = [] if job.edit is None else edit_at(model, dataset, STATE, job.edit, at=job.where)
            mine = found.job == number
            alone = run(model, dataset, hooks)[:, -1][found.seq[mine]]
            torch.testing.assert_close(found.values[mine], alone, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_edited_is_refused_and_the_subject_is_as_it_was(transformer, dataset):
    line, narrow = subspace(), subspace(5)
    transformer.hook_dict[RESID].add_hook(lambda value, hook: None)  # somebody's own
    clean = run(transformer, dataset)
    weights = [parameter.clone() for parameter in transformer.parameters()]
    with pytest.raises(ValueError, match=r"no hook named 'blocks.0.hook_resid_pos': did you mean"):
        edit_at(transformer, dataset, "blocks.0.hook_resid_pos", add(line, 1.0))
    with pytest.raises(ValueError, match="no position 10: they are numbered 0 to 9"):
        edit_at(transformer, dataset, RESID, add(line, 1.0), at=10)
    with pytest.raises(ValueError, match="no position -1"):
        edit_at(transformer, dataset, RESID, add(line, 1.0), at=-1)
    with pytest.raises(ValueError, match=r"a mask of shape \(4,\) does not fit 4 sequences of 10 positions"):
        edit_at(transformer, dataset, RESID, add(line, 1.0), at=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"nothing but BOS and padding at the positions that were chosen\.$"):
        edit_at(transformer, dataset, RESID, add(line, 1.0), at=dataset.mask.logical_not())
    with pytest.raises(ValueError, match="the directions are of 5 numbers, but a position here has 8"):
        run(transformer, dataset, edit_at(transformer, dataset, RESID, add(narrow, 1.0)))
    with pytest.raises(ValueError, match="made for 4 sequences, but the model is run on 2"):
        transformer.run_with_hooks(dataset.tokens[:2], fwd_hooks=edit_at(transformer, dataset, RESID, add(line, 1.0)))
    transformer.train()
    with pytest.raises(ValueError, match="the directions are of 5 numbers"):
        run_edited(transformer, dataset, RESID, [Job(add(narrow, 1.0), dataset.counted)], lambda one: one.output)
    assert transformer.training
    transformer.eval()
    assert sum(len(point.fwd_hooks) for point in transformer.hook_dict.values()) == 1
    assert torch.equal(run(transformer, dataset), clean)
    assert all(torch.equal(a, b) for a, b in zip(weights, transformer.parameters(), strict=True))
    transformer.reset_hooks()
