"""Labels of the standard library's own files against `tokenize`, `ast`, `keyword` and `builtins`."""

import ast
import io
import keyword
import sys
import tokenize
from functools import cache

import numpy as np
import pytest

from models.corpus.characters import Characters, TokenSpans
from models.corpus.label_columns import COLUMNS
from models.corpus.labels_python import label_python
from models.corpus.python_source import python_document, standard_library, standard_library_files

_ROOT = standard_library()
# Files of every kind: f-strings, match statements, async, non-ASCII text, form feeds, decorators.
_NAMES = (
    "ast.py",
    "dataclasses.py",
    "argparse.py",
    "inspect.py",
    "asyncio/tasks.py",
    "turtle.py",
    "heapq.py",
    "json/decoder.py",
)
NAMES = [name for name in _NAMES if (_ROOT / name).exists()]


@cache
def labelled(name: str) -> tuple[str, dict[str, np.ndarray]]:
    document = python_document(name, (_ROOT / name).read_bytes())
    assert document is not None
    characters = Characters(document.text)
    starts = np.arange(len(document.text))
    spans = TokenSpans.of(characters, np.zeros_like(starts), starts, starts + 1)
    return document.text, label_python(characters, spans)


def is_(labels: dict[str, np.ndarray], column: str, value: str) -> np.ndarray:
    return labels[column] == COLUMNS[column].code(value)


def character(text: str, line: int, column: int) -> int:
    """The character at a line (from 1) and a column in UTF-8 bytes, counted the plain way."""
    lines = text.split("\n")
    return sum(len(above) + 1 for above in lines[: line - 1]) + len(lines[line - 1].encode()[:column].decode())


def names_at_top_level(text: str) -> list[tuple[int, str]]:
    """Where each NAME token of `tokenize` starts, f-strings left out (they come whole or in pieces)."""
    starts = np.cumsum([0, *(len(line) + 1 for line in text.split("\n"))])
    found, depth = [], 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        depth += {"FSTRING_START": 1, "FSTRING_END": -1}.get(tokenize.tok_name[token.type], 0)
        if token.type == tokenize.NAME and not depth:
            found.append((int(starts[token.start[0] - 1]) + token.start[1], token.string))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_keywords_are_those_of_the_keyword_module(name: str) -> None:
    text, labels = labelled(name)
    for start, string in names_at_top_level(text):
        is_keyword = is_(labels, "token_type", "keyword")[start]
        if keyword.iskeyword(string):
            assert is_keyword
            assert is_(labels, "keyword", string)[start]
        elif string not in keyword.softkwlist:
            assert is_(labels, "token_type", "name")[start]
            assert labels["name_role"][start] > 0, f"{string} at {start} has no role"


@pytest.mark.parametrize("name", NAMES)
def test_definitions_calls_and_attributes_are_those_of_the_tree(name: str) -> None:
    text, labels = labelled(name)
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    part_starts = np.isin(labels["name_part"], [COLUMNS["name_part"].code(part) for part in ("start", "whole")])
    assert (is_(labels, "name_role", "definition_function") & part_starts).sum() == len(functions)
    assert (is_(labels, "name_role", "definition_class") & part_starts).sum() == len(classes)
    for node in functions:
        start = character(text, node.lineno, node.col_offset)
        name_start = text.index(node.name, start)
        assert is_(labels, "name_role", "definition_function")[name_start : name_start + len(node.name)].all()
        assert labels["inside_function"][start : character(text, node.end_lineno, node.end_col_offset)].all()


@pytest.mark.parametrize("name", NAMES)
def test_brackets_are_calls_and_subscripts_where_the_tree_has_them(name: str) -> None:
    """The brackets are told by a walk over tokens; the tree is a second opinion."""
    text, labels = labelled(name)
    if sys.version_info < (3, 12):  # the positions of nodes in f-strings are not to be trusted before
        outside = ~labels["inside_fstring"]
    else:
        outside = np.ones(len(text), dtype=bool)
    opening, closing = (is_(labels, "operator_class", f"{which}_bracket") for which in ("opening", "closing"))
    for kind, node_type, bracket in (("call", ast.Call, ")"), ("subscript", ast.Subscript, "]")):
        told = np.flatnonzero(closing & is_(labels, "bracket_role", kind) & outside) + 1
        nodes = [
            n
            for n in ast.walk(ast.parse(text))
            if isinstance(n, node_type | ast.MatchClass if kind == "call" else node_type)
        ]
        ends = {character(text, n.end_lineno, n.end_col_offset) for n in nodes}
        expected = sorted(end for end in ends if outside[end - 1] and text[end - 1] == bracket)
        decorated_bases = [end for end in told.tolist() if end not in ends]
        assert not decorated_bases
        assert told.tolist() == expected
    assert opening.sum() == closing.sum()


@pytest.mark.parametrize("name", NAMES)
def test_brackets_are_closed_and_blocks_left_at_the_end(name: str) -> None:
    _, labels = labelled(name)
    assert labels["bracket_depth"].min() == 0
    assert labels["bracket_depth"][-1] == 0
    change = np.diff(labels["bracket_depth"])
    assert np.abs(change).max() <= 2  # `)(`, `)[`, `}{`: one closes and the next opens
    assert (labels["bracket_depth"] > 0).sum() == (labels["bracket_kind"] > 0).sum()
    assert labels["indent_depth"].min() == 0


@pytest.mark.parametrize("name", NAMES)
def test_strings_comments_and_numbers_are_those_of_tokenize(name: str) -> None:
    text, labels = labelled(name)
    starts = np.cumsum([0, *(len(line) + 1 for line in text.split("\n"))])
    code = np.array([not char.isspace() for char in text])
    expected = {kind: np.zeros(len(text), dtype=bool) for kind in ("comment", "number", "plain")}
    in_fstring, depth = np.zeros(len(text), dtype=bool), 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        start, end = (int(starts[row - 1]) + column for row, column in (token.start, token.end))
        kind = tokenize.tok_name[token.type]
        depth += kind == "FSTRING_START"
        if depth or (kind == "STRING" and "f" in token.string[:2].lower().split("'")[0].split('"')[0]):
            in_fstring[start:end] = True
        elif kind in ("COMMENT", "NUMBER", "STRING"):
            expected[{"COMMENT": "comment", "NUMBER": "number", "STRING": "plain"}[kind]][start:end] = True
        depth -= kind == "FSTRING_END"
    outside = code & ~labels["inside_fstring"]
    assert not (in_fstring & ~labels["inside_fstring"]).any()
    assert np.array_equal(is_(labels, "token_type", "comment") & outside, expected["comment"] & outside)
    assert np.array_equal(is_(labels, "token_type", "number") & outside, expected["number"] & outside)
    strings = is_(labels, "token_type", "string") | is_(labels, "token_type", "docstring")
    assert np.array_equal(strings & outside, expected["plain"] & outside)


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_are_those_of_ast(name: str) -> None:
    text, labels = labelled(name)
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [n for n in ast.walk(ast.parse(text)) if isinstance(n, owners) and ast.get_docstring(n) is not None]
    runs = np.diff(np.concatenate([[0], labels["inside_docstring"].astype(int)])) == 1
    assert runs.sum() == len(documented)
    for node in documented:
        string = node.body[0]
        start, end = (
            character(text, string.lineno, string.col_offset),
            character(text, string.end_lineno, string.end_col_offset),
        )
        assert labels["inside_docstring"][start:end].all()
        assert ast.literal_eval(text[start:end]) == ast.get_docstring(node, clean=False)


def test_the_library_is_left_without_tests_and_in_a_fixed_order() -> None:
    names = [path.relative_to(_ROOT).as_posix() for path in standard_library_files(_ROOT)]
    assert names == [path.relative_to(_ROOT).as_posix() for path in standard_library_files(_ROOT)]
    assert "ast.py" in names
    assert not [name for name in names if {"test", "tests", "encodings", "site-packages"} & set(name.split("/"))]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x = 1\r\ny = 2\r\n", "x = 1\ny = 2\n"),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "# -*- coding: latin-1 -*-\nx = 'é'\n"),
    ],
)
def test_a_file_is_read_in_the_encoding_it_declares(data: bytes, text: str) -> None:
    document = python_document("a.py", data)
    assert document is not None
    assert document.text == text


@pytest.mark.parametrize("data", [b"x = '\xe9'\n", b"# coding: klingon\n", b"x = 1\0\n"])
def test_bytes_that_are_not_in_their_encoding_are_no_document(data: bytes) -> None:
    assert python_document("a.py", data) is None
