"""What each name of Python source is there for.

Where more than one role fits a name, the one further down `PRIORITY` is its role: in `@wraps(f)` the name `wraps` is
a decorator, though it is also called; `self` is always `self`. `call` is a name that is itself called (`f` in `f(x)`),
`method_call` an attribute that is called (`m` in `x.m()`). `builtin` is a name of `builtins` that the document binds
nowhere.
"""

import ast
from collections.abc import Callable, Sequence

from models.corpus.python_tokens import NAME, PythonTokens
from models.corpus.python_tree import BUILTINS, Positions, bound_names, dotted_names, names_in_target

PRIORITY = {
    role: i
    for i, role in enumerate((
        "reference", "builtin", "attribute", "assigned", "deleted", "assigned_attribute", "call", "method_call",
        "loop_variable", "with_variable", "exception_variable", "declared", "keyword_argument", "import_module",
        "import_name", "import_alias", "definition_function", "definition_class", "parameter", "type_parameter",
        "wildcard", "pattern_capture", "base_class", "decorator", "self",
    ))
}  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef
_SELF = ("self", "cls")


def find_roles(nodes: Sequence[ast.AST], tokens: PythonTokens, positions: Positions) -> tuple[dict[int, str], set[int]]:
    """The role of each name by its token, and the tokens that name a builtin."""
    finder = _Finder(tokens, positions, bound_names(nodes))
    finder.find(nodes)
    return finder.roles, finder.builtins


class _Finder:
    def __init__(self, tokens: PythonTokens, positions: Positions, bound: set[str]) -> None:
        self.strings, self.kinds = tokens.strings, tokens.kinds.tolist()
        self.character = positions.character
        self.token_at = {start: i for i, start in enumerate(tokens.starts.tolist())}
        self.token_to = {end: i for i, end in enumerate(tokens.ends.tolist())}
        self.unbound_builtins = BUILTINS - bound
        self.roles: dict[int, str] = {}
        self.builtins: set[int] = set()

    def find(self, nodes: Sequence[ast.AST]) -> None:
        handlers: dict[type, Callable] = {
            ast.Name: self._name, ast.Attribute: self._attribute, ast.Call: self._call, ast.arg: self._arg,
            ast.keyword: self._keyword, ast.FunctionDef: self._function, ast.AsyncFunctionDef: self._function,
            ast.ClassDef: self._class, ast.For: self._target, ast.AsyncFor: self._target,
            ast.comprehension: self._target, ast.withitem: self._with_item, ast.ExceptHandler: self._handler,
            ast.Global: self._declared, ast.Nonlocal: self._declared, ast.Import: self._import,
            ast.ImportFrom: self._import_from, ast.MatchAs: self._capture, ast.MatchStar: self._capture,
            ast.MatchMapping: self._mapping, ast.MatchClass: self._class_pattern,
        }  # fmt: skip
        for name in ("TypeVar", "ParamSpec", "TypeVarTuple"):
            if hasattr(ast, name):
                handlers[getattr(ast, name)] = self._type_parameter
        for node in nodes:
            handler = handlers.get(type(node))
            if handler is not None:
                handler(node)

    def _first(self, node: ast.AST) -> int:
        """The token a node starts with."""
        return self.token_at[self.character(node.lineno, node.col_offset)]  # type: ignore[attr-defined]

    def _last(self, node: ast.AST) -> int:
        """The token a node ends with."""
        return self.token_to[self.character(node.end_lineno, node.end_col_offset)]  # type: ignore[attr-defined]

    def _set(self, token: int, role: str) -> None:
        known = self.roles.get(token)
        if known is None or PRIORITY[role] > PRIORITY[known]:
            self.roles[token] = role

    def _name(self, node: ast.Name) -> None:
        token = self._first(node)
        if node.id in self.unbound_builtins:
            self.builtins.add(token)
            self._set(token, "builtin")
        elif node.id in _SELF:
            self._set(token, "self")
        elif isinstance(node.ctx, ast.Load):
            self._set(token, "reference")
        else:
            self._set(token, "assigned" if isinstance(node.ctx, ast.Store) else "deleted")

    def _attribute(self, node: ast.Attribute) -> None:
        role = {ast.Store: "assigned_attribute", ast.Del: "deleted"}.get(type(node.ctx), "attribute")
        self._set(self._last(node), role)

    def _call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            self._set(self._first(node.func), "call")
        elif isinstance(node.func, ast.Attribute):
            self._set(self._last(node.func), "method_call")

    def _arg(self, node: ast.arg) -> None:
        self._set(self._first(node), "self" if node.arg in _SELF else "parameter")

    def _keyword(self, node: ast.keyword) -> None:
        if node.arg is not None:
            self._set(self._first(node), "keyword_argument")

    def _decorators(self, node: Function | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            for name in dotted_names(decorator):
                self._set(self._last(name), "decorator")

    def _function(self, node: Function) -> None:
        self._decorators(node)
        first = self._first(node)
        self._set(first + (2 if self.strings[first] == "async" else 1), "definition_function")

    def _class(self, node: ast.ClassDef) -> None:
        self._decorators(node)
        self._set(self._first(node) + 1, "definition_class")
        for base in node.bases:
            for name in dotted_names(base):
                self._set(self._last(name), "base_class")

    def _target(self, node: ast.For | ast.AsyncFor | ast.comprehension) -> None:
        for name in names_in_target(node.target):
            self._set(self._first(name), "loop_variable")

    def _with_item(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            for name in names_in_target(node.optional_vars):
                self._set(self._first(name), "with_variable")

    def _handler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None and node.type is not None:
            token = self._last(node.type)
            while self.strings[token] != "as":
                token += 1
            self._set(token + 1, "exception_variable")

    def _names(self, first: int, last: int) -> list[int]:
        return [i for i in range(first, last + 1) if self.kinds[i] == NAME]

    def _declared(self, node: ast.Global | ast.Nonlocal) -> None:
        for token in self._names(self._first(node) + 1, self._last(node)):
            self._set(token, "declared")

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._alias(alias, "import_module")

    def _import_from(self, node: ast.ImportFrom) -> None:
        token = self._first(node) + 1
        while self.strings[token] != "import":
            if self.kinds[token] == NAME:
                self._set(token, "import_module")
            token += 1
        for alias in node.names:
            self._alias(alias, "import_name")

    def _alias(self, alias: ast.alias, role: str) -> None:
        names = self._names(self._first(alias), self._last(alias))
        if alias.asname is not None:
            self._set(names.pop(), "import_alias")
            names.pop()  # `as`
        for token in names:
            self._set(token, role)

    def _capture(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self._set(self._last(node), "wildcard" if node.name is None else "pattern_capture")

    def _mapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            token = self._last(node)
            while self.kinds[token] != NAME:
                token -= 1
            self._set(token, "pattern_capture")

    def _class_pattern(self, node: ast.MatchClass) -> None:
        for pattern in node.kwd_patterns:
            token = self._first(pattern)
            while self.strings[token] != "=":
                token -= 1
            self._set(token - 1, "keyword_argument")

    def _type_parameter(self, node: ast.AST) -> None:
        token = self._first(node)
        self._set(token + (self.strings[token] in ("*", "**")), "type_parameter")
