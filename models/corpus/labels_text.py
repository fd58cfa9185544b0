"""Labels that any text has, from its characters alone.

The rules are simple on purpose, so that each label is exact by its own definition: a sentence ends at `.`, `!` or `?`
(closing quotes and brackets may follow) before white space, and at a blank line; brackets and quotes are matched
within a paragraph, a run of lines that are not blank.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt8

from models.corpus.characters import Characters, TokenSpans, bucket, containing, depth, inside, painted, part_of
from models.corpus.label_columns import COLUMNS, LETTER_CLASSES, SCRIPTS

_WORD = re.compile(r"\w+")
_URL = re.compile(r"(?:https?|ftp|file)://[^\s<>\"'`]+|www\.[^\s<>\"'`]+")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|\Z)|\n[^\S\n]*(?=\n)")
_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n(?=[^\n]*\S)[^\n]*)*")
_LIST_ITEM = re.compile(r"^[^\S\n]*(?:[-*+•]|\(?\d{1,3}[.)]|[A-Za-z][.)])[^\S\n]", re.MULTILINE)
_HYPHENATED = re.compile(r"\w+(?:-\w+)+")
_NUMBERS = {
    "time": re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b"),
    "percent": re.compile(r"\b\d+(?:[.,]\d+)*\s?%"),
    "ordinal": re.compile(r"\b\d+(?:st|nd|rd|th)\b"),
    "grouped": re.compile(r"\b\d{1,3}(?:,\d{3})+(?:\.\d+)?\b"),
    "decimal": re.compile(r"\b\d+\.\d+\b"),
    "year": re.compile(r"\b(?:1[5-9]|20)\d{2}\b"),
    "integer": re.compile(r"\d+"),
}
_QUOTES = {
    "double": re.compile(r'"[^"]*"'),
    "curly": re.compile("“[^“”]*”|‘[^‘’]*’(?!\\w)"),
    "guillemet": re.compile("«[^«»]*»"),
    "backtick": re.compile("`[^`]+`"),
}
_CLOSES = {")": "(", "]": "[", "}": "{"}
_KIND_OF_BRACKET = {"(": "round", "[": "square", "{": "curly"}
_SCRIPT_OF_NAME = {
    "LATIN": "latin", "GREEK": "greek", "CYRILLIC": "cyrillic", "HEBREW": "hebrew", "ARABIC": "arabic",
    "DEVANAGARI": "devanagari", "CJK": "han", "HIRAGANA": "kana", "KATAKANA": "kana", "HANGUL": "hangul",
}  # fmt: skip


def label_shared(characters: Characters, spans: TokenSpans) -> dict[str, np.ndarray]:
    """The labels that text and Python source share, but for repetition (`labels_repetition.py`)."""
    words = _Runs.of(_WORD, characters.text, spans.first)
    row = characters.lines_at(spans.first)
    line_first, line_last = characters.line_edges
    before = np.maximum(spans.first - 1, 0)
    lengths = characters.line_ends - characters.line_starts
    margins = np.where(line_first >= 0, line_first - characters.line_starts, 0)
    above = np.concatenate([[False], line_first[:-1] < 0])
    return {
        "char_class": _table(characters, _letter_class)[spans.first],
        "script": _table(characters, _script)[spans.first],
        "word_position": part_of(spans, words.starts, words.ends, words.found),
        "capitalisation": words.category([_capitalisation(word) for word in words.texts]),
        "word_length": _int16(np.where(words.found, words.ends - words.starts, 0)),
        "token_length": _int16(spans.ends - spans.starts),
        "after_space": (spans.first == 0) | characters.is_space[before],
        "first_in_line": (spans.first == line_first[row]) & ~spans.blank,
        "last_in_line": (line_last[row] >= spans.first) & (line_last[row] < spans.ends) & ~spans.blank,
        "column": bucket(spans.first - characters.line_starts[row], (0, 1, 8, 16, 32, 64)),
        "line_length": bucket(lengths, (1, 21, 41, 61, 81))[row],
        "line_indent": _int16(margins)[row],
        "blank_line_before": above[row],
        "inside_url": inside(_addresses(characters), spans.first),
    }


def label_text(characters: Characters, spans: TokenSpans) -> dict[str, np.ndarray]:
    """The labels of `TEXT_COLUMNS` that Python source does not share."""
    text, first = characters.text, spans.first
    paragraphs = np.array(_matches(_PARAGRAPH, text), dtype=np.int64).reshape(-1, 2)
    digits = _Runs.of(_NUMBERS["integer"], text, first)
    return {
        "punctuation": _punctuation(characters)[first],
        "number_format": _by_pattern("number_format", _NUMBERS.items(), text, first),
        "number_length": _int16(np.where(digits.found, digits.ends - digits.starts, 0)),
        "quote_kind": _quotes(text, paragraphs.tolist(), first),
        "paragraph_start": np.isin(first, paragraphs[:, 0]) & ~spans.blank,
        "list_item": inside(_whole_lines(characters, _matches(_LIST_ITEM, text)), first),
        "heading": inside(_heading_lines(characters), first),
        "hyphenated": inside(_matches(_HYPHENATED, text), first),
        **_text_brackets(text, paragraphs.tolist(), first),
        **_sentences(characters, spans),
    }


class _Runs:
    """The matches of a pattern (words, numbers), and which of them each token starts in."""

    def __init__(self, edges: Int[np.ndarray, "run 2"], texts: list[str], run: Int[np.ndarray, " token"]) -> None:
        self.texts, self.run, self.found = texts, run, run >= 0
        self.starts, self.ends = np.append(edges[:, 0], 0)[run], np.append(edges[:, 1], 0)[run]

    @classmethod
    def of(cls, pattern: re.Pattern[str], text: str, positions: Int[np.ndarray, " token"]) -> "_Runs":
        matches = _matches(pattern, text)
        edges = np.array(matches, dtype=np.int64).reshape(-1, 2)
        found = [text[start:end] for start, end in matches]
        return cls(edges, found, containing(edges[:, 0], edges[:, 1], positions))

    def category(self, codes: list[int]) -> UInt8[np.ndarray, " token"]:
        return np.array([*codes, 0], dtype=np.uint8)[self.run]


def _int16(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.minimum(values, np.iinfo(np.int16).max).astype(np.int16)


def _matches(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text)]


def _table(characters: Characters, code_of: Callable[[str], int]) -> UInt8[np.ndarray, " char"]:
    """The code of each character, looked up once per distinct character."""
    counts = np.bincount(characters.codes)
    table = np.zeros(len(counts), dtype=np.uint8)
    present = np.flatnonzero(counts)
    table[present] = [code_of(chr(code)) for code in present.tolist()]
    return table[characters.codes]


@lru_cache(maxsize=1 << 16)
def _letter_class(char: str) -> int:
    category = unicodedata.category(char)
    named = {"Ll": "lower", "Lu": "upper", "Lt": "upper", "Nd": "digit", "Zs": "space"}
    by_group = {"L": "other_letter", "N": "digit", "P": "punctuation", "S": "symbol", "M": "mark"}
    if char == "\n":
        found = "newline"
    elif char.isspace():
        found = "space"
    else:
        found = named.get(category) or by_group.get(category[0], "other")
    return LETTER_CLASSES.index(found) + 1


@lru_cache(maxsize=1 << 16)
def _script(char: str) -> int:
    if not char.isalpha():
        return 0
    name = unicodedata.name(char, "")
    return SCRIPTS.index(_SCRIPT_OF_NAME.get(re.split("[ -]", name)[0], "other")) + 1


@lru_cache(maxsize=1 << 16)
def _capitalisation(word: str) -> int:
    letters = [char for char in word if char.isupper() or char.islower()]
    if not letters:
        return 0
    if all(char.islower() for char in letters):
        found = "lower"
    elif len(letters) > 1 and all(char.isupper() for char in letters):
        found = "upper"
    elif letters[0].isupper() and all(char.islower() for char in letters[1:]):
        found = "capitalised"
    else:
        found = "mixed"
    return COLUMNS["capitalisation"].code(found)


def _addresses(characters: Characters) -> list[tuple[int, int]]:
    text = characters.text
    # Mail is looked for only in lines with an @: the pattern is slow, and the lines are few.
    rows = np.unique(characters.lines_at(np.flatnonzero(characters.codes == ord("@"))))
    lines = zip(characters.line_starts[rows].tolist(), characters.line_ends[rows].tolist(), strict=True)
    mail = [match.span() for start, end in lines for match in _MAIL.finditer(text, start, end)]
    return _matches(_URL, text) + mail


def _punctuation(characters: Characters) -> UInt8[np.ndarray, " char"]:
    codes = {value: i + 1 for i, value in enumerate(COLUMNS["punctuation"].values)}
    return _table(characters, lambda char: codes.get(char, 0))


def _by_pattern(
    column: str, patterns: Iterable[tuple[str, re.Pattern[str]]], text: str, positions: Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, " n"]:
    """The code of the first pattern that matches around each position."""
    codes = np.zeros(len(positions), dtype=np.uint8)
    for value, pattern in patterns:
        codes[inside(_matches(pattern, text), positions) & (codes == 0)] = COLUMNS[column].code(value)
    return codes


def _quotes(text: str, paragraphs: list[list[int]], positions: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, " n"]:
    codes = np.zeros(len(positions), dtype=np.uint8)
    for kind, pattern in _QUOTES.items():
        spans = [m.span() for start, end in paragraphs for m in pattern.finditer(text, start, end)]
        codes[inside(spans, positions) & (codes == 0)] = COLUMNS["quote_kind"].code(kind)
    return codes


def _text_brackets(text: str, paragraphs: list[list[int]], positions: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Brackets that close in their paragraph; those that never do, and those never opened, count for nothing."""
    pairs: list[tuple[int, int]] = []
    for start, end in paragraphs:
        stack: list[int] = []
        for match in re.compile(r"[()\[\]{}]").finditer(text, start, end):
            char, at = match[0], match.start()
            if char in _KIND_OF_BRACKET:
                stack.append(at)
            elif any(text[i] == _CLOSES[char] for i in stack):
                while text[stack[-1]] != _CLOSES[char]:
                    stack.pop()
                pairs.append((stack.pop(), at + 1))
    pairs.sort()
    column = COLUMNS["bracket_kind"]
    kinds = painted(len(text), pairs, [column.code(_KIND_OF_BRACKET[text[start]]) for start, _ in pairs], 0)[positions]
    return {"bracket_kind": kinds, "bracket_depth": _int16(depth(pairs, positions))}


def _heading_lines(characters: Characters) -> list[tuple[int, int]]:
    lines = zip(characters.line_starts.tolist(), characters.line_ends.tolist(), strict=True)
    return [(start, end) for start, end in lines if _is_heading(characters.text[start:end])]


def _is_heading(line: str) -> bool:
    return bool(re.match(r"#{1,6} \S", line)) or (line.isupper() and len(line.strip()) > 3)


def _whole_lines(characters: Characters, matches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The lines that the matches end in."""
    rows = characters.lines_at(np.array([end - 1 for _, end in matches], dtype=np.int64))
    return list(zip(characters.line_starts[rows].tolist(), characters.line_ends[rows].tolist(), strict=True))


def _sentences(characters: Characters, spans: TokenSpans) -> dict[str, np.ndarray]:
    text, first = characters.text, spans.first
    marks = _matches(_SENTENCE_END, text)
    ends = np.array([*(end for _, end in marks), len(text) + 1], dtype=np.int64)
    words = np.array(_matches(_WORD, text), dtype=np.int64).reshape(-1, 2)
    sentence = np.searchsorted(ends, first, side="right")
    sentence_of_word = np.searchsorted(ends, words[:, 0], side="right")
    words_before_sentence = np.searchsorted(sentence_of_word, np.arange(len(ends) + 1))
    begun = np.searchsorted(words[:, 0], first, side="right")
    word_number = begun - words_before_sentence[sentence]
    first_words = words[words_before_sentence[: len(ends)][np.diff(words_before_sentence) > 0], 0]
    mark_text = [text[start:end].strip() for start, end in marks]
    column = COLUMNS["sentence_type"]
    types = [column.code(_sentence_type(mark)) if mark else 0 for mark in mark_text]
    closing = [span for span, mark in zip(marks, mark_text, strict=True) if mark]
    return {
        "sentence_start": np.isin(first, first_words),
        "sentence_end": inside(closing, first) & ~spans.blank,
        "sentence_word": _int16(word_number),
        "sentence_type": np.array([*types, 0], dtype=np.uint8)[sentence],
    }


def _sentence_type(mark: str) -> str:
    return "question" if "?" in mark else "exclamation" if "!" in mark else "statement"
