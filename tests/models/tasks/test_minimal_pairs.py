"""Minimal pairs: aligned token by token, different in one place, and each answered by its own token."""

import argparse
import ast
import inspect
import subprocess
import tarfile
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer

from models.corpus.tokenizer import token_bytes, train_tokenizer
from models.tasks import python_minimal_pairs
from models.tasks.minimal_pairs import KINDS, NAMES, MinimalPairs

each_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def tokenizer() -> Tokenizer:
    """Trained on source that has both quotes, and the names of the pairs many times."""
    sources = [inspect.getsource(module) for module in (argparse, ast, inspect, subprocess, tarfile)]
    return train_tokenizer([*sources, " ".join([*NAMES, *NAMES, ""]) * 30], 1200)


@cache
def pairs_of(kind: str) -> MinimalPairs:
    return python_minimal_pairs(kind, 40, 0, tokenizer())


@cache
def pieces() -> list[bytes]:
    return token_bytes(tokenizer())


def text_of(ids) -> str:
    return b"".join(pieces()[int(i)] for i in ids).decode()


@each_kind
def test_tokens_are_those_of_the_texts_and_answers_come_next(kind):
    pairs = pairs_of(kind)
    assert len(pairs) == len(pairs.clean) == len(set(pairs.clean_text)) == 40
    sides = ((pairs.clean, pairs.clean_text, pairs.answer), (pairs.corrupt, pairs.corrupt_text, pairs.wrong))
    for tokens, texts, answers in sides:
        for i, text in enumerate(texts):
            real = tokens[i][pairs.mask[i]].tolist()
            assert real == [0, *tokenizer().encode(text).ids]
            assert pairs.position[i] == len(real) - 1
            for answer in (pairs.answer[i], pairs.wrong[i]):
                assert tokenizer().encode(text + text_of([answer])).ids == [*real[1:], int(answer)]
            assert text_of([answers[i]]).strip()


@each_kind
def test_the_two_prompts_differ_in_one_place_and_in_their_answers(kind):
    pairs = pairs_of(kind)
    assert (pairs.answer != pairs.wrong).all()
    assert torch.equal(pairs.differs, pairs.clean != pairs.corrupt)
    for row in pairs.differs:
        places = row.nonzero().flatten()
        assert len(places) >= 1
        assert places[-1] - places[0] == len(places) - 1, "the tokens that differ stand side by side"
    assert (pairs.differs.sum(1) == 1).float().mean() > 0.8
    assert not (pairs.differs & ~pairs.mask).any()


@each_kind
def test_either_side_of_a_pair_may_be_the_clean_one(kind):
    pairs = pairs_of(kind)
    answers = {text_of([answer]) for answer in pairs.answer}
    assert answers & {text_of([wrong]) for wrong in pairs.wrong}


CLOSED_BY = {"(": ")", "[": "]", "{": "}"}


def test_the_answer_closes_the_bracket_that_is_open():
    pairs = pairs_of("bracket")
    for texts, answers in ((pairs.clean_text, pairs.answer), (pairs.corrupt_text, pairs.wrong)):
        for text, answer in zip(texts, answers, strict=True):
            (opened,) = [c for c in text if c in CLOSED_BY]
            assert text_of([answer]) == CLOSED_BY[opened]


def test_the_answer_ends_the_string_as_it_began():
    pairs = pairs_of("quote")
    for text, answer in zip(pairs.clean_text, pairs.answer, strict=True):
        (opened,) = [c for c in text if c in "'\""]
        assert text_of([answer]) == opened


def test_the_answer_is_the_name_that_was_used_last():
    pairs = pairs_of("name")
    for i, text in enumerate(pairs.clean_text):
        answer, wrong = (text_of([token]).strip() for token in (pairs.answer[i], pairs.wrong[i]))
        words = "".join(c if c.isidentifier() else " " for c in text).split()
        assert words.count(answer) == 2, "given, and used once"
        assert words.count(wrong) == 1


def test_the_keyword_that_is_wrong_there_does_not_even_parse_or_belongs_elsewhere():
    """`return` in a class body and `break` outside a loop are errors; the answer always compiles."""
    pairs = pairs_of("keyword")
    endings = {"def": " g(): pass", "return": "", "break": ""}
    refused = 0
    for i, text in enumerate(pairs.clean_text):
        answer, wrong = (text_of([token]) for token in (pairs.answer[i], pairs.wrong[i]))
        compile(text + answer + endings[answer.strip()], "clean", "exec")
        ast.parse(text + wrong + endings[wrong.strip()])
        try:
            compile(text + wrong + endings[wrong.strip()], "wrong", "exec")
        except SyntaxError:
            refused += 1
    assert refused > 10


def test_seeds_give_the_same_pairs_and_others_others():
    again = python_minimal_pairs("quote", 40, 0, tokenizer())
    assert again.clean_text == pairs_of("quote").clean_text
    assert python_minimal_pairs("quote", 40, 1, tokenizer()).clean_text != again.clean_text


def test_too_few_aligned_pairs_are_said_so():
    bytes_only = train_tokenizer(["x"], 257)
    with pytest.raises(ValueError, match="keyword pairs drawn, only 0 different ones are aligned under this tokenizer"):
        python_minimal_pairs("keyword", 5, 0, bytes_only)
    few_names = train_tokenizer(
        ["def x(self, y, n):\n    self.y = y\n    return x\nreturn y\nwhile n < 10\n" * 50], 300
    )
    with pytest.raises(ValueError, match="but 200 are wanted: ask for fewer"):
        python_minimal_pairs("name", 200, 0, few_names)


@pytest.mark.parametrize(
    ("kind", "n", "sentence"),
    [
        ("brackets", 5, "no kind of minimal pair is called 'brackets': there are bracket, quote, name, keyword"),
        ("bracket", 0, "0 pairs were asked for: it must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, n, sentence):
    with pytest.raises(ValueError, match=sentence):
        python_minimal_pairs(kind, n, 0, tokenizer())


def test_pairs_are_a_dataset_whose_labels_say_where_they_differ():
    pairs = python_minimal_pairs("bracket", 20, 0, tokenizer())
    data = pairs.dataset(tokenizer())
    assert len(data) == 40
    labels = data.labels.to_pydict()
    assert labels["differs"][0] is None  # BOS
    real = data.mask.clone()
    differs = torch.zeros_like(real)
    differs[real] = torch.tensor([bool(v) for v in labels["differs"]])
    assert torch.equal(differs[:20], pairs.clean != pairs.corrupt)
    asked = data.targets != -100
    assert asked.sum(1).tolist() == [1] * 40
    assert data.targets[asked].tolist() == [*pairs.answer.tolist(), *pairs.wrong.tolist()]
    assert data.docs.tolist() == [*range(20), *range(20)]
