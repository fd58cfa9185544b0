"""Labels of Python source that tell lines, statements and blocks."""

from itertools import pairwise

import numpy as np

from models.corpus.characters import containing, depth, inside, painted
from models.corpus.label_columns import COLUMNS
from models.corpus.python_document import View
from models.corpus.python_tokens import COMMENT, NEWLINE, NL


def line_labels(view: View) -> dict[str, np.ndarray]:
    """Indentation, and where in a line of code each token stands."""
    characters, tokens = view.document.characters, view.document.tokens
    starts = np.array([line.start for line in tokens.logical_lines], dtype=np.int64)
    ends = np.array([line.end for line in tokens.logical_lines], dtype=np.int64)
    code_line = containing(starts, ends, view.first)
    begun = np.append(characters.lines_at(starts), -1)[code_line]
    depths, changes = _indentation(view)
    return {
        "indent_depth": depths[view.row],
        "indent_change": changes[view.row],
        "statement_start": np.isin(view.first, starts),
        "continuation_line": (code_line >= 0) & (view.row > begun),
        "newline_kind": _newline_kinds(view),
        "comment_kind": _comment_kinds(view),
    }


def _indentation(view: View) -> tuple[np.ndarray, np.ndarray]:
    """For each line of the document its depth in blocks, and whether that changes there.

    A blank line has the depth of the line above; a comment's line its own.
    """
    characters, tokens = view.document.characters, view.document.tokens
    lines = tokens.logical_lines
    rows = characters.lines_at(np.array([line.start for line in lines], dtype=np.int64)).tolist()
    known = dict(zip(rows, (line.depth for line in lines), strict=True)) | tokens.comment_depths
    marks = sorted(known)
    last_mark = np.searchsorted(np.array(marks), np.arange(len(characters.line_starts)), side="right") - 1
    depths = np.array([*(known[row] for row in marks), 0], dtype=np.int16)[last_mark]
    changes = np.zeros(len(depths), dtype=np.uint8)
    column = COLUMNS["indent_change"]
    for row, (before, now) in zip(rows, pairwise([0, *(line.depth for line in lines)]), strict=True):
        if now != before:
            changes[row] = column.code("deeper" if now > before else "shallower")
    return depths, changes


def _newline_kinds(view: View) -> np.ndarray:
    code = COLUMNS["newline_kind"].code
    tokens, brackets = view.document.tokens, view.document.brackets
    in_string = inside([(s.start, s.end) for s in tokens.literals], view.first)
    bracketed = np.append(brackets.pair_at, -1)[view.source_token] >= 0
    at_break = view.kind == NL
    kinds = np.select(
        [in_string & ~at_break, view.kind == NEWLINE, at_break & bracketed, at_break],
        [code("inside_string"), code("end_of_statement"), code("inside_brackets"), code("blank_or_comment")],
        default=code("line_continuation"),
    )
    return np.where(view.is_line_break, kinds, 0)


def _comment_kinds(view: View) -> np.ndarray:
    tokens = view.document.tokens
    comments = np.flatnonzero(tokens.kinds == COMMENT)
    alone = np.isin(tokens.starts[comments], view.document.characters.line_edges[0])
    kinds = ["own_line" if first else "trailing" for first in alone.tolist()]
    return view.category("comment_kind", dict(zip(comments.tolist(), kinds, strict=True)))


def statement_labels(view: View) -> dict[str, np.ndarray]:
    """The statement, block and function around each token."""
    constructs, first, n = view.document.constructs, view.first, len(view.document.characters.text)
    statement, block = COLUMNS["statement"], COLUMNS["block"]
    kinds = painted(
        n, [span for span, _ in constructs.statements], [statement.code(k) for _, k in constructs.statements], 0
    )
    blocks = painted(
        n, [span for span, _ in constructs.blocks], [block.code(k) for _, k in constructs.blocks], block.code("module")
    )
    in_code = inside([(line.start, line.end) for line in view.document.tokens.logical_lines], first)
    def_starts = np.array([start for start, _ in constructs.functions], dtype=np.int64)
    def_rows = painted(n, constructs.functions, view.document.characters.lines_at(def_starts).tolist())[first]
    return {
        "statement": np.where(in_code, kinds[first], 0),
        "block": blocks[first],
        "function_depth": depth(constructs.functions, first).astype(np.int16),
        "line_in_function": np.where(def_rows >= 0, view.row - def_rows, 0).astype(np.int16),
    }
