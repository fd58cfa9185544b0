"""A Python document read once, by `tokenize` and by `ast`, and the view of it that its tokens have."""

import ast
import tokenize
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, UInt8

from models.corpus.characters import NEWLINE, Characters, TokenSpans
from models.corpus.label_columns import COLUMNS
from models.corpus.python_brackets import Brackets, match_brackets
from models.corpus.python_constructs import Constructs, find_constructs
from models.corpus.python_names import find_roles
from models.corpus.python_tokens import PythonTokens, lex
from models.corpus.python_tree import Positions, walk


class NotPythonError(ValueError):
    """The text is no source of the running Python."""


@dataclass(frozen=True)
class PythonDocument:
    """A Python document: its tokens, its constructs, the roles of its names and the use of its brackets."""

    characters: Characters
    tokens: PythonTokens
    constructs: Constructs
    roles: dict[int, str]
    builtins: set[int]
    brackets: Brackets

    @classmethod
    def read(cls, characters: Characters) -> "PythonDocument":
        """Reads a document; `NotPythonError` if the running Python does not."""
        positions = Positions(characters)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an invalid escape in somebody's source is not our user's concern
                tree = ast.parse(characters.text)
                tokens = lex(characters)
                nodes = list(walk(tree, tokens, positions))
        except (SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
            raise NotPythonError(f"the running Python does not read this text: {error}") from None
        constructs = find_constructs(nodes, tokens, positions)
        roles, builtin_names = find_roles(nodes, tokens, positions)
        brackets = match_brackets(tokens, constructs.soft_keywords)
        return cls(characters, tokens, constructs, roles, builtin_names, brackets)


@dataclass(frozen=True)
class View:
    """A document from its tokens: where each one's labelled character lies.

    "Token" is the model's piece of text here, "source token" Python's own.
    """

    document: PythonDocument
    spans: TokenSpans

    @property
    def first(self) -> Int[np.ndarray, " token"]:
        """The character each token is labelled by."""
        return self.spans.first

    @cached_property
    def source_token(self) -> Int[np.ndarray, " token"]:
        """The source token that holds that character; -1 between source tokens."""
        return self.document.tokens.at(self.first)

    @cached_property
    def kind(self) -> Int[np.ndarray, " token"]:
        """That source token's kind; -1 between source tokens."""
        return np.append(self.document.tokens.kinds, -1)[self.source_token]

    @cached_property
    def row(self) -> Int[np.ndarray, " token"]:
        """The line, counted from 0."""
        return self.document.characters.lines_at(self.first)

    @cached_property
    def is_line_break(self) -> Bool[np.ndarray, " token"]:
        """Whether that character is a line break."""
        return self.document.characters.codes[self.first] == NEWLINE

    def category(self, column: str, values: Mapping[int, str]) -> UInt8[np.ndarray, " token"]:
        """Codes of a category that some source tokens have; 0 for the others."""
        column_codes = {value: i + 1 for i, value in enumerate(COLUMNS[column].values)}
        table = np.zeros(len(self.document.tokens.starts) + 1, dtype=np.uint8)
        table[list(values)] = [column_codes[value] for value in values.values()]
        return table[self.source_token]

    def flag(self, tokens: Iterable[int]) -> Bool[np.ndarray, " token"]:
        """Whether that source token is one of `tokens`."""
        table = np.zeros(len(self.document.tokens.starts) + 1, dtype=bool)
        table[list(tokens)] = True
        return table[self.source_token]

    def source_spans(self, *kinds: int) -> Int[np.ndarray, "span 2"]:
        """The characters of the source tokens of these kinds."""
        tokens = self.document.tokens
        chosen = np.isin(tokens.kinds, kinds)
        return np.stack([tokens.starts[chosen], tokens.ends[chosen]], axis=1)
