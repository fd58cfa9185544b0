"""Every label a token can carry: its name, its type and what it says, in one place.

A category is held as a code: 0 says that the label does not apply (null in the table), `i + 1` is `values[i]`.
"""

from dataclasses import dataclass
from keyword import kwlist
from typing import Literal

SOFT_KEYWORDS = ("case", "match", "type")
KEYWORDS = tuple(sorted({*kwlist, *SOFT_KEYWORDS}))

LETTER_CLASSES = (
    "lower",
    "upper",
    "other_letter",
    "digit",
    "punctuation",
    "symbol",
    "mark",
    "space",
    "newline",
    "other",
)
PARTS = ("whole", "start", "inside", "end")
CAPITALISATIONS = ("lower", "capitalised", "upper", "mixed")
COLUMN_BUCKETS = ("0", "1-7", "8-15", "16-31", "32-63", "64 or more")
LENGTH_BUCKETS = ("1-20", "21-40", "41-60", "61-80", "more than 80")
SCRIPTS = ("latin", "greek", "cyrillic", "hebrew", "arabic", "devanagari", "han", "kana", "hangul", "other")
DISTANCE_BUCKETS = ("1", "2-3", "4-7", "8-15", "16-31", "32 or more")
BRACKET_KINDS = ("round", "square", "curly")

TOKEN_TYPES = (
    "keyword", "name", "number", "string", "fstring", "docstring", "comment", "operator",
    "newline", "indentation", "whitespace", "line_continuation",
)  # fmt: skip
NAME_ROLES = (
    "reference", "builtin", "call", "method_call", "attribute", "assigned", "assigned_attribute", "deleted",
    "loop_variable", "with_variable", "exception_variable", "declared", "definition_function", "definition_class",
    "parameter", "type_parameter", "keyword_argument", "self", "decorator", "base_class",
    "import_module", "import_name", "import_alias", "pattern_capture", "wildcard",
)  # fmt: skip
OPERATOR_CLASSES = (
    "arithmetic", "unary", "bitwise", "comparison", "assignment", "augmented_assignment", "walrus", "keyword_equals",
    "unpacking", "parameter_marker", "dot", "comma", "colon", "semicolon", "arrow", "decorator", "ellipsis",
    "bare_star", "opening_bracket", "closing_bracket", "fstring_field",
)  # fmt: skip
BRACKETS = ("(", ")", "[", "]", "{", "}")
BRACKET_ROLES = (
    "call", "parameters", "bases", "type_parameters", "grouping", "import", "subscript", "list", "dict", "set",
    "fstring_field",
)  # fmt: skip
COLON_ROLES = ("block", "annotation", "lambda", "slice", "dict", "fstring_field")
STATEMENTS = (
    "assignment", "augmented_assignment", "annotated_assignment", "expression", "call", "docstring", "return",
    "raise", "assert", "delete", "pass", "break", "continue", "global", "nonlocal", "import", "from_import",
    "def", "class", "decorator", "if", "elif", "else", "for", "while", "with", "try", "except", "finally",
    "match", "case", "type_alias",
)  # fmt: skip
BLOCKS = (
    "module", "class", "def", "if", "elif", "else", "for", "while", "with", "try", "except", "finally", "match", "case",
)  # fmt: skip
QUOTES = ("'", '"', "'''", '"""')
STRING_PREFIXES = ("b", "br", "f", "fr", "r", "t", "rt", "u")
STRING_POSITIONS = ("start", "middle", "end")
DOCSTRING_OWNERS = ("module", "class", "function")
NAME_CASES = ("lower", "snake_case", "UPPER_CASE", "CamelCase", "mixedCase", "_private", "__dunder__")
NUMBER_KINDS = ("integer", "float", "hexadecimal", "octal", "binary", "imaginary")
NEWLINE_KINDS = ("end_of_statement", "blank_or_comment", "inside_brackets", "inside_string", "line_continuation")
COMMENT_KINDS = ("own_line", "trailing")
INDENT_CHANGES = ("deeper", "shallower")

NUMBER_FORMATS = ("integer", "decimal", "grouped", "ordinal", "time", "percent", "year")
QUOTE_KINDS = ("double", "curly", "guillemet", "backtick")
PUNCTUATION = (
    ".",
    ",",
    ";",
    ":",
    "?",
    "!",
    "'",
    '"',
    "-",
    "–",
    "—",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "/",
    "…",
    "’",
    "“",
    "”",
)
SENTENCE_TYPES = ("statement", "question", "exclamation")


@dataclass(frozen=True)
class LabelColumn:
    """One label: `bool`, `int` (int16) or `category` (one of `values`, or null where it does not apply)."""

    name: str
    kind: Literal["bool", "int", "category"]
    description: str
    values: tuple[str, ...] = ()

    def code(self, value: str) -> int:
        """The number that stands for a category's value."""
        return self.values.index(value) + 1


def _flag(name: str, description: str) -> LabelColumn:
    return LabelColumn(name, "bool", description)


def _count(name: str, description: str) -> LabelColumn:
    return LabelColumn(name, "int", description)


def _choice(name: str, values: tuple[str, ...], description: str) -> LabelColumn:
    return LabelColumn(name, "category", description, values)


# Labels of any text, Python source included.
SHARED_COLUMNS = (
    _choice("char_class", LETTER_CLASSES, "What kind of character the token's first non-space character is."),
    _choice("script", SCRIPTS, "The writing system of the letter the token starts with."),
    _choice("word_position", PARTS, "Which part of its word (letters, digits, underscores) the token is."),
    _choice("capitalisation", CAPITALISATIONS, "How the word around the token is capitalised."),
    _count("word_length", "How many characters the word around the token has."),
    _count("token_length", "How many characters the token has."),
    _flag("after_space", "White space, or nothing, stands before the token's first non-space character."),
    _flag("first_in_line", "The token holds the first non-space character of its line."),
    _flag("last_in_line", "The token holds the last non-space character of its line."),
    _choice("column", COLUMN_BUCKETS, "How many characters stand before the token in its line."),
    _choice("line_length", LENGTH_BUCKETS, "How many characters the token's line has."),
    _count("line_indent", "How many spaces and tabs the token's line begins with."),
    _flag("blank_line_before", "The line above the token's line is blank."),
    _flag("inside_url", "The token is inside a web or mail address."),
    _flag("repeated_in_document", "The same token stands earlier in the document."),
    _flag("repeated_in_context", "The same token stands earlier in the same sequence, where the model can see it."),
    _flag("repeated_in_line", "The same token stands earlier in its line."),
    _flag("repeated_bigram", "This token and the one before it stand together earlier in the same sequence."),
    _choice(
        "repeat_distance", DISTANCE_BUCKETS, "How many tokens back the same token last stood in the same sequence."
    ),
)

TEXT_COLUMNS = (
    *SHARED_COLUMNS,
    _choice("punctuation", PUNCTUATION, "Which punctuation mark the token starts with."),
    _count("bracket_depth", "How many brackets are open at the token in its paragraph, its own included."),
    _choice("bracket_kind", BRACKET_KINDS, "The innermost bracket open at the token in its paragraph."),
    _choice("quote_kind", QUOTE_KINDS, "The quotation marks that enclose the token in its paragraph."),
    _choice("number_format", NUMBER_FORMATS, "How the number around the token is written."),
    _count("number_length", "How many digits the run of digits around the token has."),
    _flag("sentence_start", "The token starts the first word of its sentence."),
    _flag("sentence_end", "The token holds the mark that ends its sentence."),
    _count("sentence_word", "How many words of the sentence have begun, the token's own included."),
    _choice("sentence_type", SENTENCE_TYPES, "The mark that ends the token's sentence: full stop, ? or !."),
    _flag("paragraph_start", "The token holds the first character of its paragraph."),
    _flag("list_item", "The token's line begins with a bullet or an item number."),
    _flag("heading", "The token's line is a heading (begins with #) or all its letters are capitals."),
    _flag("hyphenated", "The token's word is joined to another by a hyphen."),
)

_INSIDE = {
    "function": "a function definition, from `def` to the end of its body",
    "async_function": "an `async def`",
    "method": "a function defined directly in a class",
    "class": "a class definition, from `class` to the end of its body",
    "if": "an `if` statement, any branch",
    "else": "the body of an `else`",
    "for": "a `for` statement",
    "while": "a `while` statement",
    "loop": "a `for` or `while` statement",
    "with": "a `with` statement",
    "try": "the body of a `try`",
    "except": "an `except` clause",
    "finally": "the body of a `finally`",
    "match": "a `match` statement",
    "main_guard": 'an `if __name__ == "__main__"` statement',
    "import": "an import statement",
    "return": "a `return` statement",
    "raise": "a `raise` statement",
    "assert": "an `assert` statement",
    "condition": "the test of an `if`, `elif` or `while`",
    "comprehension": "a comprehension or generator expression",
    "lambda": "a `lambda`",
    "conditional_expression": "an `a if b else c`",
    "boolean_expression": "an expression of `and`, `or`, `not`",
    "comparison": "a comparison",
    "arithmetic": "an expression of an arithmetic or bitwise operator",
    "yield_or_await": "a `yield`, `yield from` or `await` expression",
    "annotation": "the annotation of a parameter, a variable or a returned value",
    "decorator": "a decorator's expression",
    "default_argument": "a parameter's default value",
    "assignment_target": "what an assignment assigns to",
    "assignment_value": "the value of an assignment",
    "parameters": "a function's parameter list, its brackets included",
    "call_arguments": "the brackets of a call",
    "subscript": "the brackets of a subscript",
    "dict": "a dict display or comprehension",
    "set": "a set display or comprehension",
    "list": "a list display or comprehension",
    "tuple": "a tuple",
    "string": "a string literal of any kind, its quotes included",
    "docstring": "a docstring, its quotes included",
    "fstring": "an f-string, its quotes and fields included",
    "fstring_expression": "the expression of an f-string's field",
    "format_spec": "the format specification of an f-string's field",
    "escape": "an escape sequence of a string",
    "comment": "a comment",
}

PYTHON_COLUMNS = (
    *SHARED_COLUMNS,
    _choice("token_type", TOKEN_TYPES, "What Python's tokenizer calls the piece of source the token starts in."),
    _choice("keyword", KEYWORDS, "Which keyword (or soft keyword used as one) the token starts in."),
    _choice("name_role", NAME_ROLES, "What the name around the token does there."),
    _choice("name_part", PARTS, "Which part of its name the token is."),
    _choice("name_case", NAME_CASES, "How the name around the token is written."),
    _flag("builtin_name", "The name is a builtin that this document binds nowhere."),
    _flag("repeated_name", "The same name stands earlier in the document."),
    _choice("operator_class", OPERATOR_CLASSES, "What kind of operator the token starts with."),
    _choice("colon_role", COLON_ROLES, "What the colon the token starts with is for."),
    _choice("bracket", BRACKETS, "Which bracket the token starts with."),
    _count("bracket_depth", "How many brackets are open at the token, its own included, those in strings not."),
    _choice("bracket_kind", BRACKET_KINDS, "The innermost bracket open at the token."),
    _choice("bracket_role", BRACKET_ROLES, "What the innermost bracket open at the token is for."),
    _count("item_index", "How many commas stand before the token directly inside its innermost bracket."),
    _count("indent_depth", "How many blocks the token's line is indented by."),
    _choice("indent_change", INDENT_CHANGES, "Whether the token's line of code is indented further than the last."),
    _choice("statement", STATEMENTS, "The innermost simple statement, or header of a compound one, around the token."),
    _flag("statement_start", "The token holds the first character of a line of code."),
    _flag("continuation_line", "The token's line goes on with a line of code begun above."),
    _choice("block", BLOCKS, "The innermost block whose body the token is in."),
    _count("function_depth", "How many functions are nested around the token."),
    _count("line_in_function", "How many lines below the innermost function's `def` the token stands."),
    _choice("quote_state", QUOTES, "The quotes of the innermost string around the token."),
    _choice("string_prefix", STRING_PREFIXES, "The prefix of the innermost string around the token, in lower case."),
    _choice("string_position", STRING_POSITIONS, "Whether the token is in a string's opening, its text or its close."),
    _choice("docstring_owner", DOCSTRING_OWNERS, "What the docstring around the token documents."),
    _choice("number_kind", NUMBER_KINDS, "How the number around the token is written."),
    _choice("newline_kind", NEWLINE_KINDS, "What the line break the token starts with ends."),
    _choice("comment_kind", COMMENT_KINDS, "Whether the comment stands alone on its line or behind code."),
    *(_flag(f"inside_{what}", f"The token is inside {where}.") for what, where in _INSIDE.items()),
)  # fmt: skip

LANGUAGES = {"python": PYTHON_COLUMNS, "text": TEXT_COLUMNS}
COLUMNS = {column.name: column for columns in LANGUAGES.values() for column in columns}
LINE = "line"
