"""`Recurrent`: PyTorch's own layers, a step at a time, with hooks that reach every gate and every later step."""

import pytest
import torch
from torch import nn
from transformer_lens.utilities import Slice

from models import Recurrent, RecurrentConfig, at_pos, replace_at
from models.cells.mingru import FORMS, MinGRU
from models.saving import build_model, load_model, save_model

D, VOCAB, BATCH, TIME = 6, 11, 3, 7
SHAPES = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "gru", "gru_convention": "textbook"},
    {"cell": "mingru"},
]
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(s.values()))


def subject(**kwargs):
    return Recurrent(
        RecurrentConfig(**({"d_model": D, "d_vocab": VOCAB, "n_layers": 2, "dtype": torch.float64} | kwargs))
    )


def tokens(batch=BATCH, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def nothing(value, hook):
    return None


def inner(name):
    """Hooks inside cells: attaching one makes the explicit path run."""
    return ".rnn" in name


def torch_twin(model, kind, **kwargs):
    """PyTorch's stacked layer with the same weights."""
    twin = kind(D, D, num_layers=2, batch_first=True, dtype=torch.float64, **kwargs)
    for layer, block in enumerate(model.blocks):
        for cell, suffix in ((block.rnn, ""), (block.rnn_reverse, "_reverse")):
            if cell is not None:
                for name, weight in cell.kernel.named_parameters():
                    getattr(twin, name.replace("_l0", f"_l{layer}") + suffix).data = weight.data
    return twin


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("shape", "kind", "kwargs"),
    [
        ({"cell": "rnn"}, nn.RNN, {}),
        ({"cell": "rnn", "nonlinearity": "relu"}, nn.RNN, {"nonlinearity": "relu"}),
        ({"cell": "lstm"}, nn.LSTM, {}),
        ({"cell": "gru"}, nn.GRU, {}),
    ],
)
def test_stacked_layers_equal_pytorchs(shape, kind, kwargs, bidirectional):
    model = subject(**shape, bidirectional=bidirectional)
    expected, _ = torch_twin(model, kind, bidirectional=bidirectional, **kwargs)(model.embed(tokens()))
    for hooks in ([], [(inner, nothing)]):
        seen = []
        model.run_with_hooks(
            tokens(), return_type=None, fwd_hooks=[*hooks, ("blocks.1.hook_out", lambda v, hook, s=seen: s.append(v))]
        )
        torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_padding_is_never_read_backward(kind):
    model = subject(cell={nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"}[kind], bidirectional=True)
    lengths = torch.tensor([7, 4, 2])
    mask = torch.arange(TIME) < lengths[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(model.embed(tokens()), lengths, batch_first=True)
    packed_out, _ = torch_twin(model, kind, bidirectional=True)(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed_out, batch_first=True)
    for names in ((), ("blocks.0.rnn_reverse.hook_h", "blocks.1.rnn_reverse.hook_h")):
        wanted = ["blocks.1.hook_out", *names]
        _, cache = model.run_with_cache(tokens(), mask=mask, return_type=None, names_filter=wanted)
        torch.testing.assert_close(cache["blocks.1.hook_out"][mask], expected[mask])
        if names:  # the position in the sequence, not the order of the steps, is what a hook's axis counts
            torch.testing.assert_close(cache["blocks.1.rnn_reverse.hook_h"][mask], expected[..., D:][mask])


def test_textbook_gru_is_the_textbooks():
    model = subject(cell="gru", gru_convention="textbook", n_layers=1)
    cell = model.blocks[0].rnn
    W_r, W_z, W_n = cell.W_ih.chunk(3)
    U_r, U_z, U_n = cell.W_hh.chunk(3)
    b_r, b_z, b_n = cell.b_ih.chunk(3)
    h, expected = torch.zeros(BATCH, D, dtype=torch.float64), []
    for x in model.embed(tokens()).unbind(1):
        r, z = torch.sigmoid(x @ W_r.T + h @ U_r.T + b_r), torch.sigmoid(x @ W_z.T + h @ U_z.T + b_z)
        n = torch.tanh(x @ W_n.T + (r * h) @ U_n.T + b_n)
        h = z * n + (1 - z) * h
        expected.append(h)
    _, cache = model.run_with_cache(tokens())
    torch.testing.assert_close(cache["blocks.0.rnn.hook_h"], torch.stack(expected, 1))
    torch.testing.assert_close(cache["blocks.0.rnn.hook_update"][:, -1], z)


@by_shape
def test_fused_equals_explicit_in_values_and_gradients(shape):
    fused, explicit = subject(**shape), subject(**shape)
    fused(tokens(), return_type="loss").backward()
    with explicit.hooks([(inner, nothing)], [(inner, nothing)]):
        explicit(tokens(), return_type="loss").backward()
    for (name, a), b in zip(fused.named_parameters(), explicit.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@by_shape
def test_gates_make_the_state_that_is_cached(shape):
    """The equations of each cell hold between the tensors of the cache, which are `[batch, pos, d]`."""
    _, cache = subject(**shape).run_with_cache(tokens())
    value = {name.split("hook_")[1]: cache[name] for name in cache if ".0.rnn." in name}
    assert all(v.shape == (BATCH, TIME, D) for v in value.values())
    h = value["h"]
    before = torch.cat([torch.zeros(BATCH, 1, D, dtype=h.dtype), h[:, :-1]], 1)
    if shape["cell"] == "gru" and "gru_convention" not in shape:
        expected = (1 - value["update"]) * value["cand"] + value["update"] * before
    elif shape["cell"] in ("gru", "mingru"):
        expected = value["update"] * value["cand"] + (1 - value["update"]) * before
    elif shape["cell"] == "lstm":
        c_before = torch.cat([torch.zeros(BATCH, 1, D, dtype=h.dtype), value["c"][:, :-1]], 1)
        torch.testing.assert_close(value["c"], value["f"] * c_before + value["i"] * value["g"])
        expected = value["o"] * value["c"].tanh()
    else:
        assert set(value) == {"h"}
        return
    torch.testing.assert_close(h, expected)


@by_shape
@pytest.mark.parametrize("t", [0, 3, TIME - 1])
def test_a_patched_step_equals_going_on_by_hand_from_there(shape, t):
    model = subject(**shape)
    new = torch.randn(BATCH, 1, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    patched = model.run_with_hooks(tokens(), fwd_hooks=[("blocks.0.rnn.hook_h", at_pos(lambda h, hook: new, t))])
    plain = model(tokens())
    torch.testing.assert_close(patched[:, :t], plain[:, :t])
    # By hand: run up to and with step t, put the state in its place, let the upper layer read it, and go on.
    _, cache = model.run_with_cache(tokens())
    state = _states_after(model, t)
    state[0] = (new[:, 0], *state[0][1:])
    upper_before = _states_after(model, t - 1)[1] if t else None
    upper, state[1] = model.blocks[1].rnn(new, upper_before)
    torch.testing.assert_close(patched[:, t], model.unembed(upper)[:, 0])
    if t < TIME - 1:
        rest, _ = model.run_steps(tokens()[:, t + 1 :], state)
        torch.testing.assert_close(patched[:, t + 1 :], rest)
    assert not torch.allclose(patched[:, t], plain[:, t])
    assert cache["blocks.0.rnn.hook_h"].shape == (BATCH, TIME, D)


def _states_after(model, t):
    return model.run_steps(tokens()[:, : t + 1])[1]


@by_shape
def test_gates_that_are_edited_change_every_later_step_and_no_earlier_one(shape):
    model = subject(**shape)
    plain = model(tokens())
    for name in [n for n in model.hook_dict if ".0.rnn." in n]:
        edited = model.run_with_hooks(tokens(), fwd_hooks=[(name, at_pos(lambda value, hook: value + 0.5, 2))])
        changed = (edited - plain).abs().amax((0, 2)) > 1e-12
        assert not changed[:2].any(), name
        # An output gate is forgotten with the state it made; everything else reaches the end.
        assert changed[2:].all() or (name.endswith("hook_o") and changed[2]), name


def test_all_single_step_patches_are_one_batch():
    model, name = subject(cell="gru"), "blocks.0.rnn.hook_h"
    clean, corrupt = tokens(1), tokens(1, seed=5)
    _, cache = model.run_with_cache(clean)
    values = cache[name].expand(TIME, -1, -1)
    together = model.run_with_hooks(
        corrupt.expand(TIME, -1), fwd_hooks=[(name, replace_at(values, torch.eye(TIME, dtype=torch.bool)))]
    )
    for t in range(TIME):
        alone = model.run_with_hooks(
            corrupt, fwd_hooks=[(name, at_pos(lambda h, hook, t=t: cache[name][:, t : t + 1], t))]
        )
        torch.testing.assert_close(together[t : t + 1], alone)


def test_replacing_every_step_gives_the_other_run():
    model, name = subject(cell="lstm", n_layers=1), "blocks.0.rnn.hook_h"
    _, cache = model.run_with_cache(tokens())
    everywhere = torch.ones(TIME, dtype=torch.bool)
    patched = model.run_with_hooks(tokens(seed=5), fwd_hooks=[(name, replace_at(cache[name], everywhere))])
    torch.testing.assert_close(patched, model(tokens()))


@by_shape
def test_gradients_at_every_step_equal_finite_differences(shape):
    model = subject(**shape)
    for name in [n for n in model.hook_dict if ".0.rnn." in n]:
        _, cache = model.run_with_cache(tokens(), names_filter=name, incl_bwd=True, return_type="loss")
        grad = cache[f"{name}_grad"]
        assert grad.shape == cache[name].shape
        for t, unit in ((0, 1), (3, 0), (TIME - 2, D - 1)):
            step = torch.zeros(BATCH, 1, D, dtype=torch.float64)
            step[1, 0, unit] = 1e-6
            up, down = (
                model.run_with_hooks(
                    tokens(),
                    return_type="loss",
                    fwd_hooks=[(name, at_pos(lambda value, hook, s=sign * step: value + s, t))],
                )
                for sign in (1, -1)
            )
            assert grad[1, t, unit] == pytest.approx(float((up - down).detach()) / 2e-6, rel=1e-4, abs=1e-9), (name, t)


def test_a_loss_at_one_step_has_no_gradient_behind_it():
    model, name = subject(cell="gru", n_layers=1), "blocks.0.rnn.hook_h"
    cache, forward, backward = model.get_caching_hooks(name, incl_bwd=True)
    with model.hooks(forward, backward):
        model(tokens())[:, 3].square().sum().backward()
    grad = cache[f"{name}_grad"]
    assert (grad[:, :4].abs().sum((0, 2)) > 0).all()
    assert not grad[:, 4:].any()


@pytest.mark.parametrize("pos_slice", [2, -1, (1, 4), [0, 5], Slice(2)])
def test_cached_positions_are_those_asked_for(pos_slice):
    model = subject(cell="lstm")
    _, whole = model.run_with_cache(tokens())
    _, some = model.run_with_cache(tokens(), pos_slice=pos_slice)
    for name in whole:
        axis_kept = [pos_slice] if isinstance(pos_slice, int) else pos_slice
        torch.testing.assert_close(some[name], Slice.unwrap(axis_kept).apply(whole[name], dim=1))
    # A number keeps the axis of positions, as TransformerLens has it; its Slice of a number drops it.
    assert some["hook_embed"].shape == some["blocks.0.rnn.hook_h"].shape


def test_a_cache_for_many_runs_holds_the_last():
    model = subject(cell="gru")
    cache = model.add_caching_hooks("blocks.1.rnn.hook_h")
    model(tokens(seed=1)), model(tokens(2, 4, seed=2))
    model.reset_hooks()
    _, expected = model.run_with_cache(tokens(2, 4, seed=2))
    torch.testing.assert_close(cache["blocks.1.rnn.hook_h"], expected["blocks.1.rnn.hook_h"])


def test_a_single_text_can_drop_its_batch_axis():
    _, cache = subject(cell="gru").run_with_cache(tokens(1), remove_batch_dim=True)
    assert cache["blocks.0.rnn.hook_h"].shape == (TIME, D)


@by_shape
def test_model_and_hooks_are_unchanged_after_an_exception(shape):
    model = subject(**shape)
    before = model(tokens())

    def fail(value, hook):
        if hook.ctx["t"] == 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        model.run_with_hooks(tokens(), fwd_hooks=[("blocks.0.rnn.hook_h", fail)])
    assert not any(model.list_hooks().values())
    torch.testing.assert_close(model(tokens()), before, rtol=0, atol=0)


def test_hooks_count_positions_from_zero():
    with pytest.raises(ValueError, match="position -1 is negative"):
        at_pos(nothing, -1)


def test_position_edits_speak_of_whole_sequences_too():
    """The same hook on a hook that fires once: only its own position changes."""
    model = subject(cell="gru")
    edited = model.run_with_hooks(tokens(), fwd_hooks=[("hook_embed", at_pos(lambda v, hook: v * 0, 2))])
    by_hand = model.run_with_hooks(tokens(), fwd_hooks=[("hook_embed", _zero_position_two)])
    torch.testing.assert_close(edited, by_hand)


def _zero_position_two(value, hook):
    return torch.cat([value[:, :2], torch.zeros_like(value[:, 2:3]), value[:, 3:]], 1)


@by_shape
def test_steps_taken_one_by_one_equal_the_whole_sequence(shape):
    model, states, outputs = subject(**shape), None, []
    for t in range(TIME):
        output, states = model.run_steps(tokens()[:, t : t + 1], states)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), model(tokens()))


class TestMinGRUForms:
    """The parallel forms equal the recurrence they replace, whatever it starts from."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("time", [1, 2, 7, 64, 100])
    def test_forms_are_equal_from_any_state(self, form, time):
        cell = self.cell(form)
        x, h0 = torch.randn(2, time, 5), torch.randn(2, D).mul(2)
        for start in (h0, h0 * (h0 > 0), torch.zeros(2, D)):
            explicit, _ = cell._explicit(x, (start,), {}, False, None)
            hidden, (last,) = cell.fused(x, (start,))
            torch.testing.assert_close(hidden, explicit, rtol=0, atol=1e-5)
            torch.testing.assert_close(last, explicit[:, -1], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("form", FORMS)
    def test_gradients_are_numbers_and_equal_at_a_zero_state(self, form):
        """Also where a candidate is so small that it is 0 in float32."""
        grads = []
        for chosen in (form, "sequential"):
            cell = self.cell(chosen)
            x = torch.randn(2, 50, 5, generator=torch.Generator().manual_seed(3)).mul(4)
            x[0, 7] *= 300
            x.requires_grad_()
            h0 = torch.zeros(2, D, requires_grad=True)
            cell.fused(x, (h0,))[0].square().sum().backward()
            grads.append([x.grad, h0.grad, cell.W_ih.grad])
        for one, other in zip(*grads, strict=True):
            assert torch.isfinite(one).all()
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

    def cell(self, form):
        cell = MinGRU(5, D, form)
        cell.reset_parameters(torch.Generator().manual_seed(0))
        return cell


@by_shape
@pytest.mark.parametrize("bidirectional", [False, True])
def test_saved_and_loaded_gives_the_same(shape, bidirectional, tmp_path):
    model = subject(**shape, bidirectional=bidirectional)
    save_model(model, tmp_path / "run")
    torch.testing.assert_close(load_model(tmp_path / "run")(tokens()), model(tokens()), rtol=0, atol=0)


def test_a_seed_gives_the_same_weights():
    one, other = subject(cell="lstm", seed=3), subject(cell="lstm", seed=3)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.embed.W_E, subject(cell="lstm", seed=4).embed.W_E)


def test_vectors_go_in_and_out():
    model = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=2, d_out=3))
    x, targets = torch.randn(BATCH, TIME, 2), torch.randn(BATCH, TIME, 3)
    mask = torch.arange(TIME) < torch.tensor([7, 4, 2])[:, None]
    output, loss = model(x, mask=mask, targets=targets, return_type="both")
    assert loss.item() == pytest.approx((output - targets)[mask].square().mean().item(), rel=1e-5)
    per_position = model(x, mask=mask, targets=targets, return_type="loss", loss_per_token=True)
    assert not per_position[~mask].any()


def test_classes_are_asked_only_where_there_is_a_target():
    model = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=2, d_out=3))
    x, targets = torch.randn(BATCH, TIME, 2), torch.full((BATCH, TIME), -100)
    targets[:, -1] = torch.tensor([0, 2, 1])
    expected = nn.functional.cross_entropy(model(x)[:, -1], targets[:, -1])
    torch.testing.assert_close(model(x, targets=targets, return_type="loss"), expected)


def test_layers_can_be_left_out():
    model = subject(cell="gru")
    _, cache = model.run_with_cache(tokens())
    torch.testing.assert_close(model(tokens(), stop_at_layer=1), cache["blocks.0.hook_out"])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cell": "gnu"}, "cell 'gnu' is unknown: there are rnn, lstm, gru, mingru"),
        ({"cell": "gru", "gru_convention": "theirs"}, "gru_convention 'theirs' is unknown"),
        ({"cell": "gru", "n_layers": 0}, "n_layers is 0"),
        ({"cell": "gru", "nonlinearity": "relu"}, "nonlinearity is 'relu', but it is rnn's, and the cell is gru"),
        ({"cell": "lstm", "gru_convention": "textbook"}, "gru_convention is 'textbook', but it is gru's"),
        ({"cell": "gru", "d_in": 3}, "give either d_vocab, for tokens, or d_in, for vectors"),
        ({"cell": "gru", "d_vocab": None, "d_in": 3}, "give d_out"),
    ],
)
def test_configs_that_make_no_sense_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject(**fields)
    with pytest.raises(ValueError, match="has no field d_hidden"):
        build_model({"architecture": "recurrent", "d_hidden": 3})


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m(torch.full((1, 3), VOCAB)), f"ids of tokens run from {VOCAB} to {VOCAB}"),
        (lambda m: m(torch.empty(0, 3, dtype=torch.int64)), "the input has no tokens"),
        (lambda m: m(torch.randn(1, 3, 2)), "tokens must be integers"),
        (lambda m: m(tokens(1, 12)), "12 tokens are more than the 9"),
        (lambda m: m(tokens(), mask=torch.ones(2, 2, dtype=torch.bool)), r"the mask must be bool \[3, 7\]"),
        (lambda m: m(tokens(), targets=tokens() + 5, return_type="loss"), "targets run from"),
        (lambda m: m(tokens(), return_type="losses"), "return_type 'losses' is unknown"),
        (lambda m: m("text"), "this model has no tokenizer"),
    ],
)
def test_input_that_does_not_fit_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(subject(cell="gru", n_ctx=9))


def test_nan_and_wrong_widths_are_refused():
    model = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=2, d_out=3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        model(torch.full((1, 3, 2), torch.nan))
    with pytest.raises(ValueError, match=r"numbers \[batch, pos, 2\]"):
        model(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="a loss needs targets"):
        model(torch.zeros(1, 3, 2), return_type="loss")


def test_only_who_says_tokens_generates():
    vectors = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=2, d_out=3))
    classes = subject(cell="gru", d_out=2)
    for model in (vectors, classes):
        with pytest.raises(ValueError, match="this model does not say tokens"):
            model.generate(tokens(), 2)


def test_an_edit_that_says_nothing_of_new_positions_leaves_them():
    model, name = subject(cell="gru", n_layers=1), "blocks.0.rnn.hook_h"
    edit = replace_at(torch.zeros(1, 3, D, dtype=torch.float64), torch.tensor([False, True, False]))
    with model.hooks([(name, edit)]):
        made = model.generate(tokens(1, 3), 3)
        expected = model(made[:, :3])[:, -1].argmax(-1)
    assert made[:, 3] == expected


def test_a_network_that_reads_the_end_is_not_asked_for_the_next_token():
    model = subject(cell="gru", bidirectional=True)
    with pytest.raises(ValueError, match="sees the next token"):
        model(tokens(), return_type="loss")
    with pytest.raises(ValueError, match="reads the end first"):
        model.run_steps(tokens())
