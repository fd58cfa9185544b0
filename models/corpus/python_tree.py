"""What `ast` says of Python source: which characters lie in which construct, and what each name is there for.

Positions leave here as characters of the document (`ast` counts UTF-8 bytes), also those in f-strings, whose fields
are parsed one by one because Python 3.11 misplaces some of them.
"""

import ast
import builtins
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from models.corpus.characters import Characters
from models.corpus.python_tokens import Field, PythonTokens

Span = tuple[int, int]
BUILTINS = frozenset(dir(builtins))
_FSTRINGS = (ast.JoinedStr, *([ast.TemplateStr] if hasattr(ast, "TemplateStr") else []))

# Fields that hold operators, contexts or plain values.
_NO_NODES = frozenset(
    ("ctx", "op", "ops", "id", "attr", "module", "level", "kind", "conversion", "type_comment", "type_ignores")
)
# The fields of each kind of node that can hold nodes with a place in the text, the last one first.
_CHILDREN: dict[type, tuple[str, ...]] = {
    kind: tuple(name for name in reversed(kind._fields) if name not in _NO_NODES)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


class Positions:
    """Turns `ast`'s (line from 1, UTF-8 bytes into it) into characters of the document."""

    def __init__(self, characters: Characters) -> None:
        self.line_starts = characters.line_starts.tolist()
        self.text = characters.text
        self._bytes: dict[int, list[int]] | None = None if characters.text.isascii() else {}

    def character(self, line: int, column: int) -> int:
        """The character at a line and byte column."""
        start = self.line_starts[line - 1]
        if self._bytes is None or not column:
            return start + column
        if line not in self._bytes:
            self._bytes[line] = self._characters_of_bytes(line)
        return start + self._bytes[line][column]

    def column(self, character: int, line: int) -> int:
        """The byte column of a character of this line."""
        return len(self.text[self.line_starts[line - 1] : character].encode())

    def _characters_of_bytes(self, line: int) -> list[int]:
        end = self.line_starts[line] if line < len(self.line_starts) else len(self.text)
        widths = [len(char.encode()) for char in self.text[self.line_starts[line - 1] : end]]
        return [*np.repeat(np.arange(len(widths)), widths).tolist(), len(widths)]

    def span(self, node: ast.AST) -> Span:
        """The characters `start … end` of a node."""
        return (
            self.character(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.character(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )


class FieldTrees:
    """The trees of f-string fields, parsed from the characters where the fields stand."""

    def __init__(self, tokens: PythonTokens, positions: Positions) -> None:
        self.tokens, self.positions = tokens, positions
        self.by_level: dict[int, list[Field]] = defaultdict(list)
        for field in tokens.fields:
            self.by_level[field.level].append(field)

    def within(self, span: Span, level: int) -> Iterator[ast.expr]:
        """The expressions of the f-string that covers `span` and stands in `level` other fields."""
        fields = self.by_level[level]
        for i in range(bisect_left(fields, span[0], key=lambda field: field.start), len(fields)):
            if fields[i].start >= span[1]:
                return
            yield self._parse(fields[i])

    def _parse(self, field: Field) -> ast.expr:
        text = self.positions.text
        # The line break ends a comment, with which an expression may end.
        tree = ast.parse(f"({text[field.start : field.end]}\n)", mode="eval").body
        line = int(np.searchsorted(self.tokens.characters.line_starts, field.start, side="right"))
        column = self.positions.column(field.start, line) - 1
        for node in ast.walk(tree):
            if hasattr(node, "lineno"):
                _move(node, line - 1, column)
        return tree


def _move(node: Any, lines: int, columns: int) -> None:
    """Moves a node down, and what of it is on the first line to the right."""
    if node.lineno == 1:
        node.col_offset += columns
    if node.end_lineno == 1:
        node.end_col_offset += columns
    node.lineno += lines
    node.end_lineno += lines


def walk(tree: ast.Module, tokens: PythonTokens, positions: Positions) -> Iterator[ast.AST]:
    """Every node of the document but operators and contexts, those of f-string fields included.

    Statements come in reading order, a parent before its children.
    """
    trees = FieldTrees(tokens, positions)
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    while pending:
        node, level = pending.pop()
        yield node
        if isinstance(node, _FSTRINGS):
            inner = [(expression, level + 1) for expression in trees.within(positions.span(node), level)]
            pending += reversed(inner)
            continue
        for name in _CHILDREN[type(node)]:
            value = getattr(node, name)
            if isinstance(value, list):
                pending += [(item, level) for item in reversed(value) if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                pending.append((value, level))


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Every name that the document binds anywhere: assigns, imports, defines, deletes or takes as a parameter."""
    bound: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name():
                if not isinstance(node.ctx, ast.Load):
                    bound.add(node.id)
            case ast.arg():
                bound.add(node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(node.name)
            case ast.alias():
                bound.add(node.asname or node.name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                bound.add(name)
    return bound


def dotted_names(node: ast.expr) -> Iterator[ast.expr]:
    """The names of `a.b.c`, of the called `a.b.c(…)` and of the subscripted `a.b.c[…]`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    while isinstance(node, ast.Attribute):
        yield node
        node = node.value
    if isinstance(node, ast.Name):
        yield node


def names_in_target(target: ast.expr) -> Iterator[ast.Name]:
    """The names a target binds, through tuples, lists and stars."""
    pending = [target]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            yield node
        elif isinstance(node, ast.Tuple | ast.List):
            pending.extend(node.elts)
        elif isinstance(node, ast.Starred):
            pending.append(node.value)
