"""Labels of any text against hand-worked spans, and repetition against a plain loop."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.corpus.characters import Characters, TokenSpans, containing, depth, inside
from models.corpus.label_columns import COLUMNS, SHARED_COLUMNS, TEXT_COLUMNS
from models.corpus.labels_repetition import label_repetition
from models.corpus.labels_text import label_shared, label_text

Value = bool | int | str | None
TEXT = st.text(alphabet=st.sampled_from("ab Zé漢1.?!\"'()[]{}-\n\t\x0c\u2028,:%"), max_size=60)


def one_token_a_character(text: str) -> tuple[Characters, TokenSpans]:
    characters = Characters(text)
    starts = np.arange(len(text))
    return characters, TokenSpans.of(characters, np.zeros(len(text), dtype=np.int64), starts, starts + 1)


def covered(text: str, column: str, value: Value = True) -> list[str]:
    """The longest runs of characters that carry the label."""
    document = one_token_a_character(text)
    found = (label_shared(*document) | label_text(*document))[column].tolist()
    if COLUMNS[column].kind == "category":
        found = [COLUMNS[column].values[code - 1] if code else None for code in found]
    runs: list[str] = []
    within = False
    for char, label in zip(text, found, strict=True):
        if label == value:
            runs.append(runs.pop() + char if within else char)
        within = label == value
    return runs


CASES = [
    ("Ab é漢 1,\n$", "char_class", "upper", ["A"]),
    ("Ab é漢 1,\n$", "char_class", "lower", ["b", "é"]),
    ("Ab é漢 1,\n$", "char_class", "other_letter", ["漢"]),
    ("Ab é漢 1,\n$", "char_class", "newline", ["\n"]),
    ("Ab é漢 1,\n$", "char_class", "symbol", ["$"]),
    ("abc δε Жу 漢 かカ 한 ש", "script", "greek", ["δε"]),
    ("abc δε Жу 漢 かカ 한 ש", "script", "han", ["漢"]),
    ("abc δε Жу 漢 かカ 한 ש", "script", "kana", ["かカ"]),
    ("one NASA Paris McCoy I x2", "capitalisation", "upper", ["NASA"]),
    ("one NASA Paris McCoy I x2", "capitalisation", "capitalised", ["Paris", "I"]),
    ("one NASA Paris McCoy I x2", "capitalisation", "mixed", ["McCoy"]),
    ("one four", "word_length", 4, ["four"]),
    ("a (b [c] d) e", "bracket_kind", "round", ["(b ", " d)"]),
    ("a (b [c] d) e", "bracket_depth", 2, ["[c]"]),
    ("a) (b\n\nc) [d}", "bracket_depth", 0, ["a) (b\n\nc) [d}"]),
    ('he said "no way" and “go”', "quote_kind", "double", ['"no way"']),
    ('he said "no way" and “go”', "quote_kind", "curly", ["“go”"]),
    ('one "open\n\nand "shut"', "quote_kind", "double", ['"shut"']),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "integer", ["1"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "decimal", ["2.5"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "grouped", ["1,000"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "ordinal", ["3rd"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "time", ["9:30"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "percent", ["50%"]),
    ("1 2.5 1,000 3rd 9:30 50% 1984", "number_format", "year", ["1984"]),
    ("1 2.5 1,000", "number_length", 3, ["000"]),
    ("Is it? Yes. Go (now)!", "sentence_type", "question", ["Is it?"]),
    ("Is it? Yes. Go (now)!", "sentence_type", "statement", [" Yes."]),
    ("Is it? Yes. Go (now)!", "sentence_type", "exclamation", [" Go (now)!"]),
    ("Is it? Yes. Go (now)!", "sentence_start", True, ["I", "Y", "G"]),
    ("Is it? Yes. Go (now)!", "sentence_end", True, ["?", ".", "!"]),
    ("Is it 2.5? No", "sentence_word", 2, ["it "]),
    ("A title\n\nThen text", "sentence_start", True, ["A", "T"]),
    ("one\ntwo\n\nthree", "paragraph_start", True, ["o", "t"]),
    ("one\n\n\ntwo\nthree", "blank_line_before", True, ["\ntwo\n"]),
    ("go to https://a.org/b?c=1 or x@y.com now", "inside_url", True, ["https://a.org/b?c=1", "x@y.com"]),
    ("- a\n1. b\nc", "list_item", True, ["- a", "1. b"]),
    ("# Head\nTEXT HERE\nbody", "heading", True, ["# Head", "TEXT HERE"]),
    ("a well-known one", "hyphenated", True, ["well-known"]),
    ("a  b\n  c d", "first_in_line", True, ["a", "c"]),
    ("a  b\n  c d \n", "last_in_line", True, ["b", "d"]),
    ("a\n   b", "line_indent", 3, ["   b"]),
    ("a, b—c", "punctuation", "—", ["—"]),
    ("ab cd", "after_space", True, ["a", "c"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "value", "expected"), CASES)
def test_a_label_covers_exactly_what_it_should(text: str, column: str, value: Value, expected: list[str]) -> None:
    assert covered(text, column, value) == expected


def test_a_word_in_pieces_knows_its_parts() -> None:
    characters = Characters("an unbelievable I")
    starts, ends = np.array([0, 2, 5, 10, 15]), np.array([2, 5, 10, 15, 17])
    labels = label_shared(characters, TokenSpans.of(characters, np.arange(5), starts, ends))
    parts = [COLUMNS["word_position"].values[code - 1] for code in labels["word_position"]]
    assert parts == ["whole", "start", "inside", "end", "whole"]
    assert labels["token_length"].tolist() == [2, 3, 5, 5, 2]


def test_there_are_enough_columns() -> None:
    assert len(TEXT_COLUMNS) >= 15
    assert len({column.name for column in TEXT_COLUMNS}) == len(TEXT_COLUMNS)


@given(TEXT)
def test_any_text_has_every_label(text: str) -> None:
    document = one_token_a_character(text)
    labels = label_shared(*document) | label_text(*document)
    repetition = {
        "repeated_in_document",
        "repeated_in_context",
        "repeated_in_line",
        "repeated_bigram",
        "repeat_distance",
    }
    assert set(labels) | repetition == {column.name for column in TEXT_COLUMNS}
    for column in TEXT_COLUMNS:
        if column.name not in repetition:
            assert len(labels[column.name]) == len(text)
            if column.kind == "category":
                assert labels[column.name].max(initial=0) <= len(column.values)


@given(TEXT)
def test_lines_are_those_of_split(text: str) -> None:
    characters = Characters(text)
    lines = text.split("\n")
    assert [text[a:b] for a, b in zip(characters.line_starts, characters.line_ends, strict=True)] == lines
    solid = [[i for i, char in enumerate(line) if not char.isspace()] for line in lines]
    offsets = characters.line_starts
    first, last = characters.line_edges
    assert first.tolist() == [int(o) + s[0] if s else -1 for o, s in zip(offsets, solid, strict=True)]
    assert last.tolist() == [int(o) + s[-1] if s else -1 for o, s in zip(offsets, solid, strict=True)]


@given(TEXT)
def test_a_character_s_class_is_unicode_s(text: str) -> None:
    labels = label_shared(*one_token_a_character(text))["char_class"]
    for char, code in zip(text, labels, strict=True):
        found = COLUMNS["char_class"].values[code - 1]
        assert (found in ("space", "newline")) == char.isspace()
        assert (found == "digit") == (unicodedata.category(char) == "Nd")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), max_size=8), st.lists(st.integers(0, 30)).map(sorted))
def test_inside_and_depth_count_spans_as_a_loop_does(spans: list[tuple[int, int]], positions: list[int]) -> None:
    edges = [(start, start + length) for start, length in spans]
    expected = [sum(start <= p < end for start, end in edges) for p in positions]
    assert depth(edges, np.array(positions, dtype=np.int64)).tolist() == expected
    assert inside(edges, np.array(positions, dtype=np.int64)).tolist() == [n > 0 for n in expected]


@given(st.sets(st.integers(0, 30)), st.lists(st.integers(0, 32)))
def test_containing_finds_the_span(cuts: set[int], positions: list[int]) -> None:
    edges = sorted(cuts)[: len(cuts) // 2 * 2]
    starts, ends = np.array(edges[::2], dtype=np.int64), np.array(edges[1::2], dtype=np.int64)
    expected = [
        next((i for i, (a, b) in enumerate(zip(starts, ends, strict=True)) if a <= p < b), -1) for p in positions
    ]
    assert containing(starts, ends, np.array(positions, dtype=np.int64)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=60))
def test_repetition_is_what_a_loop_finds(tokens: list[tuple[int, bool, bool]]) -> None:
    ids = np.array([token for token, _, _ in tokens], dtype=np.int64)
    lines = np.cumsum([new_line for _, new_line, _ in tokens], dtype=np.int64)
    sequences = np.cumsum([new_sequence for _, _, new_sequence in tokens], dtype=np.int64)
    found = label_repetition(ids, lines, sequences)
    bounds = (1, 2, 4, 8, 16, 32)
    for i in range(len(ids)):
        same = [j for j in range(i) if ids[j] == ids[i]]
        in_context = [j for j in same if sequences[j] == sequences[i]]
        bigrams = [
            j for j in in_context
            if j and i and sequences[j - 1] == sequences[i] == sequences[i - 1] and ids[j - 1] == ids[i - 1]
        ]  # fmt: skip
        assert found["repeated_in_document"][i] == bool(same)
        assert found["repeated_in_line"][i] == any(lines[j] == lines[i] for j in same)
        assert found["repeated_in_context"][i] == bool(in_context)
        assert found["repeated_bigram"][i] == bool(bigrams)
        distance = i - in_context[-1] if in_context else 0
        assert found["repeat_distance"][i] == sum(bound <= distance for bound in bounds)


def test_shared_labels_are_not_named_twice() -> None:
    shared = {column.name for column in SHARED_COLUMNS}
    assert not shared & {column.name for column in TEXT_COLUMNS[len(SHARED_COLUMNS) :]}
