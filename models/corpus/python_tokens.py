"""Python source as `tokenize` sees it, as arrays: one stream of tokens under every Python, f-strings in pieces."""

import io
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from models.corpus.characters import Characters, containing
from models.corpus.fstrings import EXPRESSION, MARK, scan_fstring

NAME, NUMBER, STRING, FSTRING, COMMENT, OPERATOR, FIELD_MARK, NEWLINE, NL = range(9)

_KINDS = {
    tokenize.NAME: NAME,
    tokenize.NUMBER: NUMBER,
    tokenize.COMMENT: COMMENT,
    tokenize.OP: OPERATOR,
    tokenize.NEWLINE: NEWLINE,
    tokenize.NL: NL,
}
_OF_CODE = frozenset((tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP))
# From 3.12 on an f-string comes in pieces (and from 3.14 on there are t-strings); they are put together again here.
_OPENINGS = {getattr(tokenize, name, None) for name in ("FSTRING_START", "TSTRING_START")} - {None}
_CLOSINGS = {getattr(tokenize, name, None) for name in ("FSTRING_END", "TSTRING_END")} - {None}
# Kind, string, (row, column) of the start and of the end, line.
Token = tuple[int, str, tuple[int, int], tuple[int, int], str]


class Literal(NamedTuple):
    """One string literal: opening `start … body_start`, text, closing `body_end … end`."""

    start: int
    body_start: int
    body_end: int
    end: int
    prefix: str
    quote: str


class Field(NamedTuple):
    """The expression `start … end` of an f-string's field; the f-string stands in `level` other fields."""

    start: int
    end: int
    level: int


class LogicalLine(NamedTuple):
    """One line of code: from its first token to its NEWLINE, and how many blocks it is indented by."""

    start: int
    end: int
    depth: int


@dataclass
class PythonTokens:
    """The tokens of a Python document, in reading order, as spans of characters.

    Attributes:
        characters: the document.
        kinds: `NAME`, `NUMBER`, … of each token.
        starts, ends: the characters each token covers. Tokens do not overlap.
        strings: what each token says.
        literal_of: for `STRING` and `FSTRING` tokens, the literal whose text they are; -1 for others.
        literals: every string literal, an f-string before the strings in its fields.
        fields: every field of every f-string, in reading order.
        format_specs: the format specifications of fields.
        logical_lines: the lines of code.
        comment_depths: for each line that holds a comment alone, how many blocks it is indented by.
    """

    characters: Characters
    kinds: Int[np.ndarray, " token"]
    starts: Int[np.ndarray, " token"]
    ends: Int[np.ndarray, " token"]
    strings: list[str]
    literal_of: Int[np.ndarray, " token"]
    literals: list[Literal]
    fields: list[Field]
    format_specs: list[tuple[int, int]]
    logical_lines: list[LogicalLine]
    comment_depths: dict[int, int]

    def at(self, positions: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Which token holds each position; -1 between tokens."""
        return containing(self.starts, self.ends, positions)


def lex(characters: Characters) -> PythonTokens:
    """The tokens of a Python document; `tokenize.TokenError` or `SyntaxError` if it is no Python."""
    lexer = _Lexer(characters)
    lexer.read_document()
    kinds, starts, ends, literals, strings = zip(*lexer.tokens, strict=True) if lexer.tokens else ([],) * 5
    return PythonTokens(
        characters,
        np.array(kinds, dtype=np.int8),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        list(strings),
        np.array(literals, dtype=np.int32),
        lexer.literals,
        lexer.fields,
        lexer.format_specs,
        lexer.logical_lines,
        lexer.comment_depths(),
    )


def _whole_strings(text: str) -> Iterator[Token]:
    """What `tokenize` gives, with every f-string as one STRING token."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return _join_fstrings(tokens) if _OPENINGS else tokens


def _join_fstrings(tokens: Iterator[Token]) -> Iterator[Token]:
    depth, opening, begun = 0, "", (0, 0)
    for token in tokens:
        kind, string, start, end, line = token
        if kind in _OPENINGS:
            if not depth:
                opening, begun = string, start
            depth += 1
        elif kind in _CLOSINGS:
            depth -= 1
            if not depth:
                yield tokenize.STRING, opening, begun, end, line
        elif not depth:
            yield token


@dataclass
class _Lexer:
    characters: Characters
    tokens: list[tuple[int, int, int, int, str]] = field(default_factory=list)  # kind, start, end, literal, string
    literals: list[Literal] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    format_specs: list[tuple[int, int]] = field(default_factory=list)
    logical_lines: list[LogicalLine] = field(default_factory=list)
    lone_comments: list[tuple[int, int]] = field(default_factory=list)  # (start, depth by the blocks open there)

    def read_document(self) -> None:
        n = len(self.characters.text)
        line_starts = [*self.characters.line_starts.tolist(), n]  # the last tokens may stand below the text
        append = self.tokens.append
        indents: list[int] = []
        line_start: int | None = None
        for kind, string, (row, column), (end_row, end_column), _ in _whole_strings(self.characters.text):
            start, end = line_starts[row - 1] + column, min(line_starts[end_row - 1] + end_column, n)
            if kind in _OF_CODE:
                if line_start is None:
                    line_start = start
                if kind == tokenize.STRING:
                    self._add_string(string, start, end, level=0)
                    continue
            elif kind == tokenize.NEWLINE:
                if line_start is not None:
                    self.logical_lines.append(LogicalLine(line_start, end, len(indents)))
                line_start = None
            elif kind == tokenize.COMMENT:
                if line_start is None:
                    self._lone_comment(start, line_starts[row - 1], indents)
            elif kind == tokenize.INDENT:
                indents.append(_width(string))
                continue
            elif kind == tokenize.DEDENT:
                indents.pop()
                continue
            elif kind == tokenize.ENDMARKER:
                return
            if end > start:  # the line break that a last line lacks is no token
                append((_KINDS[kind], start, end, -1, string))

    def _lone_comment(self, start: int, line_start: int, indents: list[int]) -> None:
        width = _width(self.characters.text[line_start:start])
        self.lone_comments.append((start, sum(indent <= width for indent in indents)))

    def _add_string(self, string: str, start: int, end: int, level: int) -> None:
        mark = min(i for i in (string.find("'"), string.find('"')) if i >= 0)
        prefix = string[:mark].lower()
        quote = string[mark] * (3 if string.startswith(string[mark] * 3, mark) else 1)
        if not set(prefix) & {"f", "t"}:
            self.literals.append(Literal(start, start + mark + len(quote), end - len(quote), end, prefix, quote))
            self.tokens.append((STRING, start, end, len(self.literals) - 1, string))
            return
        text = self.characters.text
        scanned = scan_fstring(text, start)
        if scanned.end != end:
            raise RuntimeError(f"the f-string at character {start} ends at {end}, not at {scanned.end}.")
        self.literals.append(Literal(start, scanned.body_start, scanned.body_end, end, prefix, quote))
        literal = len(self.literals) - 1
        self.format_specs.extend(scanned.format_specs)
        for piece in scanned.pieces:
            if piece.kind == EXPRESSION:
                self.fields.append(Field(piece.start, piece.end, level))
                self._read_expression(piece.start, piece.end, level + 1)
            else:
                kind, owner = (FIELD_MARK, -1) if piece.kind == MARK else (FSTRING, literal)
                self.tokens.append((kind, piece.start, piece.end, owner, text[piece.start : piece.end]))

    def _read_expression(self, start: int, end: int, level: int) -> None:
        """The tokens of a field's expression, read between round brackets as Python reads it."""
        wrapped = f"({self.characters.text[start:end]}\n)"
        line_starts = (Characters(wrapped).line_starts + start - 1).tolist()
        for kind, string, (row, column), (end_row, end_column), _ in _whole_strings(wrapped):
            if kind == tokenize.ENDMARKER:
                return
            first, last = line_starts[row - 1] + column, line_starts[end_row - 1] + end_column
            if first < start or last > end:
                continue  # the brackets and the line break
            if kind == tokenize.STRING:
                self._add_string(string, first, last, level)
            else:
                self.tokens.append((_KINDS[kind], first, last, -1, string))

    def comment_depths(self) -> dict[int, int]:
        """The depth of each line that holds a comment alone.

        It is told by the comment's own column: the blocks open there that start at or left of it; a comment before
        the first line of a deeper block, no further left than that line, is in the block.
        """
        text, line_starts = self.characters.text, self.characters.line_starts.tolist()
        code_starts = [line.start for line in self.logical_lines]
        depths: dict[int, int] = {}
        for start, depth in self.lone_comments:
            row = bisect_right(line_starts, start) - 1
            following = bisect_right(code_starts, start)
            if following < len(code_starts):
                code = self.logical_lines[following]
                margin = text[text.rfind("\n", 0, code.start) + 1 : code.start]
                if _width(text[line_starts[row] : start]) >= _width(margin):
                    depth = max(depth, code.depth)
            depths[row] = depth
        return depths


def _width(margin: str) -> int:
    """The column a margin of spaces and tabs ends at; a form feed starts it anew, as in Python's tokenizer."""
    return len(margin.rpartition("\f")[2].expandtabs(8))
