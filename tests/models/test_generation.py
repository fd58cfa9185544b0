"""Generation with a cache against a full run for every token, with hooks at work and without."""

import pytest
import torch
from native_oracle import random_tokens, subject
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from models.generation import make_pick
from models.recurrent import Recurrent, RecurrentConfig
from models.step_hooks import at_pos

SHAPES = [
    {},
    {"positional_embedding_type": "sinusoidal", "normalization_type": "RMS"},
    {"positional_embedding_type": "rotary", "rotary_dim": 2, "gated_mlp": True},
    {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True, "normalization_type": None},
    {"positional_embedding_type": "none", "attn_only": True},
]


def push(value, hook):
    """The residual stream, pushed by what depends on the position's number."""
    number = torch.arange(value.shape[1]) + hook.ctx.get("offset", 0)
    return value + number[:, None].sin() * torch.linspace(-3, 3, 16)


def own_and_first(pattern, hook):
    """A pattern in which every position looks at itself and the first alone, at each by half."""
    query = torch.arange(pattern.shape[2]) + hook.ctx.get("offset", 0)
    pattern = torch.zeros_like(pattern)
    pattern[..., 0] += 0.5
    pattern[:, :, torch.arange(len(query)), query] += 0.5
    return pattern


def double(value, hook):
    return value * 2


HOOKS = {
    "none": [],
    "residual": [("blocks.0.hook_resid_post", push)],
    "one position": [("blocks.1.hook_resid_pre", at_pos(lambda value, hook: value * -3, 6))],
    "pattern": [("blocks.0.attn.hook_pattern", own_and_first)],
    "keys and values": [
        ("blocks.0.attn.hook_k", lambda value, hook: value.sin() * 4),
        ("blocks.1.attn.hook_v", double),
    ],
    "forks": [("blocks.1.attn.hook_k_input", double), ("blocks.0.attn.hook_result", double)],
}


def uncached(model, tokens, n):
    for _ in range(n):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], 1)
    return tokens


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_cached_is_uncached_token_for_token(overrides, hooks):
    model, tokens = subject(n_ctx=24, **overrides), random_tokens(batch=4, pos=5)
    with model.hooks(HOOKS[hooks]), torch.no_grad():
        made = model.generate(tokens, 12)
        assert torch.equal(made, uncached(model, tokens, 12))
    if hooks != "none":
        assert not torch.equal(made, model.generate(tokens, 12))


@pytest.mark.parametrize("chunks", [(9,), (1,) * 9, (4, 1, 3, 1)])
@pytest.mark.parametrize("overrides", SHAPES, ids=str)
def test_steps_give_the_logits_of_one_run(overrides, chunks):
    model, tokens = subject(**overrides), random_tokens()
    state, parts = None, []
    for part in tokens.split(list(chunks), 1):
        logits, state = model.run_steps(part, state)
        parts.append(logits)
    assert torch.allclose(torch.cat(parts, 1), model(tokens), atol=1e-5)
    with pytest.raises(ValueError, match="9 tokens have been read: 3 more fit, not 4"):
        model.run_steps(tokens[:, :4], state)


def test_hooks_see_new_positions_and_their_number():
    model, seen = subject(), []

    def note(value, hook):
        seen.append((hook.ctx["offset"], value.shape[1] if value.shape[1] != 4 else value.shape[2]))

    with model.hooks([("blocks.0.attn.hook_pattern", note), ("blocks.1.hook_resid_post", note)]):
        model.generate(random_tokens(pos=5), 3)
    assert seen == [(0, 5), (0, 5), (5, 1), (5, 1), (6, 1), (6, 1)]
    assert not any("offset" in point.ctx for point in model.hook_dict.values())


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrence_goes_on_from_its_state(cell):
    model = Recurrent(RecurrentConfig(cell=cell, n_layers=2, d_model=16, d_vocab=31))
    tokens = random_tokens(pos=5)
    flip = ("blocks.0.rnn.hook_h", at_pos(lambda value, hook: value * -5, 7))
    for hooks in ([], [flip]):
        with model.hooks(hooks), torch.no_grad():
            made = model.generate(tokens, 8)
            assert torch.equal(made, uncached(model, tokens, 8))
    assert not torch.equal(made, model.generate(tokens, 8))


@pytest.mark.parametrize("hooks", ["none", "residual", "pattern"])
def test_ragged_prompts_are_as_each_alone(hooks):
    model, tokens = subject(n_ctx=24), random_tokens(pos=7)
    lengths = [7, 2, 4]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    with model.hooks(HOOKS[hooks]):
        together = model.generate(tokens, 6, mask=mask)
        assert together.shape == (3, 13)
        for row, prompt, length in zip(together, tokens, lengths, strict=True):
            assert torch.equal(row[: length + 6], model.generate(prompt[:length], 6)[0])
            assert not row[length + 6 :].any()


def test_eos_stops_a_row_and_all_rows_stop_the_work():
    model, tokens = subject(n_ctx=40), random_tokens(batch=4, pos=3)
    free = model.generate(tokens, 30)
    eos = int(free[2, 8])
    stopped = model.generate(tokens, 30, eos=eos)
    ends = []
    for row, without in zip(stopped, free, strict=True):
        hits = (without[3:] == eos).nonzero()
        ends.append(4 + int(hits[0]) if len(hits) else 33)
        assert torch.equal(row[: ends[-1]], without[: ends[-1]])
        assert not row[ends[-1] :].any()
    assert ends[2] <= 9
    assert stopped.shape[1] == max(ends)
    assert model.generate(tokens[2], 30, eos=eos).shape == (1, ends[2])


def test_an_exception_in_a_hook_leaves_nothing_behind():
    model, tokens = subject(), random_tokens(pos=4)
    before = model.generate(tokens, 5)

    def fail(value, hook):
        if hook.ctx["offset"] == 6:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), model.hooks([("blocks.1.hook_resid_pre", fail)]):
        model.generate(tokens, 5)
    assert not any(point.ctx or point.fwd_hooks for point in model.hook_dict.values())
    assert torch.equal(model.generate(tokens, 5), before)


def test_samples_have_the_softmax_of_the_logits():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).expand(20000, -1)
    for arguments, p in [
        ((1.0, None, None), [2.0, 0.0, 1.0, -1.0]),
        ((2.0, None, None), [1.0, 0.0, 0.5, -0.5]),
        ((1.0, 2, None), [2.0, -torch.inf, 1.0, -torch.inf]),
        ((1.0, None, 0.7), [2.0, -torch.inf, 1.0, -torch.inf]),  # .64, then .24
        ((1.0, None, 0.6), [2.0, -torch.inf, -torch.inf, -torch.inf]),
        ((1.0, 1, 1.0), [2.0, -torch.inf, -torch.inf, -torch.inf]),
    ]:
        drawn = make_pick(*arguments, 0)(logits)
        share = torch.bincount(drawn, minlength=4) / len(drawn)
        assert torch.allclose(share, torch.tensor(p).softmax(-1), atol=0.02), arguments


def test_a_seed_decides_the_samples_and_touches_no_other_random_number():
    model, tokens = subject(n_ctx=24), random_tokens()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (model.generate(tokens, 9, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(first, model.generate(tokens, 9, temperature=1.0, seed=generator))
    assert not torch.equal(first, model.generate(tokens, 9, temperature=1.0, seed=generator))
    assert torch.equal(model.generate(tokens, 9, temperature=1.0, top_k=1), model.generate(tokens, 9))


def test_given_draws_choose_as_often_as_the_softmax_says_and_from_what_may_be_drawn():
    logits, even = torch.tensor([[2.0, 0.0, 1.0, -1.0]]), (torch.arange(1000) + 0.5)[None] / 1000
    for more, p in (((None, None), logits[0]), ((2, None), torch.tensor([2.0, -torch.inf, 1.0, -torch.inf]))):
        pick = make_pick(1.0, *more, 0, even.expand(3, -1))
        drawn = torch.stack([pick(logits.expand(3, -1)) for _ in range(1000)], 1)
        assert (drawn == drawn[0]).all()
        torch.testing.assert_close(torch.bincount(drawn[0], minlength=4) / 1000, p.softmax(-1), atol=2e-3, rtol=0)
    last = torch.full((1, 1), torch.tensor(1.0, dtype=torch.float64).nextafter(torch.tensor(0.0).double()))
    assert make_pick(1.0, 2, None, 0, last)(logits).tolist() == [2]


def test_with_its_own_draws_a_row_says_the_same_whatever_it_shares_a_batch_with():
    model, tokens = subject(n_ctx=24), random_tokens()
    lengths = torch.arange(len(tokens)) % 3 + 2
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    draws = torch.rand(len(tokens), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = model.generate(tokens * mask, 6, mask=mask, temperature=1.0, draws=draws)
    for i, length in enumerate(lengths.tolist()):
        alone = model.generate(tokens[i, :length], 6, temperature=1.0, draws=draws[i : i + 1])
        assert torch.equal(alone[0], together[i, : length + 6])
    again = model.generate(tokens * mask, 6, mask=mask, temperature=1.0, draws=draws.flip(0))
    assert not torch.equal(again, together)
    for wrong, expected in ((draws[:1], "draws are"), (draws + 1, "from 0 up to")):
        with pytest.raises(ValueError, match=expected):
            model.generate(tokens, 6, temperature=1.0, draws=wrong)
    with pytest.raises(ValueError, match="give a temperature above 0"):
        model.generate(tokens, 6, draws=draws)


def test_text_goes_in_and_comes_out():
    model = subject(n_ctx=24)
    model.tokenizer = Tokenizer(WordLevel({"<bos>": 0} | {f"w{i}": i for i in range(1, 31)}, unk_token="<bos>"))
    model.tokenizer.pre_tokenizer = WhitespaceSplit()
    one = model.generate("w5 w7 w9", 4)
    assert one.startswith("w5 w7 w9 ")
    assert len(one.split()) == 7
    assert model.tokenizer.encode(one).ids == model.generate(torch.tensor([0, 5, 7, 9]), 4)[0, 1:].tolist()
    several = model.generate(["w5 w7 w9", "w3"], 4)
    assert several == [one, model.generate("w3", 4)]
    last = one.split()[4]
    cut = model.generate("w5 w7 w9", 4, eos=int(last[1:]))
    assert one.startswith(cut)
    assert last not in cut.split()[3:]
    with pytest.raises(ValueError, match="no tokenizer"):
        subject().generate("w5", 4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_new": 4}, "9 tokens and 4 new ones are more than the 12"),
        ({"max_new": 0}, "max_new is 0"),
        ({"eos": 31}, "eos is 31, but the vocabulary is 0 to 30"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": 1.0, "top_k": 0}, "top_k is 0"),
        ({"temperature": 1.0, "top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": 3}, "give a temperature above 0"),
        ({"mask": torch.arange(9).expand(3, 9) > 0}, "padding stands only at the end"),
        ({"mask": torch.ones(3, 8, dtype=torch.bool)}, "the mask must be bool"),
        ({"input": torch.zeros(0, 4, dtype=torch.long)}, "no tokens"),
        ({"input": torch.tensor([[0, 31]])}, "run from 0 to 31"),
    ],
)
def test_what_cannot_be_generated_is_one_plain_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject().generate(**({"input": random_tokens(), "max_new": 2} | arguments))
