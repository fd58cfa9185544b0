"""A value together with the Python that makes it, so that what a page draws and what it gives to copy are one thing.

    survey = read(run, artifact, "survey", read_heads, found)  # `found`: what the page has open already
    table = survey.at("pairs").into(rows, layer=1, head=0)
    chart = table.into(token_pairs)  # chart.value is drawn, and chart.python("chart") is given to copy

Every step is taken on the value and written down at once: no code can say something else than what was done. Strings
from files and URLs get into the code through `repr` alone.
"""

import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.runs import Artifact, Run

_WIDE = 100  # characters of a line of code


@dataclass(frozen=True)
class Told:
    """A value, and the Python that makes it.

    Attributes:
        value: it.
        code: an expression of it.
        imports: lines that the expression needs, in no order.
        lines: statements that come before it.
    """

    value: Any
    code: str
    imports: frozenset[str] = frozenset()
    lines: tuple[str, ...] = ()

    def at(self, name: str) -> "Told":
        """An attribute of it."""
        return Told(getattr(self.value, name), f"{self.code}.{name}", self.imports, self.lines)

    def item(self, key: Any) -> "Told":
        """What it holds under a key."""
        return Told(self.value[key], f"{self.code}[{_literal(key)}]", self.imports, self.lines)

    def do(self, name: str, *args: Any, **kwargs: Any) -> "Told":
        """What a method of it gives."""
        return _called(self.at(name), args, kwargs)

    def into(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "Told":
        """What a function makes of it and other things."""
        return call(function, self, *args, **kwargs)

    def named(self, name: str) -> "Told":
        """It, under a name of its own from here on."""
        return Told(self.value, name, self.imports, (*self.lines, f"{name} = {self.code}"))

    def python(self, name: str) -> str:
        """All of the code, which leaves the value in a variable."""
        begun = [*sorted(self.imports, key=lambda line: (line.startswith("from"), line)), ""] if self.imports else []
        return "\n".join([*begun, *self.lines, f"{name} = {self.code}", ""])


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Told:
    """What a public function gives; what is told of among its arguments is told of, the rest are literals."""
    module, name = _public(function)
    return _called(Told(function, name, frozenset({f"from {module} import {name}"})), args, kwargs)


def run_of(run: Run) -> Told:
    """A run."""
    opened = f"run = Run.open({str(run.path.resolve())!r})"
    return Told(run, "run", frozenset({"from workbench.runs import Run"}), (opened,))


def read(run: Run, artifact: Artifact, name: str, reader: Callable[[Any], Any], value: Any) -> Told:
    """What a reader of the library gives of an artifact, under a name; the value is the page's, which has it open."""
    own = getattr(reader, "__self__", None)  # of a class's own reader
    module, name_of = _public(own or reader)
    function = f"{name_of}.{reader.__name__}" if own else name_of
    found = f"run.find({artifact.kind!r}, {artifact.name!r}).path"
    begun = run_of(run)
    return Told(value, f"{function}({found})", begun.imports | {f"from {module} import {name_of}"}, begun.lines).named(
        name
    )


def _called(function: Told, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
    given = [function, *(a for a in (*args, *kwargs.values()) if isinstance(a, Told))]
    words = [*map(_code, args), *(f"{key}={_code(value)}" for key, value in kwargs.items())]
    code = f"{function.code}({', '.join(words)})"
    if len(code) > _WIDE or "\n" in code:
        inside = textwrap.indent(",\n".join(words), "    ")
        code = f"{function.code}(\n{inside},\n)"
    return Told(
        function.value(*map(_value, args), **{key: _value(value) for key, value in kwargs.items()}),
        code,
        frozenset().union(*(one.imports for one in given)),
        tuple(dict.fromkeys(line for one in given for line in one.lines)),
    )


def _public(function: Any) -> tuple[str, str]:
    """The module that a function is imported from: the outermost package that gives it."""
    own, name = function.__module__, function.__name__
    parts = own.split(".")
    packages = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return next(p for p in packages if getattr(sys.modules.get(p), name, None) is function), name


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Told) else argument


def _code(argument: Any) -> str:
    return argument.code if isinstance(argument, Told) else _literal(argument)


def _literal(value: Any) -> str:
    """A literal; TypeError for what has none."""
    if not _is_literal(value):
        raise TypeError(f"{value!r} has no literal in Python: tell how it is made.")
    return repr(value)


def _is_literal(value: Any) -> bool:
    if type(value) in (list, tuple, set):
        return all(map(_is_literal, value))
    if type(value) is dict:
        return all(_is_literal(part) for pair in value.items() for part in pair)
    return type(value) in (str, int, bool, type(None)) or (type(value) is float and abs(value) < float("inf"))
