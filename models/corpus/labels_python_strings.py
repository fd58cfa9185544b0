"""Labels of Python source that tell strings: quotes, prefixes, escapes, docstrings, fields of f-strings."""

import re

import numpy as np

from models.corpus.characters import containing, inside, painted
from models.corpus.label_columns import COLUMNS
from models.corpus.python_document import View
from models.corpus.python_tokens import COMMENT, FSTRING, STRING
from models.corpus.python_tree import Span

# Group 1 holds in any string, group 2 in one of characters; a backslash before anything else is only a backslash.
_ESCAPE = re.compile(
    r"\\(?:([\n\\'\"abfnrtv]|[0-7]{1,3}|x[0-9a-fA-F]{2})"
    r"|(N\{[^}\n]*\}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|.)"
)
_ORDERED_PREFIX = {"rb": "br", "rf": "fr", "tr": "rt"}


def string_labels(view: View) -> dict[str, np.ndarray]:
    """Which string each token is in, and where in it."""
    tokens, first = view.document.tokens, view.first
    literals = tokens.literals
    whole = [(s.start, s.end) for s in literals]
    innermost = painted(len(view.document.characters.text), whole, range(len(literals)))[first]
    quotes, prefixes = COLUMNS["quote_state"], COLUMNS["string_prefix"]
    quote_codes = np.array([*(quotes.code(s.quote) for s in literals), 0], dtype=np.uint8)
    prefix_codes = np.array([*(_prefix(s.prefix, prefixes.values) for s in literals), 0], dtype=np.uint8)
    body_start = np.array([*(s.body_start for s in literals), 0])[innermost]
    body_end = np.array([*(s.body_end for s in literals), 0])[innermost]
    position = np.select([first < body_start, first >= body_end], [1, 3], default=2)
    formatted = [span for span, s in zip(whole, literals, strict=True) if {"f", "t"} & set(s.prefix)]
    return {
        "quote_state": quote_codes[innermost],
        "string_prefix": prefix_codes[innermost],
        "string_position": np.where(np.isin(view.kind, (STRING, FSTRING)), position, 0),
        "docstring_owner": _docstring_owners(view),
        "inside_string": inside(whole, first),
        "inside_fstring": inside(formatted, first),
        "inside_fstring_expression": inside([(f.start, f.end) for f in tokens.fields], first),
        "inside_format_spec": inside(tokens.format_specs, first),
        "inside_escape": inside(_escapes(view), first),
        "inside_comment": inside(view.source_spans(COMMENT), first),
    }


def _prefix(prefix: str, values: tuple[str, ...]) -> int:
    return values.index(_ORDERED_PREFIX.get(prefix, prefix)) + 1 if prefix else 0


def _docstring_owners(view: View) -> np.ndarray:
    column = COLUMNS["docstring_owner"]
    docstrings = sorted(view.document.constructs.docstrings)
    edges = np.array([span for span, _ in docstrings], dtype=np.int64).reshape(-1, 2)
    owners = np.array([*(column.code(owner) for _, owner in docstrings), 0], dtype=np.uint8)
    return owners[containing(edges[:, 0], edges[:, 1], view.first)]


def _escapes(view: View) -> list[Span]:
    tokens, text = view.document.tokens, view.document.characters.text
    found: list[Span] = []
    if "\\" not in text:
        return found
    for i in np.flatnonzero(tokens.literal_of >= 0).tolist():
        prefix = tokens.literals[tokens.literal_of[i]].prefix
        if "\\" in tokens.strings[i] and "r" not in prefix:
            matches = _ESCAPE.finditer(text, int(tokens.starts[i]), int(tokens.ends[i]))
            found += [m.span() for m in matches if m[1] or (m[2] and "b" not in prefix)]
    return found
