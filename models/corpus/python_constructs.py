"""Which characters of Python source lie inside which construct: statements, blocks, expressions, docstrings."""

import ast
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.corpus.python_tokens import PythonTokens
from models.corpus.python_tree import Positions, Span

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SIMPLE = {
    ast.Assign: "assignment", ast.AugAssign: "augmented_assignment", ast.AnnAssign: "annotated_assignment",
    ast.Return: "return", ast.Raise: "raise", ast.Assert: "assert", ast.Delete: "delete", ast.Pass: "pass",
    ast.Break: "break", ast.Continue: "continue", ast.Global: "global", ast.Nonlocal: "nonlocal",
    ast.Import: "import", ast.ImportFrom: "from_import",
}  # fmt: skip
_COMPOUND = {
    ast.FunctionDef: "def", ast.AsyncFunctionDef: "def", ast.ClassDef: "class", ast.If: "if", ast.For: "for",
    ast.AsyncFor: "for", ast.While: "while", ast.With: "with", ast.AsyncWith: "with", ast.Try: "try",
    ast.TryStar: "try", ast.Match: "match",
}  # fmt: skip
# The node types whose whole span is the inside of a construct.
_WHOLE: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("function",),
    ast.AsyncFunctionDef: ("function", "async_function"),
    ast.ClassDef: ("class",),
    ast.For: ("for", "loop"),
    ast.AsyncFor: ("for", "loop"),
    ast.While: ("while", "loop"),
    ast.With: ("with",),
    ast.AsyncWith: ("with",),
    ast.ExceptHandler: ("except",),
    ast.Match: ("match",),
    ast.Import: ("import",),
    ast.ImportFrom: ("import",),
    ast.Return: ("return",),
    ast.Raise: ("raise",),
    ast.Assert: ("assert",),
    ast.ListComp: ("comprehension", "list"),
    ast.SetComp: ("comprehension", "set"),
    ast.DictComp: ("comprehension", "dict"),
    ast.GeneratorExp: ("comprehension",),
    ast.List: ("list",),
    ast.Set: ("set",),
    ast.Dict: ("dict",),
    ast.Tuple: ("tuple",),
    ast.Lambda: ("lambda",),
    ast.IfExp: ("conditional_expression",),
    ast.BoolOp: ("boolean_expression",),
    ast.Compare: ("comparison",),
    ast.BinOp: ("arithmetic",),
    ast.Yield: ("yield_or_await",),
    ast.YieldFrom: ("yield_or_await",),
    ast.Await: ("yield_or_await",),
}


@dataclass
class Constructs:
    """Constructs as spans of characters, in reading order; where they nest, the outer one comes first.

    Attributes:
        spans: for `inside_…` labels, by the label's name without `inside_`.
        statements, blocks: spans with their kind.
        functions: each function's span.
        docstrings: each docstring's span and owner.
        soft_keywords: the tokens that are `match`, `case` and `type` used as keywords.
    """

    spans: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    statements: list[tuple[Span, str]] = field(default_factory=list)
    blocks: list[tuple[Span, str]] = field(default_factory=list)
    functions: list[Span] = field(default_factory=list)
    docstrings: list[tuple[Span, str]] = field(default_factory=list)
    soft_keywords: set[int] = field(default_factory=set)


def find_constructs(nodes: Sequence[ast.AST], tokens: PythonTokens, positions: Positions) -> Constructs:
    """The constructs of a document from its nodes, parents first."""
    return _Finder(tokens, positions).find(nodes)


class _Finder:
    def __init__(self, tokens: PythonTokens, positions: Positions) -> None:
        self.tokens, self.span = tokens, positions.span
        self.token_at = {start: i for i, start in enumerate(tokens.starts.tolist())}
        self.starts = tokens.starts.tolist()
        self.line_starts = [line.start for line in tokens.logical_lines]
        self.found = Constructs()
        self.docstrings: dict[int, str] = {}  # the docstrings' nodes by identity, and what they document
        self.elifs: set[int] = set()

    def find(self, nodes: Sequence[ast.AST]) -> Constructs:
        special: dict[type, Callable] = {
            ast.Module: self._module, ast.FunctionDef: self._function, ast.AsyncFunctionDef: self._function,
            ast.ClassDef: self._class, ast.If: self._if, ast.For: self._loop, ast.AsyncFor: self._loop,
            ast.While: self._loop, ast.With: self._with, ast.AsyncWith: self._with, ast.Try: self._try,
            ast.TryStar: self._try, ast.ExceptHandler: self._handler, ast.Match: self._match,
            ast.match_case: self._case, ast.Expr: self._expression, ast.arguments: self._arguments,
            ast.arg: self._annotated, ast.AnnAssign: self._assignment, ast.Assign: self._assignment,
            ast.AugAssign: self._assignment, ast.UnaryOp: self._unary,
        }  # fmt: skip
        if hasattr(ast, "TypeAlias"):
            special[ast.TypeAlias] = self._type_alias
        for node in nodes:
            kind = type(node)
            for name in _WHOLE.get(kind, ()):
                self.found.spans[name].append(self.span(node))
            if kind in _SIMPLE or kind in _COMPOUND:
                self._statement(node)
            if kind in special:
                special[kind](node)
        return self.found

    def _statement(self, node: ast.AST) -> None:
        kind = _SIMPLE.get(type(node)) or _COMPOUND[type(node)]  # type: ignore[call-overload]
        if id(node) in self.elifs:
            kind = "elif"
        if type(node) in _SIMPLE:
            self._simple(node, kind)
        else:
            self.found.statements.append((self.span(node), kind))

    def _simple(self, node: ast.AST, kind: str) -> None:
        """A simple statement, to the end of its line; where another stands behind it, that one covers the rest."""
        start, end = self.span(node)
        self.found.statements.append(((start, max(end, self._line_end(start))), kind))

    def _line_end(self, position: int) -> int:
        """Where the line of code at a position ends."""
        return self.tokens.logical_lines[bisect_right(self.line_starts, position) - 1].end

    def _add(self, name: str, node: ast.AST | None) -> None:
        if node is not None:
            self.found.spans[name].append(self.span(node))

    def _block(self, kind: str, body: Sequence[ast.stmt]) -> Span:
        span = (self._start(body[0]), self.span(body[-1])[1])
        self.found.blocks.append((span, kind))
        return span

    def _start(self, statement: ast.stmt) -> int:
        """Where a statement starts, its decorators included."""
        decorators = getattr(statement, "decorator_list", [])
        return self._decorator_start(decorators[0]) if decorators else self.span(statement)[0]

    def _back(self, position: int, string: str) -> int:
        """The last token before the one at `position` that says `string`."""
        i = self.token_at[position] - 1
        while self.tokens.strings[i] != string:
            i -= 1
        return i

    def _decorator_start(self, decorator: ast.expr) -> int:
        return self.starts[self._back(self.span(decorator)[0], "@")]

    def _clause(self, keyword: str, body: Sequence[ast.stmt]) -> None:
        """An `else` or `finally` with its body."""
        if not body:
            return
        i = self._back(self._start(body[0]), keyword)
        self.found.statements.append(((self.starts[i], self._line_end(self.starts[i])), keyword))
        self.found.spans[keyword].append(self._block(keyword, body))

    def _documented(self, node: ast.Module | ast.ClassDef | Function, owner: str) -> None:
        if ast.get_docstring(node, clean=False) is not None:
            self.docstrings[id(node.body[0])] = owner

    def _module(self, node: ast.Module) -> None:
        self._documented(node, "module")

    def _definition(self, node: Function | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            start, end = self._decorator_start(decorator), self.span(decorator)[1]
            self.found.statements.append(((start, max(end, self._line_end(start))), "decorator"))
            self._add("decorator", decorator)

    def _function(self, node: Function) -> None:
        self._definition(node)
        self._documented(node, "function")
        self.found.functions.append(self.span(node))
        self._add("annotation", node.returns)
        self._block("def", node.body)

    def _class(self, node: ast.ClassDef) -> None:
        self._definition(node)
        self._documented(node, "class")
        self._block("class", node.body)
        for statement in node.body:
            if isinstance(statement, Function):
                self._add("method", statement)

    def _if(self, node: ast.If) -> None:
        is_elif = id(node) in self.elifs
        if not is_elif:
            self._add("if", node)
        match node.test:
            case ast.Compare(left=ast.Name(id="__name__"), comparators=[ast.Constant(value="__main__")]):
                self._add("main_guard", node)
        self._add("condition", node.test)
        self._block("elif" if is_elif else "if", node.body)
        if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            start = self.span(node.orelse[0])[0]
            if self.tokens.strings[self.token_at[start]] == "elif":
                self.elifs.add(id(node.orelse[0]))
                return
        self._clause("else", node.orelse)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        if isinstance(node, ast.While):
            self._add("condition", node.test)
        self._block("while" if isinstance(node, ast.While) else "for", node.body)
        self._clause("else", node.orelse)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        self._block("with", node.body)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        self.found.spans["try"].append(self._block("try", node.body))
        self._clause("else", node.orelse)
        self._clause("finally", node.finalbody)

    def _handler(self, node: ast.ExceptHandler) -> None:
        self.found.statements.append((self.span(node), "except"))
        self._block("except", node.body)

    def _match(self, node: ast.Match) -> None:
        self.found.soft_keywords.add(self.token_at[self.span(node)[0]])

    def _case(self, node: ast.match_case) -> None:
        line = bisect_right(self.line_starts, self.span(node.pattern)[0]) - 1
        start = self.line_starts[line]
        self.found.soft_keywords.add(self.token_at[start])
        self.found.statements.append(((start, self.span(node.body[-1])[1]), "case"))
        self._block("case", node.body)

    def _type_alias(self, node: ast.stmt) -> None:
        self.found.soft_keywords.add(self.token_at[self.span(node)[0]])
        self._simple(node, "type_alias")

    def _expression(self, node: ast.Expr) -> None:
        owner = self.docstrings.get(id(node))
        if owner:
            self.found.docstrings.append((self.span(node), owner))
            self._add("docstring", node)
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        kind = "docstring" if owner else "call" if isinstance(value, ast.Call) else "expression"
        self._simple(node, kind)

    def _arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *node.kw_defaults):
            self._add("default_argument", default)

    def _annotated(self, node: ast.arg) -> None:
        self._add("annotation", node.annotation)

    def _assignment(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._add("assignment_target", target)
        self._add("assignment_value", node.value)
        if isinstance(node, ast.AnnAssign):
            self._add("annotation", node.annotation)

    def _unary(self, node: ast.UnaryOp) -> None:
        self._add("boolean_expression" if isinstance(node.op, ast.Not) else "arithmetic", node)
