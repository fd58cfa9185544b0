"""The tokenizer: exact round trips, BOS that no text becomes, and the characters of each token."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.corpus.characters import Characters
from models.corpus.tokenizer import BOS, BOS_ID, encode, token_bytes, token_spans, token_strings, train_tokenizer

TEXTS = ["def f(x):\n    return x <|bos|> 1\n" * 40, "é漢 naïve 😀 words\n\n\tand more words\n" * 40, BOS * 200]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return _tokenizer()


ANY_TEXT = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t<|bos>é漢😀")))


@given(ANY_TEXT)
def test_decoding_gives_the_text_back(text: str) -> None:
    trained = _tokenizer()
    (ids,) = encode(trained, [text])
    assert trained.decode(ids.tolist(), skip_special_tokens=False) == text
    assert b"".join(token_bytes(trained)[i] for i in ids).decode() == text


@given(st.lists(st.sampled_from([BOS, "<|", "bos", "|>", " ", "\n", "x"])))
def test_no_text_becomes_bos(pieces: list[str]) -> None:
    text = "".join(pieces)
    for trained in (_tokenizer(), Tokenizer.from_str(_tokenizer().to_str())):
        assert BOS_ID not in encode(trained, [text])[0]
        assert BOS_ID not in trained.encode(text).ids


@given(ANY_TEXT)
def test_each_token_s_characters_are_those_the_library_says(text: str) -> None:
    trained = _tokenizer()
    (ids,) = encode(trained, [text])
    spans = token_spans(Characters(text), ids, np.array([len(piece) for piece in token_bytes(trained)]))
    # `tokenizers` reports a character of which a token is a part as the whole of it, too.
    assert list(zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)) == trained.encode(text).offsets
    for first, blank, (start, end) in zip(spans.first, spans.blank, trained.encode(text).offsets, strict=True):
        piece = text[start:end]
        assert blank == (not piece.strip())
        assert first == (start if blank else start + len(piece) - len(piece.lstrip()))


@cache
def _tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


def test_bos_is_id_0_and_the_size_is_kept(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id(BOS) == BOS_ID == 0
    assert tokenizer.get_vocab_size() <= 400
    assert token_bytes(tokenizer)[BOS_ID] == b""
    assert sorted({piece for piece in token_bytes(tokenizer) if len(piece) == 1}) == [bytes([b]) for b in range(256)]


def test_the_same_texts_train_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train_tokenizer(iter(TEXTS), 400).to_str() == tokenizer.to_str()


def test_line_breaks_stand_apart_from_indentation(tokenizer: Tokenizer) -> None:
    pieces = token_bytes(tokenizer)
    assert not [piece for piece in pieces if b"\n" in piece and piece.strip(b"\n")]


def test_display_strings_show_line_breaks_and_broken_characters(tokenizer: Tokenizer) -> None:
    shown = dict(zip(token_bytes(tokenizer), token_strings(tokenizer), strict=True))
    assert token_strings(tokenizer)[BOS_ID] == BOS
    assert (shown[b"\n"], shown[b"\t"], shown[b"\x00"], shown[b"\xe6"], shown[b"a"]) == (
        "⏎",
        "⇥",
        "\\x00",
        "\\xe6",
        "a",
    )
    assert all(string.isprintable() for string in token_strings(tokenizer))


def test_tokens_of_another_text_are_refused(tokenizer: Tokenizer) -> None:
    (ids,) = encode(tokenizer, ["some text"])
    with pytest.raises(ValueError, match="do not belong together"):
        token_spans(Characters("some texts"), ids, np.array([len(piece) for piece in token_bytes(tokenizer)]))


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="need 257"):
        train_tokenizer(TEXTS, 100)
