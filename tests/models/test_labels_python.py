"""Labels of Python source against hand-worked spans: a case says exactly which characters carry a label."""

import sys

import numpy as np
import pytest

from models.corpus.characters import Characters, TokenSpans
from models.corpus.label_columns import COLUMNS, PYTHON_COLUMNS, SHARED_COLUMNS
from models.corpus.labels_python import label_python
from models.corpus.python_document import NotPythonError

Value = bool | int | str | None


def one_token_a_character(text: str) -> tuple[Characters, TokenSpans]:
    characters = Characters(text)
    starts = np.arange(len(text))
    return characters, TokenSpans.of(characters, np.zeros(len(text), dtype=np.int64), starts, starts + 1)


def values(text: str, column: str) -> list[Value]:
    """The label of each character."""
    found = label_python(*one_token_a_character(text))[column]
    if COLUMNS[column].kind == "category":
        return [COLUMNS[column].values[code - 1] if code else None for code in found.tolist()]
    return found.tolist()


def covered(text: str, column: str, value: Value = True) -> list[str]:
    """The longest runs of characters that carry the label."""
    runs: list[str] = []
    inside = False
    for char, found in zip(text, values(text, column), strict=True):
        if found == value:
            runs.append(runs.pop() + char if inside else char)
        inside = found == value
    return runs


ASYNC = "async def f():\n    async with a: pass\n    async for b in c: pass"
CASES = [
    # token_type and what names it
    ("if x: pass  # go", "token_type", "keyword", ["if", "pass"]),
    ("if x: pass  # go", "token_type", "comment", ["#", "go"]),
    ("x = 1 + 2.5", "token_type", "number", ["1", "2.5"]),
    ("x += y", "token_type", "operator", ["+="]),
    ('"""Doc."""\nx = "s"', "token_type", "docstring", ['"""Doc."""']),
    ('"""Doc."""\nx = "s"', "token_type", "string", ['"s"']),
    ("if x:\n    y\n", "token_type", "newline", ["\n", "\n"]),
    ("x = 1 + \\\n    2", "token_type", "line_continuation", ["\\"]),
    ("match = 1\nmatch match:\n    case 1:\n        case = 2\n", "keyword", "match", ["match"]),
    ("match = 1\nmatch match:\n    case 1:\n        case = 2\n", "keyword", "case", ["case"]),
    ("x is not None", "keyword", "None", ["None"]),
    ("0x1F, 0b1, 0o7, 1_0, 1e3, 2j", "number_kind", "hexadecimal", ["0x1F"]),
    ("0x1F, 0b1, 0o7, 1_0, 1e3, 2j", "number_kind", "float", ["1e3"]),
    ("0x1F, 0b1, 0o7, 1_0, 1e3, 2j", "number_kind", "imaginary", ["2j"]),
    ("0x1F, 0b1, 0o7, 1_0, 1e3, 2j", "number_kind", "integer", ["1_0"]),
    # names
    ("def f(a, *b, c=1, **d): return a", "name_role", "parameter", ["a", "b", "c", "d"]),
    ("def f(a): return a", "name_role", "definition_function", ["f"]),
    ("async def f(): await g()", "name_role", "definition_function", ["f"]),
    ("class A(b.C, metaclass=M): pass", "name_role", "definition_class", ["A"]),
    ("class A(b.C, metaclass=M): pass", "name_role", "base_class", ["b", "C"]),
    ("class A(b.C, metaclass=M): pass", "name_role", "keyword_argument", ["metaclass"]),
    ("f(g, k=v).h().i", "name_role", "call", ["f"]),
    ("f(g, k=v).h().i", "name_role", "method_call", ["h"]),
    ("f(g, k=v).h().i", "name_role", "attribute", ["i"]),
    ("f(g, k=v).h().i", "name_role", "reference", ["g", "v"]),
    ("x = map\nid = 3\ny = id", "name_role", "builtin", ["map"]),
    ("len(x)", "builtin_name", True, ["len"]),
    ("import os.path as p, sys", "name_role", "import_module", ["os", "path", "sys"]),
    ("import os.path as p, sys", "name_role", "import_alias", ["p"]),
    ("from ..a.b import (c as d, e)", "name_role", "import_module", ["a", "b"]),
    ("from ..a.b import (c as d, e)", "name_role", "import_name", ["c", "e"]),
    ("from ..a.b import (c as d, e)", "name_role", "import_alias", ["d"]),
    ("@a.b(c)\n@property\ndef f(): pass", "name_role", "decorator", ["a", "b", "property"]),
    ("for i, (j, *k) in x: self.y = i", "name_role", "loop_variable", ["i", "j", "k"]),
    ("for i, (j, *k) in x: self.y = i", "name_role", "assigned_attribute", ["y"]),
    ("[q for q in z]", "name_role", "loop_variable", ["q"]),
    ("with a as b, c() as (d, e): pass", "name_role", "with_variable", ["b", "d", "e"]),
    ("try: pass\nexcept (A, B) as e: raise", "name_role", "exception_variable", ["e"]),
    ("def f():\n    global a, b\n    del a", "name_role", "declared", ["a", "b"]),
    ("def f():\n    global a, b\n    del a", "name_role", "deleted", ["a"]),
    ("class A:\n    def f(self): self.x(self)", "name_role", "self", ["self", "self", "self"]),
    ("if (n := f()) > 1: pass", "name_role", "assigned", ["n"]),
    ("lambda u: u", "name_role", "parameter", ["u"]),
    ("match p:\n    case A(x=1, y=b) as c: pass\n    case [d, *e] | {'k': _, **g}: pass",
     "name_role", "pattern_capture", ["b", "c", "d", "e", "g"]),
    ("match p:\n    case A(x=1, y=b): pass\n    case _: pass", "name_role", "keyword_argument", ["x", "y"]),
    ("match p:\n    case A(x=1, y=b): pass\n    case _: pass", "name_role", "wildcard", ["_"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "snake_case", ["snake_case"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "CamelCase", ["CamelCase"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "UPPER_CASE", ["UPPER"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "__dunder__", ["__x__"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "_private", ["_y"]),
    ("snake_case = CamelCase = UPPER = __x__ = _y = mixedCase", "name_case", "mixedCase", ["mixedCase"]),
    ("ab = ab + b", "repeated_name", True, ["ab"]),
    # operators, brackets, colons
    ("f(*a, **b)\nx = -y ** 2 * +z", "operator_class", "unpacking", ["*", "**"]),
    ("f(*a, **b)\nx = -y ** 2 * +z", "operator_class", "arithmetic", ["**", "*"]),
    ("f(*a, **b)\nx = -y ** 2 * +z", "operator_class", "unary", ["-", "+"]),
    ("def f(a, /, *, b=1): x = g(b=2)", "operator_class", "parameter_marker", ["/", "*"]),
    ("def f(a, /, *, b=1): x = g(b=2)", "operator_class", "keyword_equals", ["=", "="]),
    ("def f(a, /, *, b=1): x = g(b=2)", "operator_class", "assignment", ["="]),
    ("h = lambda a=1, *b: a", "operator_class", "keyword_equals", ["="]),
    ("h = lambda a=1, *b: a", "operator_class", "parameter_marker", ["*"]),
    ("from ... import *\nx = ...", "operator_class", "bare_star", ["*"]),
    ("from ... import *\nx = ...", "operator_class", "ellipsis", ["..."]),
    ("@a\ndef f(): x @ y", "operator_class", "decorator", ["@"]),
    ("def f(a: int = 1) -> b: x: int = c[1:2]", "colon_role", "annotation", [":", ":"]),
    ("if x: y = {1: lambda: 2}", "colon_role", "block", [":"]),
    ("if x: y = {1: lambda: 2}", "colon_role", "dict", [":"]),
    ("if x: y = {1: lambda: 2}", "colon_role", "lambda", [":"]),
    ("a[b:c, {d: e}]", "colon_role", "slice", [":"]),
    ("f(a[b], (c))", "bracket_role", "call", ["(a", ", ", ")"]),
    ("f(a[b], (c))", "bracket_role", "subscript", ["[b]"]),
    ("f(a[b], (c))", "bracket_role", "grouping", ["(c)"]),
    ("class A(B): pass", "bracket_role", "bases", ["(B)"]),
    ("x = {}, {1}, {**y}, {a: b}, [c]", "bracket_role", "dict", ["{}", "{**y}", "{a: b}"]),
    ("x = {}, {1}, {**y}, {a: b}, [c]", "bracket_role", "set", ["{1}"]),
    ("x = {}, {1}, {**y}, {a: b}, [c]", "bracket_role", "list", ["[c]"]),
    ("match (a):\n    case (b, [c]): f (d)", "bracket_role", "call", ["(d)"]),
    ("f(a, [b, c], d)", "item_index", 1, [" ", " c],"]),
    ("f(a, [b, c], d)", "bracket_depth", 2, ["[b, c]"]),
    ("x = '(' + f(y)", "bracket_depth", 1, ["(y)"]),
    ("(a, [b]) + {c}", "bracket_kind", "round", ["(a, ", ")"]),
    # strings
    ("x = 'a' + \"b\"", "quote_state", "'", ["'a'"]),
    ('x = """a\n"b" \'c\'"""', "quote_state", '"""', ['"""a\n"b" \'c\'"""']),
    ("x = Rb'a' + U'b'", "string_prefix", "br", ["Rb'a'"]),
    ("x = rb'abc'", "string_position", "start", ["rb'"]),
    ("x = rb'abc'", "string_position", "middle", ["abc"]),
    ("x = rb'abc'", "string_position", "end", ["'"]),
    (r"x = '\n\d\x41\N{EN DASH}' + r'\n' + b'\u0041'", "inside_escape", True, [r"\n", r"\x41\N{EN DASH}"]),
    ('def f():\n    "a"\n    "b"\nclass C:\n    "c" "d"', "docstring_owner", "function", ['"a"']),
    ('def f():\n    "a"\n    "b"\nclass C:\n    "c" "d"', "docstring_owner", "class", ['"c" "d"']),
    ('# c\n"m"\n', "docstring_owner", "module", ['"m"']),
    ("x = ('a'\n     'b')", "inside_string", True, ["'a'", "'b'"]),
    # f-strings
    ("x = f'a{b}c'", "inside_fstring", True, ["f'a{b}c'"]),
    ("x = f'a{b}c'", "token_type", "fstring", ["f'a", "c'"]),
    ("x = f'a{b}c'", "inside_fstring_expression", True, ["b"]),
    ("x = f'{{a}}{b!r:>{w}}'", "inside_fstring_expression", True, ["b", "w"]),
    ("x = f'{{a}}{b!r:>{w}}'", "inside_format_spec", True, [">{w}"]),
    ("x = f'{{a}}{b!r:>{w}}'", "operator_class", "fstring_field", ["{", "!r:", "{", "}}"]),
    ("x = f'{a = }{b == c}{d != e}{f(g=1)}'", "inside_fstring_expression", True, ["a", "b == c", "d != e", "f(g=1)"]),
    ("f'{len(a.b)}'", "name_role", "call", ["len"]),
    ("f'{len(a.b)}'", "name_role", "attribute", ["b"]),
    ("f'{len(a.b)}'", "inside_call_arguments", True, ["(a.b)"]),
    ("f\"{x['k']}\"", "quote_state", "'", ["'k'"]),
    ("f\"{x['k']}\"", "inside_subscript", True, ["['k']"]),
    ("f'''{f\"{a}b\"}c{d}'''", "name_role", "reference", ["a", "d"]),
    ("f'''{f\"{a}b\"}c{d}'''", "quote_state", '"', ['f"{a}b"']),
    ("f'''é{\n  aé + b\n}漢{c}'''", "name_role", "reference", ["aé", "b", "c"]),
    ("f'''é{\n  aé + b\n}漢{c}'''", "inside_arithmetic", True, ["aé + b"]),
    ("x = ('a' f'{b}'\n   'é' f'{c.d}')", "name_role", "attribute", ["d"]),
    ("f'{[y for y in z]}'", "inside_comprehension", True, ["[y for y in z]"]),
    ("f'{x:%H:%M}'", "inside_format_spec", True, ["%H:%M"]),
    ("f'{(lambda: 1)()}'", "inside_lambda", True, ["lambda: 1"]),
    ("rf'\\{a}\\d'", "name_role", "reference", ["a"]),
    ("f'\\N{EN DASH}{a}'", "inside_escape", True, ["\\N{EN DASH}"]),
    # multi-byte characters before the column, tabs, form feeds
    ("é = '漢字'; f(x)", "name_role", "call", ["f"]),
    ("d = {'漢': a.b, 'é': c.d}", "name_role", "attribute", ["b", "d"]),
    ("if x:\n\ty = 1\n\tif z:\n\t\tw", "indent_depth", 2, ["\t\tw"]),
    ("\x0cx = 1\n\x0cdef f():\n    return 1\n", "name_role", "definition_function", ["f"]),
    # lines
    ("if a:\n    b\nc\n", "indent_depth", 1, ["    b\n"]),
    ("if a:\n    # c\n    b\n# d\ne", "indent_depth", 1, ["    # c\n    b\n"]),
    ("if a:\n    b\n    # c\ne", "indent_depth", 1, ["    b\n    # c\n"]),
    ("if a:\n    b\nc\n", "indent_change", "deeper", ["    b\n"]),
    ("if a:\n    b\nc\n", "indent_change", "shallower", ["c\n"]),
    ("x = [\n  1,\n]\ny = '''\nz'''\nw", "continuation_line", True, ["  1,\n]\n", "z'''\n"]),
    ("a + \\\n  b\nc", "continuation_line", True, ["  b\n"]),
    ("a\n\nb  # c\n", "newline_kind", "end_of_statement", ["\n", "\n"]),
    ("a\n\nb  # c\n", "newline_kind", "blank_or_comment", ["\n"]),
    ("f(\n)\n", "newline_kind", "inside_brackets", ["\n"]),
    ("x = '''\n'''\n", "newline_kind", "inside_string", ["\n"]),
    ("a + \\\n b\n", "newline_kind", "line_continuation", ["\n"]),
    ("# a\nb  # c", "comment_kind", "own_line", ["# a"]),
    ("# a\nb  # c", "comment_kind", "trailing", ["# c"]),
    # statements and blocks
    ("x = 1; y += 2\nz: int = 3", "statement", "assignment", ["x = 1; "]),
    ("x = 1; y += 2\nz: int = 3", "statement", "augmented_assignment", ["y += 2\n"]),
    ("x = 1; y += 2\nz: int = 3", "statement", "annotated_assignment", ["z: int = 3"]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "statement", "if", ["if a: "]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "statement", "elif", ["elif b:\n"]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "statement", "else", ["else:\n"]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "statement", "call", ["f()\n"]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "block", "elif", ["pass"]),
    ("if a: f()\nelif b:\n    pass\nelse:\n    c", "inside_else", True, ["c"]),
    ("try:\n    a\nexcept E:\n    b\nfinally:\n    c", "inside_try", True, ["a"]),
    ("try:\n    a\nexcept E:\n    b\nfinally:\n    c", "inside_except", True, ["except E:\n    b"]),
    ("try:\n    a\nexcept E:\n    b\nfinally:\n    c", "inside_finally", True, ["c"]),
    ("try:\n    a\nexcept E:\n    b\nfinally:\n    c", "statement", "finally", ["finally:\n"]),
    ("@a\ndef f(x=1): return x", "statement", "decorator", ["@a\n"]),
    ("@a\ndef f(x=1): return x", "inside_decorator", True, ["a"]),
    ("@a\ndef f(x=1): return x", "inside_function", True, ["def f(x=1): return x"]),
    ("@a\ndef f(x=1): return x", "inside_parameters", True, ["(x=1)"]),
    ("@a\ndef f(x=1): return x", "inside_default_argument", True, ["1"]),
    ("class A:\n    def f(s): pass\n    b = 1", "inside_method", True, ["def f(s): pass"]),
    ("class A:\n    def f(s): pass\n    b = 1", "inside_class", True, ["class A:\n    def f(s): pass\n    b = 1"]),
    ("def f():\n    def g(): 1\n    2", "function_depth", 2, ["def g(): 1"]),
    ("def f():\n    def g(): 1\n    2", "line_in_function", 2, ["    2"]),
    (ASYNC, "inside_with", True, ["async with a: pass"]),
    (ASYNC, "inside_loop", True, ["async for b in c: pass"]),
    ("while a and not b: c", "inside_condition", True, ["a and not b"]),
    ("while a and not b: c", "inside_boolean_expression", True, ["a and not b"]),
    ("def f(a: 'int', *b: c) -> d: e: g = 1", "inside_annotation", True, ["'int'", "c", "d", "g"]),
    ("x = a if b else (c, d)", "inside_conditional_expression", True, ["a if b else (c, d)"]),
    ("x = a if b else (c, d)", "inside_tuple", True, ["(c, d)"]),
    ("a.b, c[0] = d = e", "inside_assignment_target", True, ["a.b, c[0]", "d"]),
    ("a.b, c[0] = d = e", "inside_assignment_value", True, ["e"]),
    ("if __name__ == '__main__':\n    f()", "inside_main_guard", True, ["if __name__ == '__main__':\n    f()"]),
    ("from a import (\n  b)", "inside_import", True, ["from a import (\n  b)"]),
    ("match a:\n    case 1: b\n    case 2: c", "block", "case", ["b", "c"]),
    ("match a:\n    case 1: b\n    case 2: c", "statement", "match", ["match a:\n"]),
    ("[x for x in {y: z}]", "inside_dict", True, ["{y: z}"]),
    ("x = {a for a in b}, {c}", "inside_set", True, ["{a for a in b}", "{c}"]),
    ("raise A from b", "inside_raise", True, ["raise A from b"]),
    ("assert a, b", "inside_assert", True, ["assert a, b"]),
    ("x = yield a", "inside_yield_or_await", True, ["yield a"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "value", "expected"), CASES)
def test_a_label_covers_exactly_what_it_should(text: str, column: str, value: Value, expected: list[str]) -> None:
    assert covered(text, column, value) == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
@pytest.mark.parametrize(
    ("text", "column", "value", "expected"),
    [
        ("def f[T: (int, str), *Ts, **P](a: T): pass", "name_role", "type_parameter", ["T", "Ts", "P"]),
        ("def f[T: (int, str)](a): pass", "bracket_role", "type_parameters", ["[T: ", "]"]),
        ("def f[T: (int, str)](a): pass", "bracket_role", "parameters", ["(a)"]),
        ("class A[T](B): pass", "bracket_role", "bases", ["(B)"]),
        ("type X[T] = list[T]\ntype = 1", "keyword", "type", ["type"]),
        ("type X[T] = list[T]\ntype = 1", "statement", "type_alias", ["type X[T] = list[T]\n"]),
        ('f"{x["a" # c\n]}"', "inside_subscript", True, ['["a" # c\n]']),
        ('f"{f"{a}"}{b}"', "name_role", "reference", ["a", "b"]),
    ],
)
def test_syntax_of_python_3_12(text: str, column: str, value: Value, expected: list[str]) -> None:
    assert covered(text, column, value) == expected


def test_a_token_is_labelled_by_its_first_character_that_is_no_space() -> None:
    text = "if x:\n    return (f)\n"
    pieces = ["if", " x", ":", "\n", "   ", " return", " (", "f", ")\n"]
    ends = np.cumsum([len(piece) for piece in pieces])
    characters = Characters(text)
    spans = TokenSpans.of(characters, np.arange(9), ends - [len(piece) for piece in pieces], ends)
    types = label_python(characters, spans)["token_type"]
    names = [COLUMNS["token_type"].values[code - 1] for code in types]
    assert names == [
        "keyword", "name", "operator", "newline", "indentation", "keyword", "operator", "name", "operator",
    ]  # fmt: skip


def test_white_space_alone_is_white_space_even_in_a_string() -> None:
    text = 'x = """a\n  b  c"""'
    assert covered(text, "token_type", "newline") == ["\n"]
    assert covered(text, "token_type", "whitespace") == [" ", " ", " ", "  "]
    assert covered(text, "inside_string") == ['"""a\n  b  c"""']


def test_a_name_in_pieces_knows_its_parts() -> None:
    text = "my_name = x"
    pieces = [(0, 2), (2, 3), (3, 7), (7, 9), (9, 11)]
    characters = Characters(text)
    starts, ends = np.array(pieces).T
    part = label_python(characters, TokenSpans.of(characters, np.arange(5), starts, ends))["name_part"]
    assert [COLUMNS["name_part"].values[code - 1] if code else None for code in part] == [
        "start", "inside", "end", None, "whole",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["def f(:\n", "x = (1\n", "print 'a'\n", "  x\n y\n", "'\n"])
def test_what_is_no_python_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NotPythonError):
        label_python(*one_token_a_character(text))


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "\n\n  \n", "'''doc'''", "x\\\n\n", "\x0c\n"])
def test_the_smallest_documents_have_every_label(text: str) -> None:
    labels = label_python(*one_token_a_character(text))
    assert set(labels) == {column.name for column in PYTHON_COLUMNS} - {column.name for column in SHARED_COLUMNS}
    assert all(len(found) == len(text) for found in labels.values())


def test_there_are_enough_columns_and_each_is_described() -> None:
    assert len(PYTHON_COLUMNS) >= 35
    assert len({column.name for column in PYTHON_COLUMNS}) == len(PYTHON_COLUMNS)
    for column in COLUMNS.values():
        assert column.description.endswith(".")
        assert "\n" not in column.description
