"""What each bracket, colon and operator of Python source is for, told from the stream of tokens alone."""

from collections.abc import Collection
from dataclasses import dataclass
from keyword import iskeyword

import numpy as np
from jaxtyping import Int

from models.corpus.python_tokens import COMMENT, FIELD_MARK, NAME, NEWLINE, NL, OPERATOR, PythonTokens

_OPENING = {"(": "round", "[": "square", "{": "curly"}
_CLOSING = frozenset(")]}")
_VALUE_ENDS = frozenset((")", "]", "}", "..."))
_VALUE_KEYWORDS = frozenset(("None", "True", "False"))
_WATCHED = frozenset(("def", "class", "lambda", "type"))
_EITHER = frozenset(("*", "**", "/", "+", "-"))  # operators that stand between two values or before one
_NO_CODE = frozenset((NL, COMMENT, NEWLINE))
_COMPOUND = {
    "if", "elif", "else", "for", "while", "with", "try", "except", "finally", "def", "class", "async", "match", "case",
}  # fmt: skip
_CLASS_OF_OPERATOR = (
    dict.fromkeys(("+", "-", "*", "/", "//", "%", "@", "**"), "arithmetic")
    | dict.fromkeys(("|", "&", "^", "<<", ">>"), "bitwise")
    | dict.fromkeys(("==", "!=", "<", ">", "<=", ">=", "<>"), "comparison")
    | {"~": "unary", ":=": "walrus", "->": "arrow", ".": "dot", "...": "ellipsis"}
    | {",": "comma", ":": "colon", ";": "semicolon"}
)


@dataclass
class Pair:
    """A pair of brackets: the tokens that open and close it, and what it is for."""

    opened: int
    kind: str
    role: str
    depth: int
    closed: int = -1
    items: int = 0
    lambdas: int = 0
    has_colon: bool = False


@dataclass
class Brackets:
    """Brackets, operators and colons by token.

    Attributes:
        pairs: every pair of brackets, in the order they open.
        pair_at, pair_after: which pair is innermost in each token and behind it; -1 where none is open.
        items_at, items_after: how many commas stand before, directly inside that pair.
        operator_class, colon_role: of the tokens that are operators and colons.
    """

    pairs: list[Pair]
    pair_at: Int[np.ndarray, " token"]
    pair_after: Int[np.ndarray, " token"]
    items_at: Int[np.ndarray, " token"]
    items_after: Int[np.ndarray, " token"]
    operator_class: dict[int, str]
    colon_role: dict[int, str]


def match_brackets(tokens: PythonTokens, soft_keywords: Collection[int] = ()) -> Brackets:
    """Pairs the brackets of a document.

    Args:
        soft_keywords: the tokens that are `match`, `case` or `type` used as keywords.
    """
    walk = _Walk(tokens, frozenset(soft_keywords))
    walk.run()
    for pair in walk.pairs:
        if pair.role == "set" and pair.has_colon:
            pair.role = "dict"
    events = np.array(walk.events, dtype=np.int64).reshape(-1, 5)
    n = len(tokens.kinds)
    last = np.searchsorted(events[:, 0], np.arange(n), side="right") - 1
    pair_after, items_after = np.append(events[:, 3], -1)[last], np.append(events[:, 4], 0)[last]
    pair_at, items_at = pair_after.copy(), items_after.copy()
    pair_at[events[:, 0]], items_at[events[:, 0]] = events[:, 1], events[:, 2]
    return Brackets(walk.pairs, pair_at, pair_after, items_at, items_after, walk.operator_class, walk.colon_role)


class _Walk:
    """One pass over the tokens that can change anything: operators, marks, line ends and four keywords."""

    def __init__(self, tokens: PythonTokens, soft_keywords: frozenset[int]) -> None:
        self.kinds, self.strings, self.soft_keywords = tokens.kinds.tolist(), tokens.strings, soft_keywords
        self.pairs: list[Pair] = []
        self.stack: list[int] = []
        # (token, pair and items in it, pair and items behind it) of every bracket and comma
        self.events: list[tuple[int, int, int, int, int]] = []
        self.operator_class: dict[int, str] = {}
        self.colon_role: dict[int, str] = {}
        self._new_line(0)

    def _new_line(self, start: int) -> None:
        while start < len(self.kinds) and self.kinds[start] in _NO_CODE:
            start += 1
        self.first = start  # the first token of the line of code
        self.header = ""  # what a bracket after `def`, `class` or `type` and a name belongs to
        self.block_open = False  # whether the line's block colon has come
        self.outside = Pair(-1, "", "", 0)  # stands for the pair where no bracket is open

    def run(self) -> None:
        for i, (kind, string) in enumerate(zip(self.kinds, self.strings, strict=True)):
            if kind == OPERATOR:
                self._operator(i, string)
            elif kind == FIELD_MARK:
                self._field_mark(i, string)
            elif kind == NEWLINE:
                self._new_line(i + 1)
            elif kind == NAME and string in _WATCHED:
                if string == "lambda":
                    self._frame().lambdas += 1
                elif string != "type" or i in self.soft_keywords:
                    self.header = string

    def _frame(self) -> Pair:
        return self.pairs[self.stack[-1]] if self.stack else self.outside

    def _state(self) -> tuple[int, int]:
        return (self.stack[-1] if self.stack else -1, self._frame().items)

    def _push(self, i: int, string: str, role: str) -> None:
        self.stack.append(len(self.pairs))
        self.pairs.append(Pair(i, _OPENING[string], role, depth=len(self.stack)))
        self.events.append((i, *self._state(), *self._state()))

    def _pop(self, i: int) -> None:
        at = self._state()
        self.pairs[self.stack.pop()].closed = i
        self.events.append((i, *at, *self._state()))

    def _previous(self, i: int) -> int:
        """The token before in the same line of code; -1 if there is none."""
        i -= 1
        while i >= self.first and self.kinds[i] in (NL, COMMENT):
            i -= 1
        return i if i >= self.first else -1

    def _ends_value(self, i: int) -> bool:
        """Whether a token ends a value, so that an operator after it is binary and a bracket after it calls."""
        if i < 0:
            return False
        kind, string = self.kinds[i], self.strings[i]
        if kind == NAME:
            return i not in self.soft_keywords and (string in _VALUE_KEYWORDS or not iskeyword(string))
        if kind in (OPERATOR, FIELD_MARK):
            return kind == OPERATOR and string in _VALUE_ENDS
        return True

    def _field_mark(self, i: int, string: str) -> None:
        self.operator_class[i] = "fstring_field"
        if string == "{":
            self._push(i, string, "fstring_field")
        elif string == "}":
            self._pop(i)
        elif string == ":":
            self.colon_role[i] = "fstring_field"

    def _operator(self, i: int, string: str) -> None:
        frame = self._frame()
        if string in _OPENING:
            self.operator_class[i] = "opening_bracket"
            self._push(i, string, self._role(i, string))
        elif string in _CLOSING:
            self.operator_class[i] = "closing_bracket"
            if frame.kind == "curly" and i == frame.opened + 1:
                frame.has_colon = True  # nothing between the brackets: an empty dict
            self._pop(i)
        elif string == ",":
            self.operator_class[i] = "comma"
            at = self._state()
            frame.items += 1
            self.events.append((i, *at, *self._state()))
        else:
            self.operator_class[i] = self._class(i, string, frame)
            if string == ":":
                self.colon_role[i] = self._colon(frame)

    def _role(self, i: int, string: str) -> str:
        if string == "{":
            return "set"
        previous = self._previous(i)
        after_value = self._ends_value(previous)
        if self.header and after_value and not self.stack:
            if string == "[":
                return "type_parameters"
            role = "parameters" if self.header == "def" else "bases"
            self.header = ""
            return role
        if string == "[":
            return "subscript" if after_value else "list"
        if previous >= 0 and self.strings[previous] == "import":
            return "import"
        return "call" if after_value else "grouping"

    def _class(self, i: int, string: str, frame: Pair) -> str:
        if string == "=":
            self.header = ""
            return "keyword_equals" if self.stack or frame.lambdas else "assignment"
        if string == "@" and i == self.first:
            return "decorator"
        if string == "..." and self.strings[self.first] == "from" and self.strings[i - 1] in ("from", ".", "..."):
            return "dot"
        if string in _EITHER and not self._ends_value(self._previous(i)):
            return "unary" if string in ("+", "-") else self._star(i, string, frame)
        return _CLASS_OF_OPERATOR.get(string, "augmented_assignment")

    def _star(self, i: int, string: str, frame: Pair) -> str:
        if self.strings[i - 1] in ("import", "except"):
            return "bare_star"
        if frame.role in ("parameters", "type_parameters") or frame.lambdas or string == "/":
            return "parameter_marker"
        if string == "**" and frame.kind == "curly":
            frame.has_colon = True
        return "unpacking"

    def _colon(self, frame: Pair) -> str:
        if frame.lambdas:
            frame.lambdas -= 1
            return "lambda"
        if frame.kind == "curly":
            frame.has_colon = True
            return "dict"
        if frame.role == "subscript":
            return "slice"
        if not self.stack and not self.block_open and self._is_compound():
            self.block_open, self.header = True, ""
            return "block"
        return "annotation"

    def _is_compound(self) -> bool:
        string = self.strings[self.first]
        return string in _COMPOUND and (iskeyword(string) or self.first in self.soft_keywords)
