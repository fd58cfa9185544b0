"""What checks annotations at run time in the tests: beartype, for which an int is a float as PEP 484 has it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import isclass, isgeneratorfunction
from types import FunctionType, SimpleNamespace
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


@contextmanager
def unchecked() -> Iterator[None]:
    """Nobody checks annotations in here, as in a script: long searches and what is done by hand are faster."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


# A step that is taken again and again is looked at so often in a test: what it is given is of one kind and shape.
OFTEN = 100
_test = 0


def another_test() -> None:
    """From here on every call is looked at anew."""
    global _test
    _test += 1


# jaxtyping's own decorator looks at what goes in twice, binds it a third time, and makes three functions of every one
# that is imported, whether or not anybody calls it: a third of the time of all tests together.
thorough, one_call = jaxtyping.jaxtyped, jaxtyping.jaxtyped("context")


def jaxtyped(wanted: Any = None, *, typechecker: Callable) -> Any:
    """As `jaxtyping.jaxtyped`: every kind and every shape that goes in or comes out is looked at, here once a call.

    That is so in the first `OFTEN` calls of each function in a test. Sizes that are named by an argument (`"{n}"`) and
    generators are left to jaxtyping.
    """
    if wanted is None:
        return partial(jaxtyped, typechecker=typechecker)
    if isclass(wanted):
        if is_dataclass(wanted) and "__init__" in vars(wanted):
            wanted.__init__ = jaxtyped(wanted.__init__, typechecker=typechecker)
        return wanted
    if (
        not isinstance(wanted, FunctionType)
        or isgeneratorfunction(wanted)
        or any("{" in str(kind) for kind in wanted.__annotations__.values())
    ):
        return thorough(wanted, typechecker=typechecker)
    checked, counted, left = None, -1, OFTEN

    @wraps(wanted)
    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked, counted, left
        if jaxtyping.config.jaxtyping_disable:
            return wanted(*args, **kwargs)
        if counted != _test:
            counted, left = _test, OFTEN
        if not left:
            return wanted(*args, **kwargs)
        left -= 1
        checked = checked or typechecker(_with_known_kinds(wanted))
        with one_call:  # an axis has one size in a call, and may have another in the next
            return checked(*args, **kwargs)

    return called


def _with_known_kinds(wanted: FunctionType) -> FunctionType:
    """The function with its annotations as they are meant; what only a type checker imports may be anything."""
    same = FunctionType(wanted.__code__, wanted.__globals__, wanted.__name__, wanted.__defaults__, wanted.__closure__)
    for name in ("__kwdefaults__", "__module__", "__qualname__"):
        setattr(same, name, getattr(wanted, name))
    for name, kind in wanted.__annotations__.items():
        try:
            alone = SimpleNamespace(__annotations__={name: kind})
            same.__annotations__[name] = get_type_hints(alone, wanted.__globals__, include_extras=True)[name]
        except NameError:
            same.__annotations__[name] = Any
    return same


jaxtyping.jaxtyped = jaxtyped
