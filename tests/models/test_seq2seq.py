"""`Seq2Seq`: the papers' equations step by step, PyTorch on packed sequences, and alignments that can be edited."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models import (
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    TrainConfig,
    at_pos,
    load_model,
    replace_at,
    save_model,
    train,
)
from models.tasks.copying import Copy
from models.tasks.dyck import Dyck

D, VOCAB, SOURCE_VOCAB = 6, 9, 8
LENGTHS = torch.tensor([5, 3, 1])
MASK = torch.arange(5) < LENGTHS[:, None]
ATTENTIONS = ["none", "bahdanau", "luong_dot", "luong_general"]
CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
PATTERN = "attn.hook_pattern"

by_attention = pytest.mark.parametrize("attention", ATTENTIONS)
with_attention = pytest.mark.parametrize("attention", ATTENTIONS[1:])


def subject(**kwargs):
    shape = {"cell": "gru", "n_layers": 2, "d_model": D, "d_vocab": VOCAB, "d_vocab_source": SOURCE_VOCAB}
    return Seq2Seq(Seq2SeqConfig(**(shape | {"dtype": torch.float64} | kwargs)))


def drawn(high, length, seed):
    return torch.randint(1, high, (3, length), generator=torch.Generator().manual_seed(seed))


def source(seed=0):
    return drawn(SOURCE_VOCAB, 5, seed) * MASK


def target(seed=1):
    said = drawn(VOCAB, 4, seed)
    said[:, 0] = 0
    return said


def run(model, hooks=(), bwd_hooks=(), **kwargs):
    given = {"source": source(), "source_mask": MASK} | kwargs
    return model.run_with_hooks(target(), fwd_hooks=list(hooks), bwd_hooks=list(bwd_hooks), **given)


def nothing(value, hook):
    return None


def inner(name):
    """Hooks inside cells and attention: attaching one makes the explicit path run."""
    return ".rnn" in name or name.startswith("attn.")


# ---- The equations, one sequence and one step at a time, without padding.


def torch_cell(cell, name, more_input=None):
    """PyTorch's single step with a cell's weights, and columns for more input."""
    W_ih = cell.W_ih if more_input is None else torch.cat([cell.W_ih, more_input.T], 1)
    twin = CELLS[name](W_ih.shape[1], D, dtype=torch.float64)
    for theirs, ours in (("weight_ih", W_ih), ("weight_hh", cell.W_hh), ("bias_ih", cell.b_ih), ("bias_hh", cell.b_hh)):
        getattr(twin, theirs).data = ours.data
    return twin


def after(step, x, state):
    """One row's next state, always as a tuple `(h, …)`."""
    given = tuple(s[None] for s in state)
    new = step(x[None], given if len(given) > 1 else given[0])
    return tuple(s[0] for s in (new if isinstance(new, tuple) else (new,)))


def read(step, xs, n_states, backward):
    """The hidden states in the order of the positions, and the state after the last that is read."""
    state, hidden = (torch.zeros(D, dtype=torch.float64),) * n_states, [None] * len(xs)
    for i in reversed(range(len(xs))) if backward else range(len(xs)):
        state = after(step, xs[i], state)
        hidden[i] = state[0]
    return torch.stack(hidden), state


def encoded_by_hand(model, tokens):
    cfg, xs, starts = model.cfg, model.source_embed.W_E[tokens], []
    n_states = 2 if cfg.cell == "lstm" else 1
    for layer, block in enumerate(model.encoder_blocks):
        hidden, last = read(torch_cell(block.rnn, cfg.cell), xs, n_states, cfg.reverse_source)
        if cfg.bidirectional_encoder:
            backward, first = read(torch_cell(block.rnn_reverse, cfg.cell), xs, n_states, True)
            hidden, bridge = torch.cat([hidden, backward], 1), model.bridges[layer]
            both = [torch.cat(pair) for pair in zip(last, first, strict=True)]
            last = tuple(part @ W + b for part, W, b in zip(both, bridge.W, bridge.b, strict=True))
            last = (last[0].tanh(), *last[1:])
        xs = hidden
        starts.append(last)
    return xs, starts


def by_hand(model, source_row, target_row):
    """Logits `[target, d_vocab]` and alignments `[target, source]` of one pair."""
    cfg, attn = model.cfg, model.attn
    annotations, states = encoded_by_hand(model, source_row)
    feeds = attn.W_context if cfg.attention == "bahdanau" else None
    steps = [torch_cell(b.rnn, cfg.cell, None if i else feeds) for i, b in enumerate(model.decoder_blocks)]
    logits, alignments = [], []
    for token in target_row:
        x = model.embed.W_E[token]
        if cfg.attention == "bahdanau":
            energies = [attn.v @ torch.tanh(states[0][0] @ attn.W_query + h @ attn.W_key) for h in annotations]
            alignments.append(torch.stack(energies).softmax(0))
            x = torch.cat([x, sum(a * h for a, h in zip(alignments[-1], annotations, strict=True))])
        for layer, step in enumerate(steps):
            states[layer] = after(step, x, states[layer])
            x = states[layer][0]
        if cfg.attention.startswith("luong"):
            keys = annotations if cfg.attention == "luong_dot" else annotations @ attn.W_key
            alignments.append(torch.stack([x @ key for key in keys]).softmax(0))
            context = sum(a * h for a, h in zip(alignments[-1], annotations, strict=True))
            x = torch.tanh(torch.cat([context, x]) @ attn.W_out)
        logits.append(x @ model.unembed.W_U + model.unembed.b_U)
    return torch.stack(logits), alignments


@by_attention
@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("reading", [{}, {"reverse_source": True}, {"bidirectional_encoder": True}], ids=str)
def test_padded_batches_give_what_the_papers_equations_give_row_by_row(attention, cell, reading):
    if attention == "luong_dot" and "bidirectional_encoder" in reading:
        pytest.skip("states of two widths cannot be multiplied")
    model = subject(cell=cell, attention=attention, **reading)
    plain = run(model)
    logits, cache = model.run_with_cache(target(), source=source(), source_mask=MASK)
    torch.testing.assert_close(plain, logits)
    for row, length in enumerate(LENGTHS.tolist()):
        expected, alignments = by_hand(model, source()[row, :length], target()[row])
        torch.testing.assert_close(logits[row], expected)
        if attention != "none":
            torch.testing.assert_close(cache[PATTERN][row, 0, :, :length], torch.stack(alignments))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_the_encoder_is_pytorchs_layer_on_packed_sequences(cell, kind, bidirectional):
    model = subject(cell=cell, bidirectional_encoder=bidirectional)
    twin = kind(D, D, num_layers=2, batch_first=True, bidirectional=bidirectional, dtype=torch.float64)
    for layer, block in enumerate(model.encoder_blocks):
        for ours, suffix in ((block.rnn, ""), (block.rnn_reverse, "_reverse")):
            for name, weight in ours.kernel.named_parameters() if ours else ():
                getattr(twin, name.replace("_l0", f"_l{layer}") + suffix).data = weight.data
    packed, last = twin(pack_padded_sequence(model.source_embed(source()), LENGTHS, batch_first=True))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    for hooks in ([], [(inner, nothing)]):
        kept = []
        out = ("encoder_blocks.1.hook_out", lambda value, hook, kept=kept: kept.append(value))
        run(model, [*hooks, out], return_type=None)
        torch.testing.assert_close(kept[0][MASK], expected[MASK])
    if bidirectional:
        return
    # What the decoder starts from is what the packed layer ended with, not what it read of the padding.
    decoder = kind(D, D, num_layers=2, batch_first=True, dtype=torch.float64)
    for layer, block in enumerate(model.decoder_blocks):
        for name, weight in block.rnn.kernel.named_parameters():
            getattr(decoder, name.replace("_l0", f"_l{layer}")).data = weight.data
    hidden, _ = decoder(model.embed(target()), last)
    torch.testing.assert_close(run(model), model.unembed(hidden))


@by_attention
@pytest.mark.parametrize(
    "shape",
    [
        {"cell": "rnn", "nonlinearity": "relu"},
        {"cell": "lstm", "reverse_source": True},
        {"cell": "gru", "gru_convention": "textbook"},
        {"cell": "mingru"},
        {"cell": "mingru", "mingru_form": "log", "reverse_source": True},
    ],
    ids=str,
)
def test_padding_changes_nothing_and_fused_equals_explicit(attention, shape):
    model = subject(attention=attention, **shape)
    fused = run(model)
    torch.testing.assert_close(fused, run(model, [(inner, nothing)]))
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(target()[row], source=source()[row, :length])
        torch.testing.assert_close(fused[row : row + 1], alone)
    garbage = torch.where(MASK, source(), 7)
    torch.testing.assert_close(fused, run(model, source=garbage))


@by_attention
@pytest.mark.parametrize("reading", [{"reverse_source": True}, {"bidirectional_encoder": True}], ids=str)
def test_fused_and_explicit_paths_have_the_same_gradients(attention, reading):
    if attention == "luong_dot" and "bidirectional_encoder" in reading:
        pytest.skip("states of two widths cannot be multiplied")
    model = subject(attention=attention, cell="lstm", **reading)
    fused = torch.autograd.grad(run(model, return_type="loss"), list(model.parameters()))
    explicit = torch.autograd.grad(run(model, [(inner, nothing)], return_type="loss"), list(model.parameters()))
    for (name, _), a, b in zip(model.named_parameters(), fused, explicit, strict=True):
        torch.testing.assert_close(a, b, msg=name)


# ---- What can be read.


@with_attention
def test_alignments_are_distributions_over_the_real_source(attention):
    model = subject(attention=attention)
    _, cache = model.run_with_cache(target(), source=source(), source_mask=MASK)
    pattern, scores, context = (cache[f"attn.hook_{name}"] for name in ("pattern", "scores", "context"))
    assert pattern.shape == scores.shape == (3, 1, 4, 5)
    padding = (~MASK)[:, None, None].expand_as(pattern)
    assert (pattern[padding] == 0).all()
    assert (scores[padding] == -torch.inf).all()
    torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 1, 4, dtype=torch.float64))
    torch.testing.assert_close(context, pattern[:, 0] @ cache["encoder_blocks.1.hook_out"])
    _, sliced = model.run_with_cache(
        target(), source=source(), source_mask=MASK, names_filter=PATTERN, pos_slice=(1, 3)
    )
    torch.testing.assert_close(sliced[PATTERN], pattern[:, :, 1:3])


def test_hooks_of_a_reversed_encoder_count_the_source_as_it_was_given():
    model, seen = subject(reverse_source=True, n_layers=1), []
    _, cache = model.run_with_cache(target(), source=source(), source_mask=MASK)
    run(model, [("encoder_blocks.0.rnn.hook_h", lambda value, hook: seen.append(hook.ctx["t"]))])
    assert seen == [4, 3, 2, 1, 0]
    torch.testing.assert_close(cache["hook_source_embed"], model.source_embed(source()))
    expected = torch.stack(
        [read(torch_cell(model.encoder_blocks[0].rnn, "gru"), model.source_embed.W_E[source()[0]], 1, True)[0]]
    )
    torch.testing.assert_close(cache["encoder_blocks.0.rnn.hook_h"][:1], expected)
    torch.testing.assert_close(cache["encoder_blocks.0.hook_out"][:1], expected)
    # Editing the last token's state changes what is read after it, that is, all before it, and nothing of its own.
    edit = ("encoder_blocks.0.rnn.hook_h", at_pos(lambda value, hook: value + 1, 2))
    kept = []
    run(model, [edit, ("encoder_blocks.0.hook_out", lambda value, hook: kept.append(value))])
    changed = (kept[0] - cache["encoder_blocks.0.hook_out"])[0].abs().amax(-1) > 1e-12
    assert changed.tolist() == [True, True, True, False, False]


def test_every_hook_says_which_axis_it_counts():
    model = subject(attention="bahdanau", bidirectional_encoder=True)
    _, cache = model.run_with_cache(target(), source=source(), source_mask=MASK)
    assert cache.keys() == model.hook_dict.keys()
    length = {"source": 5, "target": 4}
    for name, value in cache.items():
        assert value.shape[model.hook_dict[name].pos_dim or 1] == length[model.position_axis(name)], name
    with pytest.raises(ValueError, match="no hook named 'attn.hook_patern': did you mean attn.hook_pattern"):
        model.position_axis("attn.hook_patern")


# ---- What can be edited.


@with_attention
@pytest.mark.parametrize("t", [0, 2, 3])
def test_an_edited_pattern_changes_nothing_before_its_step(attention, t):
    model = subject(attention=attention)
    first_only = torch.zeros(3, 1, 4, 5, dtype=torch.float64)
    first_only[..., 0] = 1
    rows = slice(0, 2)  # the last source has one token: nothing else can be looked at
    for edit in (at_pos(lambda p, hook: first_only[:, :, :1], t), replace_at(first_only, torch.arange(4) == t)):
        edited = run(model, [(PATTERN, edit)])
        changed = (edited - run(model)).abs().amax(-1)[rows] > 1e-12
        assert not changed[:, :t].any()
        assert changed[:, t].all()
        # Bahdanau's context enters the recurrence; Luong's is only read out.
        assert changed[:, t + 1 :].all() if attention == "bahdanau" else not changed[:, t + 1 :].any()


def test_bahdanau_looks_with_the_state_before_and_luong_with_its_own():
    name = "decoder_blocks.0.rnn.hook_h"
    for attention, first_changed in (("bahdanau", 2), ("luong_general", 1)):
        model, patterns = subject(attention=attention, n_layers=1), []
        for hooks in ([], [(name, at_pos(lambda h, hook: h + 1, 1))]):
            kept = []
            run(model, [*hooks, (PATTERN, lambda p, hook, kept=kept: kept.append(p.detach()))])
            patterns.append(torch.cat(kept, 2))
        changed = (patterns[1] - patterns[0])[0].abs().amax((0, 2)) > 1e-12
        assert changed.int().argmax() == first_changed


@by_attention
@pytest.mark.parametrize("reading", [{"reverse_source": True}, {"bidirectional_encoder": True}], ids=str)
def test_hooked_gradients_are_finite_differences(attention, reading):
    if attention == "luong_dot" and "bidirectional_encoder" in reading:
        pytest.skip("states of two widths cannot be multiplied")
    model = subject(attention=attention, n_layers=1, **reading)
    given = {"source": source(), "source_mask": MASK, "return_type": "loss"}
    _, cache = model.run_with_cache(target(), incl_bwd=True, **given)
    generator = torch.Generator().manual_seed(0)
    unread = {"encoder_blocks.0.hook_out"} if attention == "none" else set()
    assert {name for name in model.hook_dict if f"{name}_grad" not in cache} == unread
    for name in model.hook_dict.keys() - unread:
        direction = torch.randn(cache[name].shape, generator=generator, dtype=torch.float64)
        # Where a score is −∞ there is nothing to differ.
        direction = direction.masked_fill(~cache[name].isfinite(), 0) * 1e-5

        def nudge(value, hook, amount):
            here = slice(None) if value.shape == amount.shape else slice(hook.ctx["t"], hook.ctx["t"] + 1)
            return value + amount[(slice(None),) * (hook.pos_dim or 1) + (here,)]

        up, down = (
            model.run_with_hooks(
                target(), fwd_hooks=[(name, lambda v, hook, d=sign * direction: nudge(v, hook, d))], **given
            ).item()
            for sign in (1, -1)
        )
        slope = (cache[f"{name}_grad"] * direction).sum().item()
        assert (up - down) / 2 == pytest.approx(slope, rel=1e-5, abs=1e-12), name


# ---- Generation, training, saving.


@by_attention
@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_greedy_decoding_is_the_full_forward_pass_again_and_again(attention, cell):
    model, eos = subject(attention=attention, cell=cell, dtype=torch.float32, seed=3), 4
    said = torch.zeros(3, 1, dtype=torch.int64)
    for _ in range(7):
        new = model(said, source=source(), source_mask=MASK)[:, -1].argmax(-1)
        said = torch.cat([said, torch.where((said == eos).any(1), 0, new)[:, None]], 1)
    decoded = model.greedy_decode(source(), MASK, max_new=7, eos=eos)
    assert torch.equal(decoded, said[:, : decoded.shape[1]])
    assert not said[:, decoded.shape[1] :].any()


@with_attention
def test_edits_of_a_position_hold_while_decoding(attention):
    model = subject(attention=attention, dtype=torch.float32, seed=11)
    last_only = torch.eye(5)[LENGTHS - 1][:, None, None]
    edit = (PATTERN, at_pos(lambda pattern, hook: 0 * pattern + 40 * last_only, 2))
    said = torch.zeros(3, 1, dtype=torch.int64)
    with model.hooks([edit]):
        for _ in range(5):
            new = model(said, source=source(), source_mask=MASK)[:, -1].argmax(-1)
            said = torch.cat([said, torch.where((said[:, 1:] == 0).any(1), 0, new)[:, None]], 1)
        decoded = model.greedy_decode(source(), MASK, max_new=5, eos=0)
    plain = model.greedy_decode(source(), MASK, max_new=5, eos=0)
    assert torch.equal(decoded, said)
    assert torch.equal(decoded[:, :3], plain[:, :3])
    assert not torch.equal(decoded, plain)
    assert all("offset" not in point.ctx for point in model.hook_dict.values())


def test_rows_end_with_eos_and_then_say_nothing():
    model = subject(attention="luong_dot")
    free = model.greedy_decode(source(), MASK, max_new=5, eos=0)
    eos = int(free[0, 2])
    stopped = model.greedy_decode(source(), MASK, max_new=5, eos=eos)
    for row, whole in zip(stopped.tolist(), free.tolist(), strict=True):
        end = whole.index(eos, 1) + 1 if eos in whole[1:] else len(whole)
        assert row == (whole[:end] + [0] * 6)[: len(row)]
    assert stopped[0].tolist().count(eos) == 1


@by_attention
def test_a_saved_model_gives_the_same_logits(attention, tmp_path):
    model = subject(attention=attention, bidirectional_encoder=attention != "luong_dot", d_attention=4)
    saved_as = save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Seq2Seq)
    assert loaded.artifact_id == saved_as
    assert loaded.cfg == model.cfg
    assert torch.equal(run(loaded), run(model))


def test_a_short_training_learns_to_copy(tmp_path):
    task = Copy(n_symbols=4, min_length=2, max_length=4)
    shape = {"cell": "gru", "d_model": 24, "attention": "bahdanau", "bidirectional_encoder": True} | task.shape
    config = TrainConfig(n_steps=180, lr=1e-2, warmup_steps=10, weight_decay=0, fresh=True, eval_every=180)
    data = task.dataset(8, 48)
    metrics = train(Seq2Seq(Seq2SeqConfig(**shape)), data, config, tmp_path, task=task)
    assert metrics["heldout_accuracy"].iloc[-1] >= 0.95
    # The same sources, without being told the target.
    model, test = load_model(tmp_path), data.split("test")
    said = model.greedy_decode(test.source, test.source_mask, max_new=5, eos=task.eos)
    assert (said == test.tokens).all(1).double().mean() >= 0.9


def test_losses_are_those_of_the_next_real_target_token():
    model = subject(attention="luong_dot")
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    logits, loss = run(model, return_type="both", mask=mask)
    expected = nn.functional.cross_entropy(logits[:, :-1][mask[:, 1:]], target()[:, 1:][mask[:, 1:]])
    torch.testing.assert_close(loss, expected)
    per_token = run(model, return_type="loss", mask=mask, loss_per_token=True)
    torch.testing.assert_close(per_token.sum() / mask[:, 1:].sum(), expected)
    asked = torch.full((3, 4), -100)
    asked[:, 1] = 2
    torch.testing.assert_close(
        run(model, return_type="loss", targets=asked), -logits[:, 1].log_softmax(-1)[:, 2].mean()
    )


def test_a_seed_gives_the_same_weights_and_another_gives_others():
    assert torch.equal(run(subject(seed=1)), run(subject(seed=1)))
    assert not torch.allclose(run(subject(seed=1)), run(subject(seed=2)))


# ---- Bad input.


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"attention": "luong"}, "attention 'luong' is unknown: there are none, bahdanau, luong_dot, luong_general"),
        ({"cell": "gur"}, "cell 'gur' is unknown"),
        ({"d_vocab_source": 0}, "d_vocab_source is 0: it must be at least 1"),
        ({"d_attention": 0}, "d_attention is 0"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"attention": "luong_dot", "bidirectional_encoder": True}, "take luong_general"),
        ({"reverse_source": True, "bidirectional_encoder": True}, "leave reverse_source out"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject(**fields)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": source() + 5}, "ids of source tokens run from"),
        ({"source": source()[:2], "source_mask": None}, "there are 3 targets, but 2 sources"),
        ({"source": torch.zeros(3, 0, dtype=torch.int64), "source_mask": None}, "the input has no source tokens"),
        ({"source": source().repeat(1, 2), "source_mask": None}, "10 source tokens are more than the 8"),
        ({"source_mask": MASK[:, :4]}, r"source_mask must be bool \[3, 5\]"),
        ({"source_mask": MASK.flip(1)}, "padding stands only at the end"),
        ({"source_mask": torch.zeros_like(MASK)}, "True from a row's first position on"),
        ({"mask": MASK}, r"mask must be bool \[3, 4\]"),
        ({"targets": torch.full((3, 4), VOCAB)}, "there are 9 classes"),
        ({"return_type": "losses"}, "return_type 'losses' is unknown"),
    ],
)
def test_input_that_does_not_fit_is_refused(given, sentence):
    model = subject(n_ctx=8)
    with pytest.raises(ValueError, match=sentence):
        run(model, **({"return_type": "loss"} | given))


def test_targets_and_lengths_that_do_not_fit_are_refused():
    model = subject(n_ctx=8)
    with pytest.raises(ValueError, match="ids of tokens run from 9 to 9, but the vocabulary is 0 to 8"):
        model(torch.full((3, 4), VOCAB), source=source())
    with pytest.raises(ValueError, match="max_new is 8: it must be at least 1 and, with BOS, at most 8"):
        model.greedy_decode(source(), max_new=8, eos=1)
    with pytest.raises(ValueError, match="max_new is 0"):
        model.greedy_decode(source(), max_new=0, eos=1)
    with pytest.raises(ValueError, match="eos is 9"):
        model.greedy_decode(source(), max_new=2, eos=9)


def test_data_that_does_not_fit_is_refused_before_training():
    task, config = Copy(n_symbols=6), TrainConfig(n_steps=1)
    data = task.dataset(4)
    fits = task.shape | {"cell": "gru", "d_model": D}
    with pytest.raises(ValueError, match="the data's source has the id 6, but the model knows 5"):
        train(Seq2Seq(Seq2SeqConfig(**fits | {"d_vocab_source": 5})), data, config)
    with pytest.raises(ValueError, match="this model reads a source, but the data has none"):
        train(Seq2Seq(Seq2SeqConfig(**fits)), Dyck(n_types=2, max_length=8).dataset(4), config)
    without = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_vocab=task.shape["d_vocab"]))
    with pytest.raises(ValueError, match="this model reads no source, but the data has one"):
        train(without, data, config)
