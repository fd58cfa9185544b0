"""Takes an f-string apart: its quotes, its text, and the expressions of its fields.

Python's `tokenize` gives an f-string whole up to 3.11 and in pieces from 3.12 on, and `ast` in 3.11 misplaces the
expressions of f-strings that span lines. This scanner follows PEP 701, of which the older grammar is a part, so that
labels are the same under every Python.
"""

import re
from typing import NamedTuple

_OPENING = re.compile(r"([A-Za-z]*)('''|\"\"\"|'|\")")
_STRING = re.compile(r"(?<![A-Za-z0-9_])([A-Za-z]{0,2})('''|\"\"\"|'|\")")
_NAMED_ESCAPE = re.compile(r"\\N\{[^}\n]*\}")

TEXT, MARK, EXPRESSION = "text", "mark", "expression"


class Piece(NamedTuple):
    """Characters `start … end` of an f-string: `text` (quotes included), a field's `mark` or an `expression`."""

    kind: str
    start: int
    end: int


class ScannedString(NamedTuple):
    """An f-string's pieces in reading order, the spans of its fields' format specifications, and its extent."""

    pieces: list[Piece]
    format_specs: list[tuple[int, int]]
    body_start: int
    body_end: int
    end: int


def scan_fstring(text: str, start: int) -> ScannedString:
    """The f-string whose prefix starts at `start`; `ValueError` if it does not end."""
    return _Scanner(text, start).scan()


class _Scanner:
    def __init__(self, text: str, start: int) -> None:
        opening = _OPENING.match(text, start)
        if opening is None:
            raise ValueError(f"no string starts at character {start}.")
        self.text, self.start, self.body_start = text, start, opening.end()
        self.quote, self.raw = opening[2], "r" in opening[1].lower()
        self.pieces: list[Piece] = []
        self.format_specs: list[tuple[int, int]] = []

    def scan(self) -> ScannedString:
        self._add(TEXT, self.start, self.body_start)
        body_end = self._literal(self.body_start, in_format_spec=False)
        end = body_end + len(self.quote)
        self._add(TEXT, body_end, end)
        return ScannedString(self.pieces, self.format_specs, self.body_start, body_end, end)

    def _add(self, kind: str, start: int, end: int) -> None:
        if end > start:
            self.pieces.append(Piece(kind, start, end))

    def _literal(self, position: int, *, in_format_spec: bool) -> int:
        """Reads text and fields up to the closing quotes, or to the `}` that ends a format specification."""
        text, begun = self.text, position
        while position < len(text):
            char = text[position]
            if char == "\\":
                named = None if self.raw else _NAMED_ESCAPE.match(text, position)
                if named is not None:
                    position = named.end()
                else:
                    position += 1 if text[position + 1 : position + 2] in ("{", "}") else 2
            elif char == "{" and text.startswith("{{", position) and not in_format_spec:
                position += 2
            elif char == "{":
                self._add(TEXT, begun, position)
                begun = position = self._field(position)
            elif (in_format_spec and char == "}") or text.startswith(self.quote, position):
                self._add(TEXT, begun, position)
                return position
            else:
                position += 1
        raise ValueError(f"the f-string at character {self.start} does not end.")

    def _field(self, position: int) -> int:
        """Reads `{expression = !conversion : specification}` and returns where it ends."""
        text = self.text
        self._add(MARK, position, position + 1)
        begun = position + 1
        position = self._expression(begun)
        written = text[begun:position].rstrip()
        shows_itself = written.endswith("=") and not written.endswith(("==", "!=", "<=", ">="))
        expression = written[:-1].rstrip() if shows_itself else written
        begins = begun + len(expression) - len(expression.lstrip())
        self._add(EXPRESSION, begins, begun + len(expression))
        if shows_itself:
            self._add(MARK, begun + len(written) - 1, begun + len(written))
        if text[position] == "!":
            conversion = position
            while text[position] not in ":}":
                position += 1
            self._add(MARK, conversion, position)
        if text[position] == ":":
            self._add(MARK, position, position + 1)
            spec = position + 1
            position = self._literal(spec, in_format_spec=True)
            self.format_specs.append((spec, position))
        self._add(MARK, position, position + 1)
        return position + 1

    def _expression(self, position: int) -> int:
        """Where the expression of a field ends: at the `!`, `:` or `}` outside all brackets and strings."""
        text, depth = self.text, 0
        while position < len(text):
            char = text[position]
            if char in "'\"" or char.isalpha():
                string = _STRING.match(text, position)
                if string is not None:
                    position = _string_end(text, position, string[1], string[2])
                else:
                    position += 1
                continue
            if char == "#":
                position = text.find("\n", position)
                if position < 0:
                    break
            elif char in "([{":
                depth += 1
            elif depth and char in ")]}":
                depth -= 1
            elif not depth and (char in ":}" or (char == "!" and text[position + 1 : position + 2] != "=")):
                return position
            position += 1
        raise ValueError(f"the f-string at character {self.start} does not end.")


def _string_end(text: str, start: int, prefix: str, quote: str) -> int:
    if set(prefix.lower()) & {"f", "t"}:
        return scan_fstring(text, start).end
    position = start + len(prefix) + len(quote)
    while not text.startswith(quote, position):
        if position >= len(text):
            raise ValueError(f"the string at character {start} does not end.")
        position += 2 if text[position] == "\\" else 1
    return position + len(quote)
