"""A byte-level BPE tokenizer trained on the corpus, and the characters each of its tokens covers."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from models.corpus.characters import Characters, TokenSpans

BOS = "<|bos|>"
BOS_ID = 0
MIN_VOCAB = 257  # BOS and the 256 bytes
_TEXTS_AT_ONCE = 256  # what a tokenizer says of a token is a hundred times as large as its id

# GPT-2's pattern, but line breaks stand apart from the indentation after them, so that each can be told by itself.
# A piece never joins letters to punctuation, so no merge can spell BOS.
_PIECES = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|[\r\n]+|[^\S\r\n]+(?=[\r\n]|\z)|[^\S\r\n]+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 2048) -> Tokenizer:
    """Trains byte-level BPE. The same texts in the same order give the same tokenizer.

    BOS is id 0 and no text becomes it: it is an entry of the vocabulary that no merge leads to, not a special token
    that would be looked for in texts, and it stays so when the tokenizer is saved and read again.
    """
    if vocab_size < MIN_VOCAB:
        raise ValueError(f"vocab_size {vocab_size} is too small: BOS and the 256 bytes need {MIN_VOCAB}.")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(state))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Int[np.ndarray, " token"]]:
    """The token ids of each text, without BOS, on all cores."""
    return [np.array(e.ids, dtype=np.int32) for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def encode_with_edges(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[list[Int[np.ndarray, " token"]], list[Int32[np.ndarray, "2 token"]]]:
    """The token ids of each text, without BOS, and the characters `start … end` each covers, of any tokenizer at all.

    A tokenizer that leaves characters out, or says some twice, says so in these edges alone: its tokens need not be
    bytes of the text.
    """
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.post_processor = None  # it may take the space at its start off a token's characters
    ids, edges = [], []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        for text, found in zip(
            texts[start : start + _TEXTS_AT_ONCE],
            plain.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE]), add_special_tokens=False),
            strict=True,
        ):
            spans = np.array(found.offsets, dtype=np.int32).reshape(-1, 2).T
            spans[0] = spans[0].clip(max=max(len(text) - 1, 0))  # what stands for no character stands at the last
            ids.append(np.array(found.ids, dtype=np.int32))
            edges.append(spans)
    return ids, edges


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of text that each token id stands for; none for BOS."""
    names = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    return [b"" if i == BOS_ID else bytes(_BYTE_OF[char] for char in name) for i, name in enumerate(names)]


def token_strings(tokenizer: Tokenizer) -> list[str]:
    """How each token id is shown: its text, with line breaks as ⏎ and tabs as ⇥.

    Control characters, and bytes that are no whole character, are shown as \\xNN.
    """
    shown = [_show(piece) for piece in token_bytes(tokenizer)]
    return [BOS, *shown[1:]]


def token_spans(characters: Characters, ids: Int[np.ndarray, " token"], sizes: Int[np.ndarray, " id"]) -> TokenSpans:
    """The characters each token of a text covers.

    A token that starts or ends inside a character of several bytes covers the whole of it.

    Args:
        sizes: how many bytes each token id stands for.

    Raises:
        ValueError: the tokens are not those of this text.
    """
    data = np.frombuffer(characters.text.encode(), dtype=np.uint8)
    ends = np.cumsum(sizes[ids])
    if (int(ends[-1]) if len(ends) else 0) != len(data):
        raise ValueError(
            f"the tokens stand for {ends[-1:]} bytes, the text has {len(data)}: they do not belong together."
        )
    character_of_byte = np.cumsum((data & 0xC0) != 0x80) - 1
    starts = ends - sizes[ids]
    return TokenSpans.of(characters, ids, character_of_byte[starts], character_of_byte[ends - 1] + 1)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's stand-ins for bytes: printable bytes stand for themselves, the others are moved up to U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _show(piece: bytes) -> str:
    text = piece.decode("utf-8", errors="backslashreplace")
    return "".join(_SHOWN.get(char) or (char if char.isprintable() else f"\\x{ord(char):02x}") for char in text)


_SHOWN = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
