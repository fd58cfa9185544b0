"""Detections and their scores, beside loops over every query and key."""

import heapq
import inspect
import io
import math
import pprint
import textwrap
import tokenize

import numpy as np
import pyarrow as pa
import pytest
import torch

from models import Dataset
from models.corpus.labelling import label_document
from models.corpus.packing import label_table, pack_tokens
from models.corpus.tokenizer import encode_with_edges, train_tokenizer
from models.tasks.repeated_sequences import RepeatedSequences
from workbench.attention import patterns as scores
from workbench.attention.brackets import bracket_places, matching_bracket, open_bracket
from workbench.attention.label_grids import LabelGrids, MissingLabelError

TOKENS = torch.tensor([[0, 5, 6, 7, 5, 6, 5, 8]])


def attending_to(source, n_keys):
    """A pattern of one head that puts everything on one key."""
    return torch.nn.functional.one_hot(torch.as_tensor(source), n_keys)[:, None].float()


def random_pattern(batch=2, heads=3, length=150, causal=True, seed=0):
    logits = 3 * torch.randn(batch, heads, length, length, generator=torch.Generator().manual_seed(seed))
    if causal:
        logits = logits.masked_fill(~torch.ones(length, length).tril().bool(), -math.inf)
    return logits.softmax(-1)


def pairs(keys):
    return keys[0].nonzero().tolist()


def test_a_query_is_matched_to_what_followed_its_own_token_before():
    assert pairs(scores.induction(TOKENS)) == [[4, 2], [5, 3], [6, 2], [6, 5]]
    assert pairs(scores.duplicate_token(TOKENS)) == [[4, 1], [5, 2], [6, 1], [6, 4]]


def test_on_n_tokens_repeated_induction_is_the_stripe_at_one_minus_n():
    n = 5
    tokens = torch.cat([torch.arange(1, n + 1)] * 2)[None]
    stripe = torch.zeros(2 * n, 2 * n, dtype=torch.bool)
    stripe.diagonal(1 - n).fill_(True)
    stripe[:n] = False  # in the first half nothing has come before
    assert torch.equal(scores.induction(tokens)[0], stripe)


def test_places_that_do_not_depend_on_tokens():
    n = TOKENS.shape[1]
    assert pairs(scores.previous_token(TOKENS)) == [[q, q - 1] for q in range(1, n)]
    assert pairs(scores.current_token(TOKENS)) == [[q, q] for q in range(n)]
    assert pairs(scores.first_token(TOKENS)) == [[q, 0] for q in range(n)]
    assert pairs(scores.local(2)(TOKENS)) == [[q, k] for q in range(n) for k in range(n) if 0 <= q - k <= 2]


def test_an_ideal_induction_head_scores_1_and_an_even_one_its_share():
    nearest = attending_to([[0, 0, 0, 0, 2, 3, 5, 0]], 8)
    farthest = attending_to([[0, 0, 0, 0, 2, 3, 2, 0]], 8)
    one_early = attending_to([[0, 0, 0, 0, 1, 2, 4, 0]], 8)
    even = torch.full((1, 1, 8, 8), 1 / 8)
    found = scores.attention_to(torch.cat([nearest, farthest, one_early, even], 1), scores.induction(TOKENS))
    assert found.tolist() == pytest.approx([1, 1, 0, 4 / 3 / 8])


def test_an_ideal_previous_token_head_agrees_wholly_and_another_hardly():
    ideal = attending_to([[0, 0, 1, 2, 3, 4, 5, 6]], 8)
    duplicate = attending_to([[0, 0, 0, 0, 1, 2, 4, 0]], 8)
    both, keys = torch.cat([ideal, duplicate], 1), scores.previous_token(TOKENS)
    assert scores.attention_to(both, keys).tolist() == [1, pytest.approx(1 / 7)]
    assert scores.agreement(both, keys).tolist() == pytest.approx([1, 1 - 2 * 6 / 7])


@pytest.mark.parametrize("causal", [True, False])
def test_scores_are_those_of_loops_and_the_pattern_stays_as_it_was(causal):
    pattern, length = random_pattern(causal=causal), 150
    before = pattern.clone()
    keys = torch.rand(2, length, length, generator=torch.Generator().manual_seed(1)) < 0.02
    keys[:, 40:60] = False
    share, apart, n = np.zeros(3), np.zeros(3), 0
    for batch in range(2):
        for query in range(length):
            marked = keys[batch, query]
            if not marked.any():
                continue
            n += 1
            for head in range(3):
                row = pattern[batch, head, query].double()
                share[head] += float(row[marked].sum())
                apart[head] += sum(abs(float(a) - float(d)) for a, d in zip(row, marked, strict=True))
    assert 200 < n < 300
    assert scores.attention_to(pattern, keys).numpy() == pytest.approx(share / n, abs=1e-5)
    assert scores.agreement(pattern, keys).numpy() == pytest.approx(1 - apart / n, abs=1e-5)
    plain = torch.distributions.Categorical(probs=pattern.double()).entropy() / math.log(2)
    assert torch.allclose(scores.entropy(pattern, causal).double(), plain, atol=1e-4)
    query, key = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    far = (pattern * (query - key).abs()).sum(-1)
    assert torch.allclose(scores.distance(pattern), far, atol=1e-3)
    assert torch.equal(pattern, before)


def test_entropy_is_in_bits():
    even = torch.full((1, 1, 8, 8), 1 / 8)
    assert scores.entropy(even).unique().tolist() == pytest.approx([3])
    assert scores.entropy(attending_to([[0] * 8], 8)).abs().max() == 0


def test_in_the_tasks_repeat_it_is_among_others_the_position_that_the_label_names():
    data = RepeatedSequences().dataset(20)
    matched = scores.induction(data.tokens)
    source = torch.tensor(data.labels["induction_source"].fill_null(-1).to_pylist()).view(20, -1)
    seq, query = (source >= 0).nonzero(as_tuple=True)
    assert len(seq)
    assert matched[seq, query, source[seq, query]].all()
    assert (matched.any(-1) == (source >= 0)).all()


def test_without_a_repeated_token_there_is_nothing_to_match():
    keys = scores.induction(torch.tensor([[0, 1, 2]]))
    for score in (scores.attention_to, scores.agreement):
        with pytest.raises(ValueError, match="no query"):
            score(torch.full((1, 1, 3, 3), 1 / 3), keys)


def test_labels_of_some_sequences_are_grids_with_nothing_at_bos_and_padding():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    labels = pa.table(
        {
            "kind": pa.array([None, "a", None, None, "b"]).dictionary_encode(),
            "depth": pa.array([None, 3, None, 4, 5], pa.int16()),
            "is_name": pa.array([None, True, None, False, True]),
        }
    )
    data = Dataset(torch.zeros(2, 3, dtype=torch.long), mask, labels=labels)
    grids = LabelGrids(data)
    assert grids["kind"].tolist() == [[None, "a", None], [None, None, "b"]]
    assert grids["is_name"].tolist() == [[False, True, False], [False, False, True]]
    np.testing.assert_array_equal(grids["depth"], [[np.nan, 3, np.nan], [np.nan, 4, 5]])
    assert LabelGrids(data, 1, 2)["kind"].tolist() == [[None, None, "b"]]
    assert set(grids) == {"kind", "depth", "is_name"}
    with pytest.raises(MissingLabelError, match="no label 'role': there are kind"):
        grids["role"]


N_CTX = 64


@pytest.fixture(scope="module")
def python():
    """Some of Python's own source as sequences with their labels, and which bracket each token closes."""
    text = "".join(inspect.getsource(module) for module in (textwrap, heapq, pprint))
    text = text.replace('f"', '"').replace("f'", "'")  # tokenize sees no brackets of fields
    tokenizer = train_tokenizer([text], 700)
    (ids,), (edges,) = encode_with_edges(tokenizer, [text])
    labels = label_document(text, ids, edges, "python", N_CTX - 1)
    tokens, mask, docs = pack_tokens([ids], N_CTX, 0)
    data = Dataset(tokens, mask, docs, labels=label_table([labels], "python", N_CTX), tokenizer=tokenizer)
    return data, true_places(text, edges)


def true_places(text, edges):
    """For each token that begins with a closing bracket the token that holds the opening one, as tokenize has them."""
    starts = np.cumsum([0, *(len(line) for line in text.splitlines(keepends=True))])
    token_of = {char: token for token, (start, end) in enumerate(edges.T) for char in range(start, end)}
    stack, opened_by = [], {}
    for found in tokenize.generate_tokens(io.StringIO(text).readline):
        char = int(starts[found.start[0] - 1]) + found.start[1]
        if found.type == tokenize.OP and found.string in ("(", "[", "{"):
            stack.append(char)
        elif found.type == tokenize.OP and found.string in (")", "]", "}"):
            opened, token = stack.pop(), token_of[char]
            if not text[edges[0, token] : char].strip():
                opened_by[token] = token_of[opened]
    return opened_by


def test_each_closing_bracket_is_matched_to_the_one_that_pythons_tokenizer_pairs_it_with(python):
    data, opened_by = python
    matched, _ = bracket_places(LabelGrids(data))
    per = N_CTX - 1
    closing = np.argwhere(matched >= 0).tolist()
    found = {seq * per + pos - 1: seq * per + int(matched[seq, pos]) - 1 for seq, pos in closing}
    assert found.keys() <= opened_by.keys()
    wrong = [token for token, opened in found.items() if opened_by[token] != opened]
    within = {token for token, opened in opened_by.items() if token // per == opened // per}
    assert not wrong
    assert len(found) > 400
    assert len(found) >= 0.95 * len(within)
    assert int(matching_bracket(data.tokens, LabelGrids(data)).sum()) == len(found)


def test_what_stands_inside_brackets_is_led_to_the_innermost_that_is_open(python):
    data, _ = python
    grids = LabelGrids(data)
    seq, query, key = (x.numpy() for x in open_bracket(data.tokens, grids).nonzero(as_tuple=True))
    assert len(seq) > 1000
    assert (key < query).all()
    assert (grids["bracket_depth"][seq, query] == grids["bracket_depth"][seq, key]).all()
    kinds = {"round": "(", "square": "[", "curly": "{"}
    agree = [kinds[k] == b for k, b in zip(grids["bracket_kind"][seq, query], grids["bracket"][seq, key], strict=True)]
    assert np.mean(agree) > 0.99


def test_a_bracket_whose_other_half_the_labels_do_not_name_is_matched_to_nothing():
    brackets = np.array([[None, "(", ")", ")", "[", None, "(", "]"]], dtype=object)
    depths = np.array([[np.nan, 1, 1, 1, 1, 1, 2, 1]])
    matched, inside = bracket_places({"bracket": brackets, "bracket_depth": depths})
    assert matched.tolist() == [[-1, -1, 1, -1, -1, -1, -1, 4]]
    assert inside.tolist() == [[-1, -1, -1, -1, -1, 4, -1, -1]]
    other_kind = np.array([[None, "(", None, "]"]], dtype=object)
    matched, _ = bracket_places({"bracket": other_kind, "bracket_depth": np.array([[np.nan, 1, 1, 1]])})
    assert (matched == -1).all()
