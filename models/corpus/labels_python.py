"""Ground truth for every token of Python source, from `tokenize` and `ast`.

A token is labelled by its first non-space character; `token_type` calls a token of white space alone a newline,
indentation or whitespace, even in a string. What is inside a construct runs from the construct's first character to
its last, as `ast` has them. `label_columns.py` says what each column holds, `python_names.py` what the roles mean.
"""

from functools import lru_cache

import numpy as np

from models.corpus.characters import Characters, TokenSpans, inside, part_of
from models.corpus.label_columns import COLUMNS, KEYWORDS, PYTHON_COLUMNS, SHARED_COLUMNS, SOFT_KEYWORDS
from models.corpus.labels_python_lines import line_labels, statement_labels
from models.corpus.labels_python_strings import string_labels
from models.corpus.python_document import PythonDocument, View
from models.corpus.python_tokens import COMMENT, FIELD_MARK, FSTRING, NAME, NEWLINE, NL, NUMBER, OPERATOR, STRING

_TYPE_OF_KIND = {
    NAME: "name", NUMBER: "number", STRING: "string", FSTRING: "fstring", COMMENT: "comment", OPERATOR: "operator",
    FIELD_MARK: "operator", NEWLINE: "newline", NL: "newline",
}  # fmt: skip
_KEYWORDS = frozenset(KEYWORDS)


def label_python(characters: Characters, spans: TokenSpans) -> dict[str, np.ndarray]:
    """The columns of `PYTHON_COLUMNS` that Python alone has, for each token of a document.

    Categories come as codes, flags as Booleans, counts as int16. `NotPythonError` if the running Python does not
    read the document.
    """
    view = View(PythonDocument.read(characters), spans)
    labels = string_labels(view) | name_labels(view) | bracket_labels(view) | line_labels(view) | statement_labels(view)
    labels |= type_labels(view)
    for column in PYTHON_COLUMNS[len(SHARED_COLUMNS) :]:
        if column.name not in labels:
            spans_of_construct = view.document.constructs.spans[column.name.removeprefix("inside_")]
            labels[column.name] = inside(spans_of_construct, view.first)
    return labels


def type_labels(view: View) -> dict[str, np.ndarray]:
    """What kind of source token each token starts in."""
    tokens, first = view.document.tokens, view.first
    keyword = view.category("keyword", _keywords(view))
    code = COLUMNS["token_type"].code
    type_of_kind = np.array([*(code(_TYPE_OF_KIND[kind]) for kind in range(len(_TYPE_OF_KIND))), 0], dtype=np.uint8)
    types = type_of_kind[view.kind]
    types[keyword > 0] = code("keyword")
    types[inside(view.document.constructs.spans["docstring"], first)] = code("docstring")
    types[(types == 0) & (view.document.characters.codes[first] == ord("\\"))] = code("line_continuation")
    blank = view.spans.blank
    types[blank] = code("whitespace")
    types[blank & np.isin(first, view.document.characters.line_starts)] = code("indentation")
    types[blank & view.is_line_break] = code("newline")
    numbers = {i: _number_kind(tokens.strings[i]) for i in np.flatnonzero(tokens.kinds == NUMBER).tolist()}
    return {"token_type": types, "keyword": keyword, "number_kind": view.category("number_kind", numbers)}


def _keywords(view: View) -> dict[int, str]:
    tokens, soft = view.document.tokens, view.document.constructs.soft_keywords
    return {
        i: string
        for i, (string, kind) in enumerate(zip(tokens.strings, tokens.kinds.tolist(), strict=True))
        if kind == NAME and string in _KEYWORDS and (i in soft or string not in SOFT_KEYWORDS)
    }


def name_labels(view: View) -> dict[str, np.ndarray]:
    """What the name around each token does, and which part of it the token is."""
    tokens, document = view.document.tokens, view.document
    cases: dict[int, str] = {}
    seen: set[str] = set()
    repeated: list[int] = []
    for i in sorted(document.roles):
        name = tokens.strings[i]
        cases[i] = _name_case(name)
        if name in seen:
            repeated.append(i)
        seen.add(name)
    role = view.category("name_role", document.roles)
    starts, ends = np.append(tokens.starts, 0)[view.source_token], np.append(tokens.ends, 0)[view.source_token]
    return {
        "name_role": role,
        "name_part": part_of(view.spans, starts, ends, role > 0),
        "name_case": view.category("name_case", cases),
        "builtin_name": view.flag(document.builtins),
        "repeated_name": view.flag(repeated),
    }


def bracket_labels(view: View) -> dict[str, np.ndarray]:
    """Which brackets are open at each token, and what operators are for."""
    found, tokens = view.document.brackets, view.document.tokens
    within = view.source_token >= 0
    before = np.searchsorted(tokens.starts, view.first, side="right") - 1  # -1: nothing before, and nothing open
    pair = np.where(within, np.append(found.pair_at, -1)[before], np.append(found.pair_after, -1)[before])
    item = np.where(within, np.append(found.items_at, 0)[before], np.append(found.items_after, 0)[before])
    kind, role = COLUMNS["bracket_kind"], COLUMNS["bracket_role"]
    labels: dict[str, np.ndarray] = {
        "bracket_kind": np.array([*(kind.code(p.kind) for p in found.pairs), 0], dtype=np.uint8)[pair],
        "bracket_role": np.array([*(role.code(p.role) for p in found.pairs), 0], dtype=np.uint8)[pair],
        "bracket_depth": np.array([*(p.depth for p in found.pairs), 0], dtype=np.int16)[pair],
        "item_index": np.where(pair >= 0, item, 0).astype(np.int16),
        "bracket": view.category("bracket", {i: tokens.strings[i] for p in found.pairs for i in (p.opened, p.closed)}),
        "operator_class": view.category("operator_class", found.operator_class),
        "colon_role": view.category("colon_role", found.colon_role),
    }
    for name, of_role in (("call_arguments", "call"), ("subscript", "subscript"), ("parameters", "parameters")):
        pairs = [p for p in found.pairs if p.role == of_role]
        spans = [(int(tokens.starts[p.opened]), int(tokens.ends[p.closed])) for p in pairs]
        labels[f"inside_{name}"] = inside(spans, view.first)
    return labels


def _number_kind(string: str) -> str:
    number = string.lower()
    if number[:2] in ("0x", "0o", "0b"):
        return {"x": "hexadecimal", "o": "octal", "b": "binary"}[number[1]]
    if number.endswith("j"):
        return "imaginary"
    return "float" if "." in number or "e" in number else "integer"


@lru_cache(maxsize=1 << 16)
def _name_case(name: str) -> str:
    bare = name.strip("_")
    if name.startswith("__") and name.endswith("__") and bare:
        return "__dunder__"
    if name.startswith("_"):
        return "_private"
    if bare == bare.lower():
        return "snake_case" if "_" in bare else "lower"
    if bare == bare.upper():
        return "UPPER_CASE"
    return "CamelCase" if bare[0].isupper() else "mixedCase"
